"""Batch normalization, with statistics in at least float32."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jax import lax

from jaxnets.convolution.normalization import batch_statistics, normalize
from jaxnets.ops.array_types import Array, Bool, Float
from jaxnets.ops.dtypes import at_least_float32


class BatchNorm(nn.Module):
    r"""Batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167).

    Normalizes each channel over the batch and all spatial axes:

    .. math::
        y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    In training, the mean and the biased variance are computed from the batch. In evaluation, they are the running
    statistics. The running variance averages unbiased variances, as in the paper and in torch. ``flax.linen.BatchNorm``
    averages biased ones, so its weights differ from torch's after one step.

    The variance is stable for data far from zero: it squares differences from a value near the mean, which is
    computed from the same batch. In training, the output does not depend on the running statistics.

    Under ``jax.jit``, a batch sharded over several devices is normalized by the statistics of the whole batch. A module
    that is called several times in one step (as in siamese networks) updates its running statistics at each call.
    With a mask, only valid positions enter the statistics.

    Parameters: ``scale [C]`` and ``bias [C]``; collection ``batch_stats``: ``mean [C]`` and ``var [C]``.

    Attributes:
        momentum: Decay of the running statistics; 1 minus torch's ``momentum``.
        epsilon: The constant added to the variance.
        scale_init: Initializer of ``scale``.
        axis_name: Name of the device axis to average over inside ``jax.shard_map``; None elsewhere.
        dtype: Dtype of the output.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: Initializer = nn.initializers.ones
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch C"], train: bool = False, mask: Bool[Array, "..."] | None = None
    ) -> Float[Array, "*batch C"]:
        """Normalizes ``x``.

        Args:
            x: ``[B, ..., C]``.
            train: Whether to normalize by the statistics of the batch and to update the running statistics.
            mask: bool, broadcastable to ``[B, ...]``, True = valid; None: all positions are valid.

        Returns:
            ``[B, ..., C]``.

        Raises:
            ValueError: If the mask is not bool, or if ``"batch_stats"`` is not mutable in training.
        """
        channels = x.shape[-1]
        if train and not self.is_initializing() and not self.is_mutable_collection("batch_stats"):
            raise ValueError('"batch_stats" must be mutable with train=True: apply(..., mutable=["batch_stats"])')
        if mask is not None:
            if mask.dtype != bool:
                raise ValueError(f"`mask` must be bool, got {mask.dtype}")
            mask = jnp.broadcast_to(mask, x.shape[:-1])
            x = jnp.where(mask[..., None], x, 0)  # NaN in the padding would reach the gradient of scale
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        if train:
            stats = batch_statistics(x.astype(at_least_float32(x.dtype)), mask, self.axis_name)
            if not self.is_initializing():
                self._update(running_mean, stats.shift + stats.offset, stats.num_values)
                self._update(
                    running_var, stats.var * stats.num_values / jnp.maximum(stats.num_values - 1, 1), stats.num_values
                )
            means, var = [stats.shift, stats.offset], stats.var
        else:
            means, var = [running_mean.value], running_var.value
        return normalize(x, means, var, scale, bias, epsilon=self.epsilon, dtype=self.dtype)

    def _update(self, running: nn.Variable, batch: jax.Array, count: jax.Array) -> None:
        """Updates a running statistic, unless the batch has no valid positions."""
        old = running.value.astype(batch.dtype)
        step_size = jnp.where(count > 0, 1 - self.momentum, 0)
        running.value += (step_size * lax.stop_gradient(batch - old)).astype(running.value.dtype)
