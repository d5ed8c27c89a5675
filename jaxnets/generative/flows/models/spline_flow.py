"""Neural spline flows of tables (Durkan et al. 2019, arXiv:1906.04032)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.generative.flows.bijector import Bijector
from jaxnets.generative.flows.couplings import coupling
from jaxnets.generative.flows.models.flow_model import FlowModel
from jaxnets.generative.flows.models.layers import (
    ActNorm,
    Conditioner,
    InvertibleLinear,
    Layer,
    Transformed,
    in_order,
    layer_of,
    repeated,
)
from jaxnets.generative.flows.spline import rational_quadratic_spline
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depth, check_integer, check_layer_sizes


class SplineFlow(FlowModel):
    """A flow of rows ``[B, D]`` with couplings by rational-quadratic splines.

    A layer is activation normalization, an invertible linear map, and a coupling. The splines are the identity outside
    an interval, so features should be standardized. Initially the flow is a rotation of standardized features.

    Attributes:
        features: D, at least 2.
        num_layers: Couplings.
        hidden_sizes: Sizes of the hidden layers of the couplings.
        num_bins: K, bins of a spline, at least 2.
        bound: Half of the interval of the splines.
        scan_layers: Whether the layers are a loop of the compiled program, which compiles faster.
        dtype: Compute dtype of the couplings; codes, rows and likelihoods are at least float32.
    """

    features: int
    num_layers: int = 8
    hidden_sizes: Sequence[int] = (128, 128)
    num_bins: int = 8
    bound: float = 3.0
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
        check_integer("features", self.features, 2)
        check_integer("num_layers", self.num_layers)
        check_integer("num_bins", self.num_bins, 2)
        check_depth(num_layers=self.num_layers)
        check_layer_sizes(hidden_sizes=self.hidden_sizes)
        layer = SplineLayer(tuple(self.hidden_sizes), self.num_bins, self.bound, self.dtype, name="layers")
        return repeated(layer, self.num_layers, xs, inverse, self.scan_layers)


class SplineLayer(nn.Module):
    """A layer of ``SplineFlow``; the attributes are those of ``SplineFlow``."""

    hidden_sizes: Sequence[int]
    num_bins: int
    bound: float
    dtype: Dtype

    @nn.compact
    def __call__(self, xs: Float[Array, "B D"], inverse: bool) -> Transformed:
        """Maps ``[B, D]``; also returns the log-determinants, ``[B]``."""
        second, per_feature = xs.shape[-1] - xs.shape[-1] // 2, 3 * self.num_bins - 1
        network = Conditioner(second * per_feature, self.hidden_sizes, self.dtype, name="network")

        def transform(first: jax.Array) -> Bijector:
            parameters = network(first).reshape(len(first), second, per_feature)
            return rational_quadratic_spline(parameters, self.bound)

        layers: list[Layer] = [ActNorm(name="actnorm"), InvertibleLinear(name="linear"), layer_of(coupling(transform))]
        return in_order(layers, xs, inverse)
