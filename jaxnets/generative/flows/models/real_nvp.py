"""RealNVP, a flow of images with masked couplings (Dinh et al. 2017, arXiv:1605.08803)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution import Conv
from jaxnets.generative.flows.couplings import checkerboard, masked_affine_coupling
from jaxnets.generative.flows.models.flow_model import FlowModel
from jaxnets.generative.flows.models.layers import ActNorm, Layer, Transformed, in_order, layer_of
from jaxnets.generative.flows.multiscale import code_shapes, join_codes, split_codes, squeeze, unsqueeze
from jaxnets.ops.array_types import Array, Bool, Float
from jaxnets.ops.checks import check_depth, check_integer
from jaxnets.ops.dtypes import at_least_float32


class RealNVP(FlowModel):
    """A multiscale flow of images with checkerboard and channel masks.

    A level has three couplings with checkerboard masks, squeezes 2 x 2 pixels into channels, has three couplings with
    masks of channels, and factors out half of the channels. The last level has four couplings with checkerboard masks.
    The networks are residual. Activation normalization before each coupling, and in the networks, takes the place of
    the paper's batch normalization, so that examples are independent.

    The codes are standard normal, ordered by level.

    Attributes:
        image_shape: Height, width and channels of the images; height and width multiples of ``2 ** (levels - 1)``.
        levels: Levels of resolution.
        width: Hidden channels of the couplings of the first level; each level doubles them.
        blocks: Residual blocks of a coupling.
        dtype: Compute dtype of the couplings; codes, images and likelihoods are at least float32.
    """

    image_shape: tuple[int, int, int] = (32, 32, 3)
    levels: int = 2
    width: int = 64
    blocks: int = 4
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
        check_integer("width", self.width)
        check_integer("blocks", self.blocks, 0)
        check_depth(blocks=self.blocks)
        shapes = code_shapes(self.image_shape, self.levels, squeeze_last=False)
        return self._decode(xs, shapes) if inverse else self._encode(xs)

    def _encode(self, xs: jax.Array) -> Transformed:
        total = jnp.zeros(len(xs), xs.dtype)
        codes = []
        for level in range(1, self.levels):
            xs, log_det = self._checkerboards(level, 3, xs, inverse=False)
            xs, change = self._channels(level, squeeze(xs), inverse=False)
            total += log_det + change
            xs, code = jnp.split(xs, 2, axis=-1)
            codes.append(code)
        xs, log_det = self._checkerboards(self.levels, 4, xs, inverse=False)
        return join_codes([*codes, xs]), total + log_det

    def _decode(self, codes: jax.Array, shapes: list[tuple[int, int, int]]) -> Transformed:
        *parts, xs = split_codes(codes, shapes)
        xs, total = self._checkerboards(self.levels, 4, xs, inverse=True)
        for level in range(self.levels - 1, 0, -1):
            xs, change = self._channels(level, jnp.concatenate([xs, parts[level - 1]], axis=-1), inverse=True)
            xs, log_det = self._checkerboards(level, 3, unsqueeze(xs), inverse=True)
            total += log_det + change
        return xs, total

    def _checkerboards(self, level: int, count: int, xs: jax.Array, inverse: bool) -> Transformed:
        return self._couplings(f"checkerboard_{level}", level, count, checkerboard(*xs.shape[1:]), xs, inverse)

    def _channels(self, level: int, xs: jax.Array, inverse: bool) -> Transformed:
        mask = np.arange(xs.shape[-1]) < xs.shape[-1] // 2
        return self._couplings(f"channels_{level}", level, 3, np.broadcast_to(mask, xs.shape[1:]), xs, inverse)

    def _couplings(
        self, name: str, level: int, count: int, mask: np.ndarray, xs: jax.Array, inverse: bool
    ) -> Transformed:
        """Applies couplings with a mask and its complement in turn."""
        width = self.width * 2 ** (level - 1)
        layers: list[Layer] = [
            RealNVPCoupling(mask if index % 2 else ~mask, width, self.blocks, self.dtype, name=f"{name}_{index}")
            for index in range(1, count + 1)
        ]
        return in_order(layers, xs, inverse)


class RealNVPCoupling(nn.Module):
    """Activation normalization and a masked coupling.

    Attributes:
        mask: True for the variables that are unchanged by the coupling, ``[H, W, C]``.
        width, blocks, dtype: As in ``RealNVPNetwork``.
    """

    mask: Bool[np.ndarray, "H W C"]
    width: int
    blocks: int
    dtype: Dtype

    @nn.compact
    def __call__(self, xs: Float[Array, "B H W C"], inverse: bool) -> Transformed:
        """Maps ``[B, H, W, C]``; also returns the log-determinants, ``[B]``."""
        network = RealNVPNetwork(self.width, self.blocks, self.dtype, name="network")
        layers: list[Layer] = [ActNorm(name="actnorm"), layer_of(masked_affine_coupling(self.mask, network))]
        return in_order(layers, xs, inverse)


class RealNVPNetwork(nn.Module):
    """A residual network for the log scales, bounded by a learned factor times tanh, and the shifts of a coupling.

    Attributes:
        width: Hidden channels.
        blocks: Residual blocks of two 3 x 3 convolutions.
        dtype: Compute dtype; outputs are at least float32.
    """

    width: int
    blocks: int
    dtype: Dtype

    @nn.compact
    def __call__(self, xs: Float[Array, "B H W C"]) -> Float[Array, "B H W F"]:
        """Maps ``[B, H, W, C]`` to ``[B, H, W, 2 C]``, initially zeros."""
        channels = xs.shape[-1]
        conv = lambda name: Conv(self.width, (3, 3), padding=1, use_bias=False, dtype=self.dtype, name=name)
        hidden = conv("conv")(xs)
        for block in range(1, self.blocks + 1):
            inner = hidden
            for part in (1, 2):
                inner = nn.relu(ActNorm(name=f"block_{block}_actnorm_{part}")(inner)[0])
                inner = conv(f"block_{block}_conv_{part}")(inner)
            hidden = hidden + inner
        hidden = nn.relu(ActNorm(name="actnorm")(hidden)[0])
        dtype = at_least_float32(self.dtype)
        outputs = Conv(2 * channels, (1, 1), kernel_init=nn.initializers.zeros, dtype=dtype, name="head")(hidden)
        raw, shift = jnp.split(outputs, 2, axis=-1)
        factor = self.param("factor", nn.initializers.ones, (channels,), jnp.float32).astype(dtype)
        return jnp.concatenate([jnp.broadcast_to(factor, raw.shape) * jnp.tanh(raw), shift], axis=-1)
