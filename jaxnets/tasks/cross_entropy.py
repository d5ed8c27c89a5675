"""Cross entropy of class or token indices, with checks of their range."""

import jax
import jax.numpy as jnp
import optax

from jaxnets.ops.embedding import check_ids, in_range


def cross_entropy(logits: jax.Array, targets: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    r"""Computes the negative log-likelihood of each target, :math:`-\log \mathrm{softmax}(z)_y`, in nats.

    In contrast, ``optax.softmax_cross_entropy_with_integer_labels`` indexes from the end if a target is negative.

    Args:
        logits: z, floating point ``[..., V]``.
        targets: y, integers ``[...]`` in 0 ... V - 1.
        valid: bool ``[...]``, False at padding, where logits and targets may have any value and the result is 0. None:
            no padding.

    Returns:
        Losses ``[...]``. Within ``jax.jit``, a target out of range has the loss and the gradient NaN.

    Raises:
        ValueError: If a concrete target is out of range.
    """
    size = logits.shape[-1]
    check_ids("targets", targets, size, valid)
    targets = jnp.asarray(targets)
    inside = in_range(targets, size)
    if valid is not None:
        logits = jnp.where(valid[..., None], logits, 0)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(inside, targets, 0))
    nats *= jnp.where(inside if valid is None else inside | ~valid, 1, jnp.nan).astype(nats.dtype)
    return nats if valid is None else jnp.where(valid, nats, 0)


def is_correct(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns bool ``[...]``, True where the largest of the logits ``[..., V]`` belongs to the target ``[...]``."""
    return jnp.argmax(logits, axis=-1).astype(targets.dtype) == targets
