"""Blocks that several of the papers share."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.branches import stochastic_depth
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.pooling import global_average
from jaxnets.ops.activations import Activation

# He et al. 2015, arXiv:1502.01852: the deviation that keeps the size of gradients through ReLU.
HE_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
HE_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # the same of activations


def unbiased_conv(
    features: int,
    kernel_size: int,
    stride: int = 1,
    *,
    groups: int = 1,
    kernel_init: Initializer = HE_OUT,
    dtype: Dtype = jnp.float32,
    name: str,
) -> nn.Conv:
    """A convolution without bias, beside a norm, padded alike on all sides by ``(kernel - 1) / 2``."""
    return Conv(
        features,
        (kernel_size, kernel_size),
        strides=stride,
        padding=(kernel_size - 1) // 2,
        feature_group_count=groups,
        use_bias=False,
        kernel_init=kernel_init,
        dtype=dtype,
        name=name,
    )


class ConvNorm(nn.Module):
    """A convolution without bias, batch norm, and an activation.

    Padding is the same on both sides, ``(kernel - 1) / 2``, as in the published models; "SAME" pads a strided
    convolution on the far side more.

    Parameters: ``conv/kernel [k, k, C / groups, features]``, ``norm``.

    Attributes:
        features: Output channels.
        kernel_size: k.
        stride: Between outputs.
        groups: Into which channels are split.
        activation: None leaves the norm's result as it is.
        momentum, epsilon: Of the norm.
        kernel_init: How the kernel begins.
        dtype: Compute type.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    activation: Activation | None = nn.relu
    momentum: float = 0.9
    epsilon: float = 1e-5
    kernel_init: Initializer = HE_OUT
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[B, H, W, C]`` to ``[B, H', W', features]``."""
        x = unbiased_conv(
            self.features,
            self.kernel_size,
            self.stride,
            groups=self.groups,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )(x)
        x = BatchNorm(self.momentum, self.epsilon, dtype=self.dtype, name="norm")(x, train)
        return x if self.activation is None else self.activation(x)


class SqueezeExcite(nn.Module):
    r"""Channels gated by what the whole image is like (Hu et al. 2018, arXiv:1709.01507):

    .. math::
        y = x \odot \sigma(W_2\, a(W_1\, \mathrm{mean}_{hw}(x) + b_1) + b_2)

    Parameters: ``squeeze`` and ``excite``, 1 x 1 convolutions with ``kernel`` and ``bias``, as in published weights.

    Attributes:
        squeezed: Features between.
        activation: a.
        dtype: Compute type.
    """

    squeezed: int
    activation: Activation = nn.relu
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, C]`` to the same."""
        whole = global_average(x)[:, None, None, :]
        conv = functools.partial(Conv, kernel_size=(1, 1), kernel_init=HE_OUT, dtype=self.dtype)
        inner = self.activation(conv(self.squeezed, name="squeeze")(whole))
        return x * nn.sigmoid(conv(x.shape[-1], name="excite")(inner))


class StochasticDepth(nn.Module):
    """``stochastic_depth`` with the key of the collection ``"dropout"``, while training.

    Attributes:
        rate: Probability of dropping.
    """

    rate: float

    @nn.compact
    def __call__(self, branch: jax.Array, train: bool = False) -> jax.Array:
        return stochastic_depth(self.make_rng("dropout"), branch, self.rate) if train and self.rate else branch
