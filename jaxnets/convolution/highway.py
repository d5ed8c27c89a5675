"""Highway networks (Srivastava, Greff and Schmidhuber 2015, arXiv:1505.00387): layers that learn how much to change.

A gate between what a layer makes of its input and the input itself lets gradients through networks of a hundred layers.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.branches import highway_gate
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import global_average, max_pool
from jaxnets.ops.activations import Activation
from jaxnets.ops.checks import check_depth, check_integer, check_layer_sizes


class HighwayLayer(nn.Module):
    r"""A dense highway layer, as wide as its input:

    .. math::
        y = t \odot a(x W_H + b_H) + (1 - t) \odot x, \quad t = \sigma(x W_T + b_T)

    Parameters: ``transform`` and ``gate``, each ``kernel [H, H]`` and ``bias [H]``.

    Attributes:
        gate_bias: Where :math:`b_T` begins: below 0, so that the layer carries at first.
        activation: a.
        dtype: Compute type.
    """

    gate_bias: float = -3.0
    activation: Activation = nn.relu
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[*batch, H]`` to the same."""
        he, start, x = nn.initializers.he_normal(), nn.initializers.constant(self.gate_bias), x.astype(self.dtype)
        transform = nn.Dense(x.shape[-1], kernel_init=he, dtype=self.dtype, name="transform")
        gate = nn.Dense(x.shape[-1], kernel_init=he, bias_init=start, dtype=self.dtype, name="gate")
        return highway_gate(x, self.activation(transform(x)), gate(x))


class ConvHighwayLayer(nn.Module):
    """A highway layer whose transform and gate are 3 x 3 convolutions, with as many channels as its input.

    Parameters: ``transform`` and ``gate``, each ``kernel [k, k, C, C]`` and ``bias [C]``.

    Attributes:
        kernel_size: k, odd.
        gate_bias, activation, dtype: As in ``HighwayLayer``.
    """

    kernel_size: int = 3
    gate_bias: float = -3.0
    activation: Activation = nn.relu
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, C]`` to the same."""
        x = x.astype(self.dtype)
        transform = _conv(x.shape[-1], self.kernel_size, self.dtype, "transform")
        gate = _conv(x.shape[-1], self.kernel_size, self.dtype, "gate", self.gate_bias)
        return highway_gate(x, self.activation(transform(x)), gate(x))


def _conv(features: int, kernel: int, dtype: Dtype, name: str, bias: float = 0.0) -> nn.Conv:
    return Conv(
        features,
        (kernel, kernel),
        padding=(kernel - 1) // 2,
        kernel_init=nn.initializers.he_normal(),
        bias_init=nn.initializers.constant(bias),
        dtype=dtype,
        name=name,
    )


class HighwayNetwork(ImageModel):
    """The paper's network for MNIST: a dense layer, depth - 1 highway layers as wide, and a linear output.

    Named activations, in order: ``layer_1`` to ``layer_<depth>``, ``logits``.
    Parameters: ``layer_1`` dense; the other ``layer_<i>`` of ``HighwayLayer``; ``head``.

    Attributes:
        depth: Layers without the output's; the paper has 10, 20, 50 and 100.
        width: Units of each; 50 in the paper.
        num_classes: C; 0: no head.
        gate_bias, activation: As in ``HighwayLayer``.
        dtype: Compute type; the head's results are float32 at least.
    """

    depth: int = 10
    width: int = 50
    num_classes: int = 10
    gate_bias: float = -3.0
    activation: Activation = nn.relu
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Activations of images ``[B, H, W, C]``, flattened channel by channel, or of vectors ``[B, D]``."""
        check_integer("depth", self.depth)
        check_depth(depth=self.depth)
        x = images
        if images.ndim != 2:
            check_images(self, images, 1, ())
            x = jnp.moveaxis(images, -1, 1).reshape(images.shape[0], math.prod(images.shape[1:]))
        made = self.variables.get("params", {}).get("layer_1")
        if made and made["kernel"].shape[0] != x.shape[-1]:
            raise ValueError(f"HighwayNetwork: images must have {made['kernel'].shape[0]} numbers, got {x.shape[-1]}")
        found = {}
        first = nn.Dense(self.width, kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name="layer_1")
        found["layer_1"] = x = self.activation(first(x))
        for i in range(2, self.depth + 1):
            x = HighwayLayer(self.gate_bias, self.activation, self.dtype, name=f"layer_{i}")(x)
            found[f"layer_{i}"] = x
        if self.num_classes:
            found["logits"] = self.logits(x)
        return found


class ConvHighwayNetwork(ImageModel):
    """Stages of highway convolutions: each begins with a plain convolution to its width, and pooling stands between.

    Of the kind of the paper's networks for CIFAR, which it does not give layer by layer: thin, as the FitNets of Romero
    et al. (2015, arXiv:1412.6550), with highway layers where the width stays.

    Named activations, in order: ``stage_1``, ``stage_2``, ..., ``pooled``, ``logits``.
    Parameters: ``stage_<s>_plain``; ``stage_<s>_layer_<i>`` of ``ConvHighwayLayer``; ``head``.

    Attributes:
        widths: Channels of each stage.
        layers: Highway layers of each stage.
        num_classes: C; 0: no head, the answer is ``pooled``.
        gate_bias, activation: As in ``HighwayLayer``.
        dtype: Compute type; the head's results are float32 at least.
    """

    widths: Sequence[int] = (32, 48, 64)
    layers: int = 5
    num_classes: int = 10
    gate_bias: float = -3.0
    activation: Activation = nn.relu
    dtype: Dtype = jnp.float32

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        check_depth(layers=self.layers)
        check_layer_sizes(widths=self.widths)
        check_images(self, images, 2 ** (len(self.widths) - 1), ("stage_1_plain",))
        found = {}
        x = images
        for stage, width in enumerate(self.widths, 1):
            x = x if stage == 1 else max_pool(x, 2, 2)
            x = self.activation(_conv(width, 3, self.dtype, f"stage_{stage}_plain")(x))
            for i in range(self.layers):
                name = f"stage_{stage}_layer_{i + 1}"
                x = ConvHighwayLayer(3, self.gate_bias, self.activation, self.dtype, name=name)(x)
            found[f"stage_{stage}"] = x
        found["pooled"] = global_average(x)
        if self.num_classes:
            found["logits"] = self.logits(found["pooled"])
        return found
