"""Glow, a flow with invertible 1 x 1 convolutions (Kingma and Dhariwal 2018, arXiv:1807.03039)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution import convolve
from jaxnets.generative.flows.bijector import Bijector
from jaxnets.generative.flows.couplings import additive_coupling, affine_coupling, coupling
from jaxnets.generative.flows.models.flow_model import FlowModel
from jaxnets.generative.flows.models.layers import (
    ActNorm,
    InvertibleLinear,
    Transformed,
    directed,
    in_order,
    layer_of,
    repeated,
)
from jaxnets.generative.flows.multiscale import code_shapes, join_codes, split_codes, squeeze, standardizing, unsqueeze
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_choice, check_depth, check_integer
from jaxnets.ops.dtypes import at_least_float32

INIT = nn.initializers.normal(0.05)
SCALE_FACTOR = 3.0  # multiplies the log scales of ``ZeroConv``


class Glow(FlowModel):
    """A multiscale flow of images, 44,603,604 parameters by default.

    Each level squeezes 2 x 2 pixels into channels, applies K steps, and factors out half of the channels, whose
    Gaussian distribution is predicted from the other half. A step is activation normalization, an invertible 1 x 1
    convolution, and a coupling by three convolutions.

    The codes are standard normal, ordered by level. Codes of a level are its variables, standardized by their predicted
    mean and standard deviation, as in the authors' interpolations.

    With ``edge_channel=False``, the default sizes have 44,135,856 parameters, and with ``coupling="additive"``
    38,395,668. The prior of the last level is a convolution of zeros, as in the authors' code. Without the edge
    channel, its kernel has no gradient.

    Attributes:
        image_shape: Height, width and channels of the images; height and width multiples of ``2 ** levels``.
        levels: L, levels of resolution.
        steps: K, steps of a level.
        width: Hidden channels of the couplings.
        coupling: ``"affine"`` or ``"additive"``.
        edge_channel: Whether 3 x 3 convolutions see a channel that is 1 in the padding and 0 elsewhere, as in the
            authors' code.
        scan_layers: Whether the steps of a level are a loop of the compiled program. It compiles faster, and is slower
            on a CPU. The parameters of the steps are stacked in any case.
        dtype: Compute dtype of the couplings; codes, images and likelihoods are at least float32.
    """

    image_shape: tuple[int, int, int] = (32, 32, 3)
    levels: int = 3
    steps: int = 32
    width: int = 512
    coupling: str = "affine"
    edge_channel: bool = True
    scan_layers: bool = False
    dtype: Dtype = jnp.float32

    @property
    def example_shape(self) -> tuple[int, ...]:
        """``image_shape``."""
        return tuple(self.image_shape)

    @nn.compact
    def transform(self, xs: Float[Array, "B ..."], inverse: bool) -> Transformed:
        """Maps images ``[B, H, W, C]`` to codes ``[B, H W C]``, or back; also returns log-determinants ``[B]``.

        Raises:
            ValueError: An attribute is out of range, or the images are too small for the number of levels.
        """
        check_choice("coupling", self.coupling, ("affine", "additive"))
        check_depth(steps=self.steps)
        check_integer("steps", self.steps)
        check_integer("width", self.width)
        code_shapes(self.image_shape, self.levels, squeeze_last=True)  # checks them
        apply = self._decode if inverse else self._encode
        return apply(xs)

    def _encode(self, xs: jax.Array) -> Transformed:
        total = jnp.zeros(len(xs), xs.dtype)
        codes = []
        for level in range(1, self.levels + 1):
            xs, log_det = self._steps(level, squeeze(xs), inverse=False)
            xs, change = directed(self._prior(level, xs), xs, inverse=False)
            total += log_det + change
            if level < self.levels:
                xs, code = jnp.split(xs, 2, axis=-1)
                codes.append(code)
        return join_codes([*codes, xs]), total

    def _decode(self, codes: jax.Array) -> Transformed:
        total = jnp.zeros(len(codes), codes.dtype)
        *parts, xs = split_codes(codes, code_shapes(self.image_shape, self.levels, squeeze_last=True))
        for level in range(self.levels, 0, -1):
            if level < self.levels:
                xs = jnp.concatenate([xs, parts[level - 1]], axis=-1)
            xs, change = directed(self._prior(level, xs), xs, inverse=True)
            xs, log_det = self._steps(level, xs, inverse=True)
            total += log_det + change
            xs = unsqueeze(xs)
        return xs, total

    def _steps(self, level: int, xs: jax.Array, inverse: bool) -> Transformed:
        step = GlowStep(self.width, self.coupling, self.edge_channel, self.dtype, name=f"steps_{level}")
        return repeated(step, self.steps, xs, inverse, self.scan_layers)

    def _prior(self, level: int, xs: jax.Array) -> Bijector:
        """Returns the bijector that standardizes the second half of a level's channels, in the last level all."""
        *shape, channels = xs.shape[1:]
        is_last = level == self.levels
        conv = ZeroConv((1 + is_last) * channels, self.edge_channel, self.dtype, name=f"prior_{level}")
        if not is_last:
            return coupling(lambda first: standardizing(conv(first)))
        parameters = conv(jnp.zeros((1, *shape, 2 * channels), jnp.float32))
        return standardizing(jnp.broadcast_to(parameters, (len(xs), *parameters.shape[1:])))


