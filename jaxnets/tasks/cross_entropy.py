"""Cross entropy of class or token numbers, of which none is taken for another."""

import jax
import jax.numpy as jnp
import optax

from jaxnets.ops.embedding import check_ids, in_range


def cross_entropy(logits: jax.Array, targets: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    r"""``-log p`` of each target, in nats: :math:`-\log \mathrm{softmax}(z)_y`.

    ``optax.softmax_cross_entropy_with_integer_labels`` takes a negative target for one counted from the end.

    Args:
        logits: z, floating point ``[..., V]``.
        targets: y, integers ``[...]`` in 0 ... V - 1.
        valid: bool ``[...]``: False at padding, where logits and target may be anything and the result is 0; None: no
            padding.

    Returns:
        ``[...]``. Within ``jax.jit`` a target out of range gives NaN, in the gradient too.

    Raises:
        ValueError: A target whose value is known is out of range.
    """
    size = logits.shape[-1]
    check_ids("targets", targets, size, valid)
    targets = jnp.asarray(targets)
    known = in_range(targets, size)
    if valid is not None:
        logits = jnp.where(valid[..., None], logits, 0)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(known, targets, 0))
    nats *= jnp.where(known if valid is None else known | ~valid, 1, jnp.nan).astype(nats.dtype)
    return nats if valid is None else jnp.where(valid, nats, 0)


def is_right(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """bool ``[...]``: whether the largest of the logits ``[..., V]`` is that of the target ``[...]``."""
    return jnp.argmax(logits, axis=-1).astype(targets.dtype) == targets
