"""Blocks shared by several architectures."""

import functools

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.branches import stochastic_depth
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.pooling import global_average
from jaxnets.ops.activations import Activation
from jaxnets.ops.array_types import Array, Float

# He et al. 2015, arXiv:1502.01852. With fan_out, ReLU layers preserve the variance of gradients.
HE_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
HE_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # preserves the variance of activations


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
    """Returns a convolution without bias, for use with a norm, with padding ``(kernel_size - 1) / 2`` on all sides."""
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
    """A convolution without bias, followed by batch normalization and an activation.

    The padding is symmetric, ``(kernel_size - 1) / 2``, as in the published models. ``"SAME"`` would pad a strided
    convolution more on the far side.

    Parameters: ``conv/kernel [k, k, C / groups, features]``, ``norm``.

    Attributes:
        features: Output channels.
        kernel_size: Height and width k of the kernel.
        stride: Stride of the convolution.
        groups: Groups of channels.
        activation: Activation after the norm; None: no activation.
        momentum, epsilon: As in ``BatchNorm``.
        kernel_init: Initializer of the kernel.
        dtype: Compute dtype.
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
    def __call__(
        self, x: Float[Array, "B H W C"], train: bool = False
    ) -> Float[Array, "B out_height out_width features"]:
        """Maps ``[B, H, W, C]`` to ``[B, H', W', features]``."""
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
    r"""Squeeze-and-excitation: gates of the channels, computed from their means (Hu et al. 2018, arXiv:1709.01507).

    .. math::
        y = x \odot \sigma(W_2\, a(W_1\, \mathrm{mean}_{hw}(x) + b_1) + b_2)

    Parameters: ``squeeze`` and ``excite``, 1 x 1 convolutions with ``kernel`` and ``bias``, as in published weights.

    Attributes:
        squeezed: Features between the two convolutions.
        activation: Activation a between them.
        dtype: Compute dtype.
    """

    squeezed: int
    activation: Activation = nn.relu
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        """Maps ``[B, H, W, C]`` to the same shape."""
        means = global_average(x)[:, None, None, :]
        conv = functools.partial(Conv, kernel_size=(1, 1), kernel_init=HE_OUT, dtype=self.dtype)
        hidden = self.activation(conv(self.squeezed, name="squeeze")(means))
        return x * nn.sigmoid(conv(x.shape[-1], name="excite")(hidden))


class StochasticDepth(nn.Module):
    """Stochastic depth as a layer: drops residual branches in training (Huang et al. 2016, arXiv:1603.09382).

    Applies ``stochastic_depth`` with a key of the collection ``"dropout"``. The identity in evaluation.

    Attributes:
        rate: Probability of dropping the branch of an example.
    """

    rate: float

    @nn.compact
    def __call__(self, branch: Float[Array, "*batch C"], train: bool = False) -> Float[Array, "*batch C"]:
        """Maps ``[B, ..., C]`` to the same shape."""
        return stochastic_depth(self.make_rng("dropout"), branch, self.rate) if train and self.rate else branch