class GlowStep(nn.Module):
    """A step of ``Glow``; the attributes are those of ``Glow``."""

    width: int
    coupling: str
    edge_channel: bool
    dtype: Dtype

    @nn.compact
    def __call__(self, xs: Float[Array, "B H W C"], inverse: bool) -> Transformed:
        """Maps ``[B, H, W, C]``; also returns the log-determinants, ``[B]``."""
        affine = self.coupling == "affine"
        second = xs.shape[-1] - xs.shape[-1] // 2
        network = GlowNetwork(
            2 * second if affine else second, self.width, self.edge_channel, self.dtype, name="network"
        )
        last = (affine_coupling if affine else additive_coupling)(network)
        return in_order([ActNorm(name="actnorm"), InvertibleLinear(name="linear"), layer_of(last)], xs, inverse)


class GlowNetwork(nn.Module):
    """The network of a coupling: 3 x 3, 1 x 1 and 3 x 3 convolutions, the first two with ``ActNorm`` and ReLU.

    Attributes:
        features: Output channels.
        width: Hidden channels.
        edge_channel: As in ``Glow``.
        dtype: Compute dtype; outputs are at least float32.
    """

    features: int
    width: int
    edge_channel: bool
    dtype: Dtype

    @nn.compact
    def __call__(self, xs: Float[Array, "B H W C"]) -> Float[Array, "B H W features"]:
        """Maps ``[B, H, W, C]`` to ``[B, H, W, features]``, initially zeros."""
        channels = xs.shape[-1] + self.edge_channel
        kernel = self.param("kernel_1", INIT, (3, 3, channels, self.width), jnp.float32)
        xs = convolve_3x3(xs.astype(self.dtype), kernel.astype(self.dtype))
        xs = nn.relu(ActNorm(name="actnorm_1")(xs)[0])
        kernel = self.param("kernel_2", INIT, (1, 1, self.width, self.width), jnp.float32)
        xs = convolve(xs, kernel.astype(self.dtype), (1, 1), "VALID", rhs_dilation=(1, 1), **NHWC)
        xs = nn.relu(ActNorm(name="actnorm_2")(xs)[0])
        return ZeroConv(self.features, self.edge_channel, self.dtype, name="conv_3")(xs)


class ZeroConv(nn.Module):
    r"""A 3 x 3 convolution whose outputs are initially 0, with learned scales :math:`e^{3 l}`.

    Parameters: ``kernel [3, 3, C, features]``, with C + 1 channels for an edge channel; ``bias [features]`` and
    ``log_scale [features]``.

    Attributes:
        features: Output channels.
        edge_channel: As in ``Glow``.
        dtype: Compute dtype; outputs are at least float32.
    """

    features: int
    edge_channel: bool
    dtype: Dtype

    @nn.compact
    def __call__(self, xs: Float[Array, "B H W C"]) -> Float[Array, "B H W features"]:
        """Maps ``[B, H, W, C]`` to ``[B, H, W, features]``."""
        zeros = nn.initializers.zeros
        kernel = self.param("kernel", zeros, (3, 3, xs.shape[-1] + self.edge_channel, self.features), jnp.float32)
        bias = self.param("bias", zeros, (self.features,), jnp.float32)
        log_scale = self.param("log_scale", zeros, (self.features,), jnp.float32)
        ys = convolve_3x3(xs.astype(self.dtype), kernel.astype(self.dtype))
        ys = ys.astype(at_least_float32(self.dtype))
        scale = jnp.exp(SCALE_FACTOR * log_scale).astype(ys.dtype)
        return (ys + jnp.broadcast_to(bias.astype(ys.dtype), ys.shape)) * jnp.broadcast_to(scale, ys.shape)


NHWC: dict[str, Any] = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}


def convolve_3x3(xs: Float[Array, "B H W C"], kernel: Float[Array, "3 3 D F"]) -> Float[Array, "B H W F"]:
    """Computes a 3 x 3 convolution of images that are padded by zeros, with or without the edge channel of ``Glow``.

    Args:
        xs: ``[B, H, W, C]``.
        kernel: ``[3, 3, C, F]``, or with a last row for the channel that is 1 in the padding, ``[3, 3, C + 1, F]``.

    Returns:
        ``[B, H, W, F]``.
    """
    channels = xs.shape[-1]
    ys = convolve(xs, kernel[:, :, :channels], (1, 1), [(1, 1)] * 2, rhs_dilation=(1, 1), **NHWC)
    if kernel.shape[2] == channels:
        return ys
    inner = jnp.zeros((1, *xs.shape[1:3], 1), xs.dtype)
    edge = jnp.pad(inner, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
    constant = convolve(edge, kernel[:, :, channels:], (1, 1), "VALID", rhs_dilation=(1, 1), **NHWC)
    return ys + jnp.broadcast_to(constant, ys.shape)
