"""InceptionTime: a convolutional network for time series (Ismail Fawaz et al. 2020, arXiv:1909.04939)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.models.tcn import check_series, step_mask
from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.checks import check_depth, check_layer_sizes
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.layers.pooling import pool

# Keras' defaults, as in the published code.
MOMENTUM, EPSILON = 0.99, 1e-3


class InceptionModule(nn.Module):
    """Convolutions of several lengths and a max pooling side by side, with batch normalization and ReLU.

    Padded steps are zeros for the convolutions, do not enter the statistics of the norm, and are never a maximum.

    Parameters: ``bottleneck`` (if there are several input features), ``conv_<i>``, ``pooled``, ``norm``.

    Attributes:
        features: Features of each of the branches.
        bottleneck: Features before the convolutions.
        kernel_sizes: Lengths of the convolutions.
        dtype: Compute dtype.
    """

    features: int = 32
    bottleneck: int = 32
    kernel_sizes: Sequence[int] = (40, 20, 10)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, xs: Float[Array, "*batch T D"], valid: jax.Array | None = None, train: bool = False
    ) -> Float[Array, "*batch T F"]:
        """Applies the module to ``[*batch, T, D]`` with zeros in padded steps; ``valid`` is their mask."""
        inputs = xs
        if xs.shape[-1] > 1:
            inputs = _conv(self.bottleneck, 1, self.dtype, "bottleneck")(xs)
        branches = [
            _conv(self.features, size, self.dtype, f"conv_{i}")(inputs) for i, size in enumerate(self.kernel_sizes)
        ]
        lowest = xs if valid is None else jnp.where(valid[..., None], xs, -jnp.inf)
        flat = lowest.reshape(-1, *xs.shape[-2:])
        pooled = nn.max_pool(flat, (3,), (1,), "SAME").reshape(xs.shape)
        if valid is not None:
            pooled = jnp.where(valid[..., None], pooled, 0)
        branches.append(_conv(self.features, 1, self.dtype, "pooled")(pooled))
        ys = jnp.concatenate(branches, axis=-1)
        ys = nn.relu(BatchNorm(MOMENTUM, EPSILON, dtype=self.dtype, name="norm")(ys, train, valid))
        return ys if valid is None else jnp.where(valid[..., None], ys, 0)


class InceptionTime(nn.Module):
    """A stack of inception modules with a shortcut around every three, the mean over time, and a linear head.

    The published classifier averages the class probabilities of five such networks.

    Parameters: ``module_<i>``, ``shortcut_<j>`` with ``conv`` and ``norm``, ``head``.

    Attributes:
        num_outputs: Outputs, such as logits of classes.
        depth: Number of modules.
        features, bottleneck, kernel_sizes, dtype: As in ``InceptionModule``.
    """

    num_outputs: int
    depth: int = 6
    features: int = 32
    bottleneck: int = 32
    kernel_sizes: Sequence[int] = (40, 20, 10)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        xs: Float[Array, "*batch T D"],
        *,
        lengths: Integer[Array, "*batch"] | None = None,
        train: bool = False,
    ) -> Float[Array, "*batch outputs"]:
        """Computes the outputs of a batch of series.

        Args:
            xs: ``[*batch, T, D]``.
            lengths: Integers ``[*batch]``, the valid steps of each series; None: all steps are valid.
            train: Whether norms use the statistics of the batch, which needs ``mutable=["batch_stats"]``.

        Returns:
            ``[*batch, num_outputs]``, float32.

        Raises:
            ValueError: If the series do not match the model, or an attribute is out of range.
        """
        check_depth(depth=self.depth)
        check_layer_sizes(kernel_sizes=self.kernel_sizes)
        check_series(self, xs, ("module_0", "pooled"), num_outputs=self.num_outputs, features=self.features)
        valid = None if lengths is None else step_mask(xs, lengths)
        if valid is not None:
            xs = jnp.where(valid[..., None], xs, 0)
        ys = shortcut = xs
        for i in range(self.depth):
            module = InceptionModule(self.features, self.bottleneck, self.kernel_sizes, self.dtype, name=f"module_{i}")
            ys = module(ys, valid, train)
            if i % 3 == 2:
                ys = _Shortcut(self.dtype, name=f"shortcut_{i // 3}")(shortcut, ys, valid, train)
                shortcut = ys
        pooled = pool(ys, "mean", lengths)
        return nn.Dense(self.num_outputs, dtype=at_least_float32(self.dtype), name="head")(pooled)


class _Shortcut(nn.Module):
    """``relu(norm(conv(x)) + y)`` with a convolution of length 1."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, xs: jax.Array, ys: jax.Array, valid: jax.Array | None, train: bool) -> jax.Array:
        projected = _conv(ys.shape[-1], 1, self.dtype, "conv")(xs)
        total = nn.relu(BatchNorm(MOMENTUM, EPSILON, dtype=self.dtype, name="norm")(projected, train, valid) + ys)
        return total if valid is None else jnp.where(valid[..., None], total, 0)


def _conv(features: int, size: int, dtype: Dtype, name: str) -> nn.Conv:
    """A convolution over time without bias, padded as in Keras: for an even size, one step more at the end."""
    padding = [((size - 1) // 2, size // 2)]
    return Conv(
        features,
        (size,),
        padding=padding,
        use_bias=False,
        kernel_init=nn.initializers.glorot_uniform(),
        dtype=dtype,
        name=name,
    )
