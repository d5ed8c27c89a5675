"""From the outputs of every step to one vector per sequence."""

import jax
import jax.numpy as jnp

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import valid_steps
from jaxnets.ops.pooling import max_pool, mean_pool
from jaxnets.recurrent.checking import arrays, checked_lengths, described


def pool(ys: jax.Array, how: str, lengths: jax.Array | None = None) -> jax.Array:
    """One vector per sequence: its last output, or the largest or mean of each feature over time.

    Args:
        ys: ``[*batch, T, H]``. Padding has no effect, even NaN.
        how: ``"last"``, ``"max"`` or ``"mean"``, of each row's real steps.
        lengths: Integers ``[*batch]`` from 0 to T, how many steps of a row are real; None: all.

    Returns:
        ``[*batch, H]`` in the dtype of ``ys``, zeros for an empty row.

    Raises:
        ValueError: ``how`` is none of these, or an array has another shape or dtype.
    """
    if how not in ("last", "max", "mean"):
        raise ValueError(f"pooling: last, max or mean expected; given {how!r}")
    ys, lengths = _checked(ys, lengths)
    *batch, length, features = ys.shape
    if length == 0:
        return jnp.zeros((*batch, features), ys.dtype)
    if how == "last":
        # An empty row reads no step at all: what is in its padding may be NaN.
        index = jnp.where(lengths > 0, lengths - 1, length)[..., None, None]
        return jnp.take_along_axis(ys, index, axis=-2, mode="fill", fill_value=0)[..., 0, :]
    return (max_pool if how == "max" else mean_pool)(ys, valid_steps(lengths, length))


def attention_pool(ys: jax.Array, scores: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
    r"""A mean of the outputs with weights that the model gives (Bahdanau et al. 2014, arXiv:1409.0473):

    .. math:: \sum_t a_t y_t, \quad a = \mathrm{softmax}(s) \text{ over the real steps}

    Args:
        ys: ``[*batch, T, H]``. Padding has no effect, even NaN.
        scores: s, ``[*batch, T]``; minus infinity gives a step no weight.
        lengths: Integers ``[*batch]`` from 0 to T, how many steps of a row are real; None: all.

    Returns:
        ``[*batch, H]`` in the dtype of ``ys``, zeros for a row without a real step whose score is above minus infinity.

    Raises:
        ValueError: An array has another shape or dtype.
    """
    ys, lengths = _checked(ys, lengths)
    *batch, length, features = ys.shape
    scores = arrays("scores", scores)
    if scores.shape != ys.shape[:-1] or not jnp.issubdtype(scores.dtype, jnp.floating):
        raise ValueError(f"scores must be floating point of shape {ys.shape[:-1]}, got {described(scores)}")
    if length == 0:
        return jnp.zeros((*batch, features), ys.dtype)
    dtype = at_least_float32(ys.dtype, scores.dtype)
    real = valid_steps(lengths, length)
    scores = jnp.where(real, scores.astype(dtype), -jnp.inf)
    # A row without any weight to give has scores of 0 instead: its softmax would be NaN before it is masked.
    some = jnp.any(scores != -jnp.inf, axis=-1, keepdims=True)
    weights = jnp.where(real & some, jax.nn.softmax(jnp.where(some, scores, 0), axis=-1), 0)
    # What is not real may be NaN, which no weight of zero removes.
    real_ys = jnp.where(real[..., None], ys, 0).astype(dtype)
    return jnp.einsum("...t,...th->...h", weights, real_ys).astype(ys.dtype)


def _checked(ys: jax.Array, lengths: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """The outputs, and lengths even where none are given."""
    ys = arrays("ys", ys)
    if not isinstance(ys, jax.Array) or ys.ndim < 2 or not jnp.issubdtype(ys.dtype, jnp.floating):
        raise ValueError(f"ys must be floating point of shape [*batch, T, H], got {described(ys)}")
    *batch, length, _ = ys.shape
    if lengths is None:
        return ys, jnp.full(batch, length, jnp.int32)
    return ys, checked_lengths(lengths, length, tuple(batch))
