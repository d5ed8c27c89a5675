"""Batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167), with statistics in float32 at least."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jax import lax

from jaxnets.convolution.normalization import batch_statistics, normalize
from jaxnets.ops.dtypes import at_least_float32


class BatchNorm(nn.Module):
    r"""Normalizes every channel over batch and space:

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
        """``[B, ..., C]`` normalized; ``train`` takes the batch's statistics and moves the running ones.

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
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        if train:
            found = batch_statistics(x.astype(at_least_float32(x.dtype)), mask, self.axis_name)
            if not self.is_initializing():
                self._move(running_mean, found.near + found.offset, found.number)
                self._move(running_var, found.var * found.number / jnp.maximum(found.number - 1, 1), found.number)
            means, var = [found.near, found.offset], found.var
        else:
            means, var = [running_mean.value], running_var.value
        return normalize(x, means, var, scale, bias, epsilon=self.epsilon, dtype=self.dtype)

    def _move(self, running: nn.Variable, batch: jax.Array, count: jax.Array) -> None:
        """A step of the running statistic toward the batch's, if there is anything in the batch."""
        kept = running.value.astype(batch.dtype)
        moved = jnp.where(count > 0, 1 - self.momentum, 0)
        running.value += (moved * lax.stop_gradient(batch - kept)).astype(running.value.dtype)
