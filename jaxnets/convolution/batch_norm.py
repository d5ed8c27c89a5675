"""Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167), with statistics in float32 at least."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jax import lax


class BatchNorm(nn.Module):
    r"""Normalises every channel over batch and space:

    .. math::
        y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    with the batch's own mean and (biased) variance while training, and the running ones otherwise. The running variance
    is made of unbiased ones, as in the paper and in torch; Linen's own is made of biased ones, and its weights do not
    agree with torch's after a step. The variance is computed in one pass, shifted by the running mean: once that is
    about right, a large mean does not cancel it.

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
        """
        channels = x.shape[-1]
        if mask is not None:
            mask = jnp.broadcast_to(mask, x.shape[:-1])
            x = jnp.where(mask[..., None], x, 0)  # else padding that is not finite would be in the gradient of scale
        wide = jnp.promote_types(x.dtype, jnp.float32)
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        mean, var = running_mean.value.astype(wide), running_var.value.astype(wide)
        if train:
            mean, var, count = self._statistics(x, mean, mask)
            if not self.is_initializing():
                unbiased = var * count / jnp.maximum(count - 1, 1)
                moved = jnp.where(count > 0, 1 - self.momentum, 0)
                running_mean.value += (moved * lax.stop_gradient(mean - running_mean.value)).astype(jnp.float32)
                running_var.value += (moved * lax.stop_gradient(unbiased - running_var.value)).astype(jnp.float32)
        factor = lax.rsqrt(var + self.epsilon) * scale
        return ((x.astype(factor.dtype) - mean) * factor + bias).astype(self.dtype)

    def _statistics(self, x: jax.Array, near: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, ...]:
        """Mean and biased variance of what is real, and how much that is; ``near`` is about the mean."""
        shifted = x.astype(near.dtype) - near
        axes = tuple(range(x.ndim - 1))
        if mask is None:
            count = jnp.float32(x.size // x.shape[-1])
        else:
            shifted, count = jnp.where(mask[..., None], shifted, 0), jnp.sum(mask, dtype=jnp.float32)
        sums = jnp.sum(shifted, axes), jnp.sum(shifted**2, axes)
        if self.axis_name is not None:
            *sums, count = lax.psum((*sums, count), self.axis_name)
        first, second = (total / jnp.maximum(count, 1) for total in sums)
        return near + first, jnp.maximum(second - first**2, 0), count
