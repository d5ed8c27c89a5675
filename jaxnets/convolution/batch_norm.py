"""Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167), with statistics in float32 at least."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jax import lax

from jaxnets.ops.dtypes import at_least_float32


class BatchNorm(nn.Module):
    r"""Normalises every channel over batch and space:

    .. math::
        y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    with the batch's own mean and (biased) variance while training, and the running ones otherwise. The running variance
    is made of unbiased ones, as in the paper and in torch; Linen's own is made of biased ones, and its weights do not
    agree with torch's after a step.

    Data may lie far from zero: what is squared are differences from a value near the mean, which is taken from the
    batch itself. The result does not depend on the running statistics while training.

    Where a jitted program's batch lies on several devices the statistics are those of the whole batch. A module that is
    called more than once in a step (siamese networks) moves its running statistics at each call.
    Where a mask is given, only what is real counts.

    Parameters: ``scale [C]`` and ``bias [C]``; collection ``batch_stats``: ``mean [C]`` and ``var [C]``.

    Attributes:
        momentum: What is kept of the running statistics in a step: 1 minus what torch calls so.
        epsilon: As above.
        scale_init: Of ``scale``.
        axis_name: Of the devices to average over inside ``jax.shard_map``; None elsewhere.
        dtype: Of the result.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: Initializer = nn.initializers.ones
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """``[B, ..., C]`` normalised; ``train`` takes the batch's statistics and moves the running ones.

        Args:
            x: As above.
            train: As above.
            mask: bool, broadcast to ``[B, ...]``, False where padding is; None: all is real.

        Raises:
            ValueError: The mask is not bool, or ``"batch_stats"`` is not mutable while training.
        """
        channels = x.shape[-1]
        if train and not self.is_initializing() and not self.is_mutable_collection("batch_stats"):
            raise ValueError('"batch_stats" must be mutable with train=True: apply(..., mutable=["batch_stats"])')
        if mask is not None:
            if mask.dtype != bool:
                raise ValueError(f"`mask` must be bool, got {mask.dtype}")
            mask = jnp.broadcast_to(mask, x.shape[:-1])
            x = jnp.where(mask[..., None], x, 0)  # else padding that is not finite would be in the gradient of scale
        wide = at_least_float32(x.dtype)
        aligned = lambda vector: jnp.expand_dims(vector.astype(wide), tuple(range(x.ndim - 1)))
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        if train:
            near, offset, var, count = _statistics(x.astype(wide), mask, self.axis_name)
            if not self.is_initializing():
                self._move(running_mean, near + offset, count)
                self._move(running_var, var * count / jnp.maximum(count - 1, 1), count)
            # Not less their sum: rounded, it is up to half a unit in its last place away from the mean.
            centered = x.astype(wide) - aligned(near) - aligned(offset)
        else:
            centered, var = x.astype(wide) - aligned(running_mean.value), running_var.value.astype(wide)
        factor = lax.rsqrt(var + self.epsilon) * scale.astype(wide)
        return (centered * aligned(factor) + aligned(bias)).astype(self.dtype)

    def _move(self, running: nn.Variable, batch: jax.Array, count: jax.Array) -> None:
        """A step of the running statistic towards the batch's, if there is anything in the batch."""
        kept = running.value.astype(batch.dtype)
        moved = jnp.where(count > 0, 1 - self.momentum, 0)
        running.value += (moved * lax.stop_gradient(batch - kept)).astype(running.value.dtype)


def _statistics(x: jax.Array, mask: jax.Array | None, axis_name: str | None) -> tuple[jax.Array, ...]:
    r"""Statistics of every channel of ``x [B, ..., C]``, with :math:`x - c` squared in place of x.

    Returns:
        c, near the mean; the mean less c; the biased variance; and the number of values, a scalar.
    """
    valid = None if mask is None else mask[..., None]
    near = lax.stop_gradient(_near(x, valid))
    axes = tuple(range(x.ndim - 1))
    count = jnp.asarray(math.prod(x.shape[:-1]) if mask is None else jnp.sum(mask), x.dtype)
    if axis_name is not None:
        near = lax.psum(near * count, axis_name) / jnp.maximum(lax.psum(count, axis_name), 1)
    shifted = x - jnp.expand_dims(near, axes)
    if valid is not None:
        shifted = jnp.where(valid, shifted, 0)
    sums = jnp.sum(shifted, axes), jnp.sum(shifted**2, axes)
    if axis_name is not None:
        *sums, count = lax.psum((*sums, count), axis_name)
    offset, second = (total / jnp.maximum(count, 1) for total in sums)
    return near, offset, jnp.maximum(second - offset**2, 0), count


def _near(x: jax.Array, valid: jax.Array | None) -> jax.Array:
    """A value for each channel that is near the mean, from an eighth of the rows ``x [B, H, ..., C]``.

    The mean of an eighth is at most sqrt(7) standard deviations from the mean of all, whatever the values are, so that
    the variance of ``x - near`` loses no more than a factor of 8 to cancellation. Where a mask leaves out values, an
    eighth may be without any, and all are read. A mean of many values far from zero is itself inexact: what is added up
    are differences from one of them.
    """
    if x.size == 0:
        return jnp.zeros(x.shape[-1:], x.dtype)
    axes = tuple(range(x.ndim - 1))
    if valid is None:
        some = x[:, ::8] if x.ndim > 2 else x
        # The largest of a few is one of them, and reducing divides no axis that is sharded.
        start = jnp.max(some[:, :1] if x.ndim > 2 else some, axes)
        return start + jnp.mean(some - jnp.expand_dims(start, axes), axes)
    count = jnp.sum(valid, dtype=jnp.int32).astype(x.dtype)
    start = jnp.where(count > 0, jnp.max(jnp.where(valid, x, -jnp.inf), axes), 0)
    total = jnp.sum(jnp.where(valid, x - jnp.expand_dims(start, axes), 0), axes)
    return start + total / jnp.maximum(count, 1)
