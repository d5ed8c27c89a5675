"""Masked autoregressive flows of tables (Papamakarios et al. 2017, arXiv:1705.07057)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.generative.flows.affine import reversing, scaling, shifting
from jaxnets.generative.flows.autoregressive import made_masks, masked_autoregressive, masked_perceptron
from jaxnets.generative.flows.bijector import Bijector, chain
from jaxnets.generative.flows.models.flow_model import FlowModel
from jaxnets.generative.flows.models.layers import ActNorm, Layer, Transformed, in_order, layer_of, repeated
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depth, check_integer, check_layer_sizes

MAX_LOG_STD = 5.0  # the absolute value approaches it


class MaskedAutoregressiveFlow(FlowModel):
    r"""A flow of rows ``[B, D]`` whose layers transform each feature by functions of the previous ones.

    .. math:: z_i = (x_i - \mu_i(x_{<i}))\, e^{-\alpha_i(x_{<i})}

    Log standard deviations :math:`\alpha` are bounded, by 5 tanh(r / 5). A layer is activation normalization, in the
    place of the paper's batch normalization; this transformation, by a network with the masks of MADE; and the reversal
    of the features. The likelihood takes one pass of each network, ``decode`` D passes.

    Attributes:
        features: D.
        num_layers: Transformations.
        hidden_sizes: Sizes of the hidden layers of the networks.
        scan_layers: Whether the layers are a loop of the compiled program, which compiles faster.
        dtype: Compute dtype of hidden layers; codes, rows and likelihoods are at least float32.
    """

    features: int
    num_layers: int = 5
    hidden_sizes: Sequence[int] = (128, 128)
    scan_layers: bool = False
    dtype: Dtype = jnp.float32

    @property
    def example_shape(self) -> tuple[int, ...]:
        """``(features,)``."""
        return (self.features,)

    @nn.compact
    def transform(self, xs: Float[Array, "B ..."], inverse: bool) -> Transformed:
        """Maps rows to codes, or back, ``[B, D]``; also returns log-determinants ``[B]``.

        Raises:
            ValueError: An attribute is out of range.
        """
        check_integer("features", self.features)
        check_integer("num_layers", self.num_layers)
        check_depth(num_layers=self.num_layers)
        check_layer_sizes(hidden_sizes=self.hidden_sizes)
        layer = AutoregressiveLayer(tuple(self.hidden_sizes), self.dtype, name="layers")
        return repeated(layer, self.num_layers, xs, inverse, self.scan_layers)


class AutoregressiveLayer(nn.Module):
    """A layer of ``MaskedAutoregressiveFlow``; the attributes are those of ``MaskedAutoregressiveFlow``."""

    hidden_sizes: Sequence[int]
    dtype: Dtype

    @nn.compact
    def __call__(self, xs: Float[Array, "B D"], inverse: bool) -> Transformed:
        """Maps ``[B, D]``; also returns the log-determinants, ``[B]``."""
        masks = made_masks(xs.shape[-1], self.hidden_sizes, 2)
        names = [*(f"layer_{i}" for i in range(len(self.hidden_sizes))), "head"]
        layers = []
        for name, mask in zip(names, masks, strict=True):
            kernel_init = nn.initializers.zeros if name == "head" else nn.initializers.lecun_normal()
            kernel = self.param(f"{name}_kernel", kernel_init, mask.shape, jnp.float32)
            bias = self.param(f"{name}_bias", nn.initializers.zeros, mask.shape[1:], jnp.float32)
            layers.append({"kernel": kernel, "bias": bias})

        def transform(xs: jax.Array) -> Bijector:
            outputs = masked_perceptron(layers, masks, xs, dtype=self.dtype).reshape(*xs.shape, 2)
            log_std = MAX_LOG_STD * jnp.tanh(outputs[..., 1] / MAX_LOG_STD)
            return chain(shifting(-outputs[..., 0]), scaling(-log_std))

        steps: list[Layer] = [
            ActNorm(name="actnorm"),
            layer_of(masked_autoregressive(transform)),
            layer_of(reversing()),
        ]
        return in_order(steps, xs, inverse)
