"""Labels as inputs of generative models."""

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.embedding import check_ids


def one_hot_labels(
    labels: Integer[Array, " B"] | None, num_classes: int, count: int
) -> Float[Array, "B num_classes"] | None:
    """Returns labels as one-hot vectors, float32.

    Args:
        labels: Integers in 0 ... num_classes - 1, ``[B]``; None for 0 classes.
        num_classes: Classes; 0: a model without labels.
        count: B.

    Returns:
        ``[B, num_classes]``; None for 0 classes.

    Raises:
        ValueError: Labels are missing, are given for 0 classes, have another shape, or are out of range, where known.
    """
    if not num_classes:
        if labels is not None:
            raise ValueError("`labels` must be None for a model with `num_classes=0`, got an array")
        return None
    if labels is None or jnp.shape(labels) != (count,):
        given = "None" if labels is None else f"shape {jnp.shape(labels)}"
        raise ValueError(f"`labels` must be integers of shape {(count,)} in 0 ... {num_classes - 1}, got {given}")
    check_ids("labels", labels, num_classes)
    return jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)


def append_labels(
    xs: Float[Array, "B *space C"], labels: Integer[Array, " B"] | None, num_classes: int
) -> Float[Array, "B *space channels"]:
    """Appends labels as constant one-hot channels (Mirza and Osindero 2014, arXiv:1411.1784).

    Args:
        xs: ``[B, ..., C]``.
        labels, num_classes: As in ``one_hot_labels``.

    Returns:
        ``[B, ..., C + num_classes]``.
    """
    classes = one_hot_labels(labels, num_classes, len(xs))
    if classes is None:
        return xs
    one_hot = jnp.expand_dims(classes.astype(xs.dtype), tuple(range(1, xs.ndim - 1)))
    return jnp.concatenate([xs, jnp.broadcast_to(one_hot, (*xs.shape[:-1], num_classes))], axis=-1)
