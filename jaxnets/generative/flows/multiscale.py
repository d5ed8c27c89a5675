"""Rearrangement of images, and the learned distribution of factored-out variables."""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from jaxnets.generative.flows.affine import scaling, shifting
from jaxnets.generative.flows.bijector import Bijector, chain, without_volume_change
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depth, check_integer
from jaxnets.ops.meshes import call_auto_sharded, spec_of


def squeeze(images: Float[Array, "B H W C"]) -> Float[Array, "B rows columns F"]:
    """Moves each 2 x 2 block of pixels to the channels, ``[B, H, W, C]`` to ``[B, H / 2, W / 2, 4 C]``.

    Output channel ``4 c + 2 i + j`` is channel c of pixel (i, j) of the block.

    Raises:
        ValueError: The height or the width is odd.
    """
    if images.ndim != 4 or images.shape[1] % 2 or images.shape[2] % 2:
        raise ValueError(f"`images` must have the shape [B, H, W, C], H and W even, got {images.shape}")
    batch, height, width, channels = images.shape

    def squeezed(images):
        blocks = images.reshape(batch, height // 2, 2, width // 2, 2, channels)
        return blocks.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height // 2, width // 2, 4 * channels)

    return _with_batch_sharding(squeezed, images)


def unsqueeze(images: Float[Array, "B rows columns F"]) -> Float[Array, "B H W C"]:
    """Inverts ``squeeze``, ``[B, H, W, 4 C]`` to ``[B, 2 H, 2 W, C]``.

    Raises:
        ValueError: The number of channels is not a multiple of 4.
    """
    if images.ndim != 4 or images.shape[3] % 4:
        raise ValueError(f"`images` must have the shape [B, H, W, C], C a multiple of 4, got {images.shape}")
    batch, height, width, channels = images.shape

    def unsqueezed(images):
        blocks = images.reshape(batch, height, width, channels // 4, 2, 2)
        return blocks.transpose(0, 1, 4, 2, 5, 3).reshape(batch, 2 * height, 2 * width, channels // 4)

    return _with_batch_sharding(unsqueezed, images)


def _with_batch_sharding(rearrange: Callable, images: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """Computes ``rearrange(images)``. On an explicit mesh, JAX does not infer the sharding of such a reshape."""
    spec = PartitionSpec(spec_of(images)[0])
    return call_auto_sharded(rearrange, lambda _: spec, images)


def squeezing() -> Bijector:
    """Creates the bijector of ``squeeze`` and ``unsqueeze``."""
    return without_volume_change(squeeze, unsqueeze)


def standardizing(parameters: Float[Array, "B ... F"]) -> Bijector:
    r"""Creates the bijector that makes variables with a learned Gaussian distribution standard normal.

    .. math:: z = (x - \mu)\, e^{-l}, \quad (\mu_1, l_1, \mu_2, l_2, \dots) = p

    ``coupling(lambda first: standardizing(network(first)))`` is the learned prior of the half of the channels that a
    multiscale flow factors out. With it, the flow is a bijector from data to standard normal codes, and its log-density
    is that of Glow.

    Args:
        parameters: p, means and log standard deviations in turn, ``[B, ..., 2 C]`` for x ``[B, ..., C]``.
    """
    mean, log_std = parameters[..., 0::2], parameters[..., 1::2]
    return chain(shifting(-mean), scaling(-log_std))


def code_shapes(image_shape: tuple[int, int, int], levels: int, squeeze_last: bool) -> list[tuple[int, int, int]]:
    """Returns the shapes of the variables that each level of a multiscale flow turns into codes.

    Each level but the last squeezes the image and factors out half of the channels.

    Args:
        image_shape: ``(H, W, C)``.
        levels: Number of levels.
        squeeze_last: Whether the last level squeezes the image too.

    Raises:
        ValueError: The height or the width cannot be halved often enough.
    """
    check_depth(levels=levels)
    check_integer("levels", levels)
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"`image_shape` must be (H, W, C), positive integers, got {image_shape}")
    height, width, channels = image_shape
    factor = 2 ** (levels - (not squeeze_last))
    if height % factor or width % factor:
        raise ValueError(
            f"`image_shape` must have a height and a width that are multiples of {factor} for `levels` {levels}, "
            f"got {height} x {width}"
        )
    shapes = [(height // 2**n, width // 2**n, channels * 2**n) for n in range(1, levels)]
    channels *= 2 ** (levels + 1) if squeeze_last else 2 ** (levels - 1)
    return [*shapes, (height // factor, width // factor, channels)]


def join_codes(codes: Sequence[Float[Array, "B ..."]]) -> Float[Array, "B latent"]:
    """Flattens and concatenates the codes of all levels."""
    return jnp.concatenate([code.reshape(len(code), math.prod(code.shape[1:])) for code in codes], axis=-1)


def split_codes(
    codes: Float[Array, "B latent"], shapes: Sequence[tuple[int, int, int]]
) -> list[Float[Array, "B H W C"]]:
    """Inverts ``join_codes``, for codes of shapes without the batch axis."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = jnp.split(codes, ends, axis=-1)
    return [part.reshape(len(codes), *shape) for part, shape in zip(parts, shapes, strict=True)]
