"""Pixels as the inputs of autoencoders, and their binarization."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.generative import binarize
from jaxnets.ops.checks import describe_value

BINARIZATIONS = ("dynamic", "static", "none")


def to_pixels(images: Any) -> jax.Array:
    """Returns images ``[B, ...]`` as float32; uint8 is divided by 255."""
    images = jnp.asarray(images)
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images.astype(jnp.float32)


def flat_pixels(images: Any) -> jax.Array:
    """Returns images ``[B, ...]`` as float32 ``[B, D]``; uint8 is divided by 255."""
    return to_pixels(images).reshape(len(images), -1)


def levels_of(pixels: jax.Array, num_levels: int) -> jax.Array:
    """Returns pixels in [0, 1] as integers 0 ... L - 1, of L equal intervals of the 256 intensities."""
    return jnp.floor(pixels * (num_levels * 255 / 256) + 1e-3).astype(jnp.int32)  # of bytes, exactly


def image_shape(size: int, shape: tuple[int, ...] = ()) -> tuple[int, ...] | None:
    """Returns the shape ``(H, W, C)`` of flat images: ``shape`` if it is one, else a gray or a color square, or None.

    Args:
        size: D, pixels times channels.
        shape: ``(H, W)`` or ``(H, W, C)`` of size D, or anything else for squares.
    """
    gray, color = math.isqrt(size), math.isqrt(size // 3)
    candidates = ((*shape, 1)[:3] if len(shape) in (2, 3) else (), (gray, gray, 1), (color, color, 3))
    return next((found for found in candidates if found[2:] in ((1,), (3,)) and math.prod(found) == size), None)


def model_inputs(model: Any, pixels: jax.Array) -> jax.Array:
    """Returns flat pixels ``[B, D]`` in the ``image_shape`` of a model, or unchanged if it has none."""
    shape = getattr(model, "image_shape", None)
    return pixels if shape is None else pixels.reshape(len(pixels), *shape)


def check_model_inputs(model: Any, images: Any) -> None:
    """Raises a ``ValueError`` if a model has another number of pixels than images ``[B, ...]``."""
    size, shape, features = math.prod(images.shape[1:]), getattr(model, "image_shape", None), None
    if shape is not None and math.prod(shape) != size:
        raise ValueError(f"`image_shape` of the model must have {size} pixels, as {images.shape[1:]}, got {shape}")
    features = getattr(model, "features", size)
    if shape is None and features != size:
        raise ValueError(f"`features` of the model must be {size}, the pixels of an image, got {features}")


def check_pixels(task: str, images: Any) -> None:
    """Raises a ``ValueError`` unless images are uint8 or have pixels in [0, 1]; tracers are not checked."""
    dtype = images.dtype
    if dtype != jnp.uint8 and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"the images of {task} must be uint8, or floating point in [0, 1], got {dtype}")
    if dtype == jnp.uint8 or isinstance(images, jax.core.Tracer):
        return
    low, high = float(np.min(images)), float(np.max(images))
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"the pixels of {task} must be uint8, or from 0 to 1, got {describe_value(images)} from {low:.4g} to "
            f"{high:.4g}; standardized data has no Bernoulli likelihood"
        )


def targets_of(binarization: str, key: jax.Array, pixels: jax.Array) -> jax.Array:
    """Returns the targets of pixels ``[B, D]``: bits, or the pixels themselves.

    Images with a pixel outside [0, 1] become NaN, so that their likelihood is not a number.

    Args:
        binarization: ``"dynamic"``: bits by ``key``. ``"static"``: see ``static_bits``. ``"none"``: the pixels.
        key: A random key.
        pixels: float32 ``[B, D]``.
    """
    in_range = jnp.all((pixels >= 0) & (pixels <= 1), axis=-1, keepdims=True)
    draw = {"dynamic": lambda: binarize(key, pixels), "static": lambda: static_bits(pixels), "none": lambda: pixels}
    return jnp.where(in_range, draw[binarization](), jnp.nan)


def static_bits(pixels: jax.Array, seed: int = 0) -> jax.Array:
    """Samples pixels as bits, once and for all: equal images have equal bits, whatever their row, batch or epoch.

    The random key of an image is a hash of its pixels in 256 levels (multilinear, modulo 2^32).

    Args:
        pixels: float32 in [0, 1], ``[B, D]``.
        seed: Seed of the bits.

    Returns:
        0 or 1, float32 ``[B, D]``.
    """
    key = jax.random.key(seed)
    levels = jnp.round(255 * pixels).astype(jnp.uint32)
    factors = jax.random.bits(key, (1, pixels.shape[-1]), jnp.uint32)
    hashes = jnp.sum(levels * factors, axis=-1, dtype=jnp.uint32)
    keys = jax.vmap(lambda each: jax.random.fold_in(key, each))(hashes)
    return jax.vmap(binarize)(keys, pixels)
