"""Examples of adversarial models: scales and shapes of images."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float, Num
from jaxnets.tasks.generative.pixels import image_shape, to_pixels


def example_shape(module: Any) -> tuple[int, ...]:
    """Returns the shape of one example that a model generates."""
    codes = jax.ShapeDtypeStruct((1, module.latent), jnp.float32)
    labels = jax.ShapeDtypeStruct((1,), jnp.int32) if module.num_classes else None
    init = lambda codes, labels: module.init_with_output(jax.random.key(0), codes, labels, method="generate")[0]
    return tuple(jax.eval_shape(init, codes, labels).shape[1:])


def from_images(images: Num[Array, "B H W *channels"], module: Any) -> Float[Array, "B ..."]:
    """Converts the images of a batch to examples of a model.

    Pixels are divided by 255 if they are uint8; otherwise they are floating-point numbers in [0, 1]. For models of
    images ``[B, H, W, C]``, such as ``DCGAN``, they are then scaled to [-1, 1], the range of tanh. Models of vectors,
    such as ``MaxoutGAN``, have the flat images in [0, 1].

    Args:
        images: ``[B, H, W]`` or ``[B, H, W, C]``.
        module: The model.

    Raises:
        ValueError: The images have a size or a number of channels that the model does not generate.
    """
    shape = example_shape(module)
    if images.ndim not in (3, 4):
        raise ValueError(f"the images of a batch must have the shape [B, H, W] or [B, H, W, C], got {images.shape}")
    height, width, channels = (*images.shape[1:], 1)[:3]
    pixels = to_pixels(images)
    if len(shape) == 1:
        if shape != (height * width * channels,):
            size = height * width * channels
            raise ValueError(f"`features` of the model must be {size}, the numbers of an image, got {shape[0]}")
        return pixels.reshape(len(images), -1)
    module.check_image(height, width)
    if shape != (height, width, channels):
        generated, given = (" x ".join(map(str, sizes)) for sizes in (shape, (height, width, channels)))
        raise ValueError(
            f"`image_size` and `channels` of the model must be those of the images, {given}, got {generated}"
        )
    return 2 * pixels.reshape(len(images), *shape) - 1


def to_images(examples: Float[Array, "B ..."], shape: tuple[int, ...] = ()) -> Float[Array, "B H W C"]:
    """Converts generated examples to images in [0, 1], ``[B, H, W, C]``; the inverse of ``from_images``.

    Args:
        examples: ``[B, H, W, C]`` in [-1, 1], or flat in [0, 1].
        shape: The shape of an image of the data. Without it, flat images are square if they can be; otherwise they
            remain flat.
    """
    if examples.ndim == 4:
        return jnp.clip((examples + 1) / 2, 0, 1)
    return jnp.clip(examples, 0, 1).reshape(len(examples), *(image_shape(examples.shape[1], shape) or (-1,)))


def like(pixels: Float[Array, "B H W C"], images: Num[Array, "B H W *channels"]) -> Num[Array, "B H W *channels"]:
    """Converts pixels in [0, 1] to the shape and the type of the images of a batch."""
    pixels = pixels.reshape(-1, *images.shape[1:])
    return jnp.round(255 * pixels).astype(jnp.uint8) if images.dtype == jnp.uint8 else pixels.astype(images.dtype)
