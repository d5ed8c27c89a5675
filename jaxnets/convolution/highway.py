"""Highway networks (Srivastava, Greff and Schmidhuber 2015, arXiv:1505.00387).

The output of a highway layer is a gated mixture of its input and a transform of its input. Gradients pass through the
gates, which makes networks of a hundred layers trainable.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.branches import highway_gate
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.images import ImageModel, check_images
from jaxnets.convolution.pooling import global_average, max_pool
from jaxnets.ops.activations import Activation
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depth, check_integer, check_layer_sizes


class HighwayLayer(nn.Module):
    r"""A dense highway layer.

    .. math::
        y = t \odot a(x W_H + b_H) + (1 - t) \odot x, \quad t = \sigma(x W_T + b_T)

    Parameters: ``transform`` and ``gate``, each ``kernel [H, H]`` and ``bias [H]``.

    Attributes:
        gate_bias: Initial value of :math:`b_T`; below 0, so that a new layer passes on most of its input.
        activation: Activation a of the transform.
        dtype: Compute dtype.
    """

    gate_bias: float = -3.0
    activation: Activation = nn.relu
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch H"]) -> Float[Array, "*batch H"]:
        """Maps ``[*batch, H]`` to the same shape."""
        x = x.astype(self.dtype)
        he, gate_init = nn.initializers.he_normal(), nn.initializers.constant(self.gate_bias)
        transform = nn.Dense(x.shape[-1], kernel_init=he, dtype=self.dtype, name="transform")
        gate = nn.Dense(x.shape[-1], kernel_init=he, bias_init=gate_init, dtype=self.dtype, name="gate")
        return highway_gate(x, self.activation(transform(x)), gate(x))


class ConvHighwayLayer(nn.Module):
    """A highway layer with a convolutional transform and a convolutional gate.

    Parameters: ``transform`` and ``gate``, each ``kernel [k, k, C, C]`` and ``bias [C]``.

    Attributes:
        kernel_size: Height and width k of the kernels, odd.
        gate_bias, activation, dtype: As in ``HighwayLayer``.
    """

    kernel_size: int = 3
    gate_bias: float = -3.0
    activation: Activation = nn.relu
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        """Maps ``[B, H, W, C]`` to the same shape."""
        x = x.astype(self.dtype)
        transform = _conv(x.shape[-1], self.kernel_size, self.dtype, "transform")
        gate = _conv(x.shape[-1], self.kernel_size, self.dtype, "gate", self.gate_bias)
        return highway_gate(x, self.activation(transform(x)), gate(x))


def _conv(features: int, kernel_size: int, dtype: Dtype, name: str, bias: float = 0.0) -> nn.Conv:
    return Conv(
        features,
        (kernel_size, kernel_size),
        padding=(kernel_size - 1) // 2,
        kernel_init=nn.initializers.he_normal(),
        bias_init=nn.initializers.constant(bias),
        dtype=dtype,
        name=name,
    )


class HighwayNetwork(ImageModel):
    """The highway network of the paper for MNIST: a dense layer, ``num_layers - 1`` highway layers, and a linear head.

    Activations, in order: ``layer_1`` to ``layer_<num_layers>``, ``logits``.
    Parameters: ``layer_1``, dense; ``layer_<i>`` of ``HighwayLayer`` for i from 2; ``head``.

    Attributes:
        num_layers: Hidden layers; 10, 20, 50 and 100 in the paper.
        width: Units of each hidden layer; 50 in the paper.
        num_classes: Classes; 0: no head.
        gate_bias, activation: As in ``HighwayLayer``.
        dtype: Compute dtype; logits are at least float32.
    """

    num_layers: int = 10
    width: int = 50
    num_classes: int = 10
    gate_bias: float = -3.0
    activation: Activation = nn.relu
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B ..."], train: bool) -> dict[str, Float[Array, "B ..."]]:
        """Returns the activations for images ``[B, H, W, C]``, flattened as ``[C, H, W]``, or vectors ``[B, D]``."""
        check_integer("num_layers", self.num_layers)
        check_depth(num_layers=self.num_layers)
        x = images
        if images.ndim != 2:
            check_images(self, images, 1, ())
            x = jnp.moveaxis(images, -1, 1).reshape(images.shape[0], math.prod(images.shape[1:]))
        params = self.variables.get("params", {}).get("layer_1")
        if params and params["kernel"].shape[0] != x.shape[-1]:
            size = params["kernel"].shape[0]
            raise ValueError(f"HighwayNetwork: `images` must have {size} values each, got {x.shape[-1]}")
        activations = {}
        first = nn.Dense(self.width, kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name="layer_1")
        activations["layer_1"] = x = self.activation(first(x))
        for i in range(2, self.num_layers + 1):
            x = HighwayLayer(self.gate_bias, self.activation, self.dtype, name=f"layer_{i}")(x)
            activations[f"layer_{i}"] = x
        if self.num_classes:
            activations["logits"] = self.logits(x)
        return activations


class ConvHighwayNetwork(ImageModel):
    """A convolutional highway network, in stages that each start with a plain convolution; max pooling separates them.

    It resembles the CIFAR networks of the paper, which does not list their layers: they are thin, like the FitNets of
    Romero et al. (2015, arXiv:1412.6550), with highway layers where the width is constant.

    Activations, in order: ``stage_1``, ``stage_2``, ..., ``pooled``, ``logits``.
    Parameters: ``stage_<s>_plain``; ``stage_<s>_layer_<i>`` of ``ConvHighwayLayer``; ``head``.

    Attributes:
        widths: Channels of each stage.
        layers_per_stage: Highway layers of each stage.
        num_classes: Classes; 0: no head, the output is ``pooled``.
        gate_bias, activation: As in ``HighwayLayer``.
        dtype: Compute dtype; logits are at least float32.
    """

    widths: Sequence[int] = (32, 48, 64)
    layers_per_stage: int = 5
    num_classes: int = 10
    gate_bias: float = -3.0
    activation: Activation = nn.relu
    dtype: Dtype = jnp.float32

    def activations(self, images: Float[Array, "B H W C"], train: bool) -> dict[str, Float[Array, "B ..."]]:
        check_depth(layers_per_stage=self.layers_per_stage)
        check_layer_sizes(widths=self.widths)
        check_images(self, images, 2 ** (len(self.widths) - 1), ("stage_1_plain",))
        activations = {}
        x = images
        for stage, width in enumerate(self.widths, 1):
            x = x if stage == 1 else max_pool(x, 2, 2)
            x = self.activation(_conv(width, 3, self.dtype, f"stage_{stage}_plain")(x))
            for i in range(self.layers_per_stage):
                name = f"stage_{stage}_layer_{i + 1}"
                x = ConvHighwayLayer(3, self.gate_bias, self.activation, self.dtype, name=name)(x)
            activations[f"stage_{stage}"] = x
        activations["pooled"] = global_average(x)
        if self.num_classes:
            activations["logits"] = self.logits(activations["pooled"])
        return activations
