"""From the outputs of every step to one vector per sequence."""

import jax
import jax.numpy as jnp


def pool(ys: jax.Array, how: str, lengths: jax.Array | None = None) -> jax.Array:
    """One vector per sequence: its last output, or the largest or mean of each feature over time.

    Args:
        ys: ``[*batch, T, H]``.
        how: ``"last"``, ``"max"`` or ``"mean"``, of each row's real steps.
        lengths: Integers ``[*batch]``, how many steps of a row are real; None: all.

    Returns:
        ``[*batch, H]`` in the dtype of ``ys``, zeros for an empty row.

    Raises:
        ValueError: ``how`` is none of these.
    """
    if how not in ("last", "max", "mean"):
        raise ValueError(f"pooling: last, max or mean expected; given {how!r}")
    *batch, length, features = ys.shape
    if length == 0:
        return jnp.zeros((*batch, features), ys.dtype)
    lengths = jnp.full(batch, length) if lengths is None else lengths
    if how == "last":
        found = jnp.take_along_axis(ys, jnp.maximum(lengths - 1, 0)[..., None, None], axis=-2)[..., 0, :]
    elif how == "max":
        found = jnp.max(jnp.where(_real(lengths, length), ys, -jnp.inf), axis=-2)
    else:
        real = jnp.where(_real(lengths, length), ys, 0)
        total = jnp.sum(real, axis=-2, dtype=jnp.promote_types(ys.dtype, jnp.float32))
        found = total / jnp.maximum(lengths, 1)[..., None]
    return jnp.where(lengths[..., None] > 0, found, 0).astype(ys.dtype)


def attention_pool(ys: jax.Array, scores: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
    r"""A mean of the outputs with weights that the model gives (Bahdanau et al. 2014, arXiv:1409.0473):

    .. math:: \sum_t a_t y_t, \quad a = \mathrm{softmax}(s) \text{ over the real steps}

    Args:
        ys: ``[*batch, T, H]``.
        scores: s, ``[*batch, T]``.
        lengths: Integers ``[*batch]``, how many steps of a row are real; None: all.

    Returns:
        ``[*batch, H]`` in the dtype of ``ys``, zeros for an empty row.
    """
    *batch, length, features = ys.shape
    if length == 0:
        return jnp.zeros((*batch, features), ys.dtype)
    lengths = jnp.full(batch, length) if lengths is None else lengths
    real = _real(lengths, length)[..., 0]
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    # The lowest number, not -inf: a row without a real step would become NaN before it is masked.
    weights = jax.nn.softmax(jnp.where(real, scores, jnp.finfo(scores.dtype).min), axis=-1) * real
    # What is not real may be NaN, which no weight of zero removes.
    return jnp.einsum("...t,...th->...h", weights, jnp.where(real[..., None], ys, 0)).astype(ys.dtype)


def _real(lengths: jax.Array, length: int) -> jax.Array:
    """Which steps are real, ``[*batch, T, 1]``."""
    return (jnp.arange(length) < lengths[..., None])[..., None]
