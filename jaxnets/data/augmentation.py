"""Random changes to batches of images ``[B, H, W, C]`` to learn from, pure in a key, on the device.

Every example draws its own. What is uncovered becomes 0, the mean of images that are standardized before.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import call_auto_sharded, spec_of


def random_crop(key: jax.Array, images: jax.Array, padding: int = 4, mode: str = "zero") -> jax.Array:
    """Pads each side and crops back to H x W at a uniform place (He et al. 2016, arXiv:1512.03385, section 4.2).

    Args:
        key: Of the draw.
        images: ``[B, H, W, C]``.
        padding: Pixels on each side.
        mode: What is padded with: ``"zero"``, or ``"reflect"``, the image mirrored at its outermost pixels.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_rank(images)
    if mode not in ("zero", "reflect"):
        raise ValueError(f"mode: zero or reflect; given {mode!r}")
    batch, height, width, channels = images.shape
    if padding < 0 or (mode == "reflect" and padding >= min(height, width)):
        raise ValueError(f"padding: not below 0, and to reflect below H and W; given {padding} for {height} x {width}")
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(images, sides, mode="constant" if mode == "zero" else "reflect")
    tops, lefts = jax.random.randint(key, (2, batch), 0, 2 * padding + 1)
    crop = lambda image, top, left: jax.lax.dynamic_slice(image, (top, left, 0), (height, width, channels))
    return _for_each(jax.vmap(crop), padded, tops, lefts)


def random_resized_crop(
    key: jax.Array,
    images: jax.Array,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> jax.Array:
    """A random part of each image, resized to H x W, linearly and antialiased (Szegedy et al. 2015, arXiv:1409.4842).

    The part's share of the area is uniform in ``scale`` and the logarithm of its width over its height in that of
    ``ratio``. What does not fit in is drawn again, up to ten times; then the largest part in the middle is taken.

    Args:
        key: Of the draw.
        images: ``[B, H, W, C]``, floating point.
        scale: The least and the largest share of the area.
        ratio: The least and the largest width over height.

    Raises:
        ValueError: The images are not floating point, or an argument is out of range.
    """
    _check_floating(images=images)
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"scale: shares above 0 and up to 1, the least first; given {scale}")
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"ratio: above 0, the least first; given {ratio}")
    if images.size == 0:
        return images
    batch, height, width, _ = images.shape
    of_area, of_ratio, of_place = jax.random.split(key, 3)
    area = height * width * jax.random.uniform(of_area, (batch, 10), minval=scale[0], maxval=scale[1])
    low, high = jnp.log(jnp.array(ratio))
    shape = jnp.exp(jax.random.uniform(of_ratio, (batch, 10), minval=low, maxval=high))
    sizes = jnp.sqrt(jnp.stack([area / shape, area * shape]))  # heights and widths
    whole = jnp.array([height, width], sizes.dtype)
    fits = jnp.all(sizes <= whole[:, None, None], axis=0)
    first = jnp.take_along_axis(sizes, jnp.argmax(fits, axis=1)[None, :, None], axis=2)[..., 0]
    largest = jnp.minimum(whole, jnp.array([width / ratio[0], height * ratio[1]]))
    found = jnp.any(fits, axis=1)[:, None]
    size = jnp.where(found, first.T, largest[None])
    place = jnp.where(found, jax.random.uniform(of_place, (batch, 2)), 0.5) * (whole[None] - size)
    zoom = whole[None] / size
    resize = lambda image, zoom, shift: jax.image.scale_and_translate(
        image, image.shape, (0, 1), zoom, shift, "linear", antialias=True
    )
    return _for_each(jax.vmap(resize), _precise(images), zoom, -place * zoom).astype(images.dtype)


def random_flip(key: jax.Array, images: jax.Array, probability: float = 0.5) -> jax.Array:
    """Mirrors left and right with a probability; images ``[B, H, W, C]``.

    Raises:
        ValueError: ``probability`` is not from 0 to 1.
    """
    _check_rank(images)
    if not 0 <= probability <= 1:
        raise ValueError(f"probability: from 0 to 1; given {probability}")
    flipped = jax.random.bernoulli(key, probability, (len(images), 1, 1, 1))
    return jnp.where(flipped, images[:, :, ::-1], images)


def random_rotation(key: jax.Array, images: jax.Array, degrees: float) -> jax.Array:
    """Rotates by an angle uniform in ``[-degrees, degrees]``; see ``rotate``."""
    return rotate(images, jax.random.uniform(key, (len(images),), minval=-degrees, maxval=degrees))


def rotate(images: jax.Array, degrees: jax.Array) -> jax.Array:
    """Rotates about the middle, counterclockwise, with bilinear interpolation; the size stays, corners become 0.

    Args:
        images: ``[B, H, W, C]``, floating point.
        degrees: ``[B]``.

    Raises:
        ValueError: The images are not floating point, or the shapes do not fit.
    """
    _check_floating(images=images)
    batch, height, width, channels = images.shape
    if jnp.shape(degrees) != (batch,):
        raise ValueError(f"degrees [B] expected for {batch} images; given shape {jnp.shape(degrees)}")
    angle = jnp.deg2rad(_precise(jnp.asarray(degrees)))[:, None, None]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    down = jnp.arange(height, dtype=angle.dtype)[None, :, None] - middle_y
    right = jnp.arange(width, dtype=angle.dtype)[None, None] - middle_x
    y, x = middle_y + cos * down + sin * right, middle_x - sin * down + cos * right  # [B, H, W], where to read
    top, left = jnp.floor(y), jnp.floor(x)
    flat = _precise(images).reshape(batch, height * width, channels)
    total = jnp.zeros((), flat.dtype)
    for row, along_y in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, along_x in ((left, 1 - (x - left)), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            at = jnp.where(inside, row * width + column, 0).astype(jnp.int32).reshape(batch, height * width, 1)
            weight = jnp.where(inside, along_y * along_x, 0).reshape(at.shape).astype(flat.dtype)
            # What has no weight is not added: it may be infinite or NaN.
            total += weight * jnp.where(weight > 0, jnp.take_along_axis(flat, at, axis=1), 0)
    return total.reshape(images.shape).astype(images.dtype)


def cutout(key: jax.Array, images: jax.Array, size: int) -> jax.Array:
    """Sets a square to 0 whose middle is a uniform pixel, so that parts of it may lie outside (DeVries and Taylor 2017,
    arXiv:1708.04552).

    Args:
        key: Of the draw.
        images: ``[B, H, W, C]``.
        size: Side of the square, in pixels.

    Raises:
        ValueError: ``size`` is below 0.
    """
    _check_rank(images)
    if size < 0:
        raise ValueError(f"size: not below 0; given {size}")
    batch, height, width, _ = images.shape
    of_y, of_x = jax.random.split(key)
    covered = lambda key, length: _covered(jax.random.randint(key, (batch, 1), 0, length) - size // 2, size, length)
    square = covered(of_y, height)[:, :, None] & covered(of_x, width)[:, None, :]
    return jnp.where(square[..., None], jnp.zeros((), images.dtype), images)


def _covered(begin: jax.Array, size: int, length: int) -> jax.Array:
    at = jnp.arange(length)[None]
    return (at >= begin) & (at < begin + size)


def mixup(key: jax.Array, images: jax.Array, targets: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    r"""Means of pairs of examples (Zhang et al. 2018, arXiv:1710.09412).

    .. math::
        \tilde x_i = \lambda_i x_i + (1 - \lambda_i) x_{\pi(i)}, \quad
        \tilde y_i = \lambda_i y_i + (1 - \lambda_i) y_{\pi(i)}, \quad
        \lambda_i \sim \mathrm{Beta}(\alpha, \alpha)

    with a random permutation :math:`\pi` of the batch.

    Args:
        key: Of the draw.
        images: ``[B, H, W, C]``, floating point.
        targets: ``[B, classes]``, one-hot or other weights of the classes.
        alpha: 0 leaves all as it is.

    Raises:
        ValueError: An array is not floating point, ``alpha`` is below 0, or the shapes do not fit.
    """
    _check_rank(images)
    if alpha < 0:
        raise ValueError(f"alpha: not below 0; given {alpha}")
    if targets.ndim != 2 or len(targets) != len(images):
        raise ValueError(f"targets [B, classes] expected for {len(images)} images; given shape {targets.shape}")
    _check_floating(images=images, targets=targets)
    if alpha == 0:
        return images, targets
    of_weights, of_pairs = jax.random.split(key)
    weights = jax.random.beta(of_weights, alpha, alpha, (len(images),))
    others = jax.random.permutation(of_pairs, len(images))

    def mixed(values, weights, others):
        precise = _precise(values)
        weight = jnp.expand_dims(weights, tuple(range(1, values.ndim))).astype(precise.dtype)
        return (weight * precise + (1 - weight) * precise[others]).astype(values.dtype)

    return _for_each(mixed, images, weights, others), _for_each(mixed, targets, weights, others)


def _for_each(change: Callable, values: jax.Array, *draws: jax.Array) -> jax.Array:
    """``change(values, *draws)``, divided over devices as the examples of ``values`` are."""
    return call_auto_sharded(change, lambda _: PartitionSpec(spec_of(values)[0]), values, *draws)


def _precise(values: jax.Array) -> jax.Array:
    """In float32 at least."""
    return values.astype(at_least_float32(values.dtype))


def _check_rank(images: jax.Array) -> None:
    if images.ndim != 4:
        raise ValueError(f"images [B, H, W, C] expected; given shape {images.shape}")


def _check_floating(images: jax.Array, **others: jax.Array) -> None:
    """Means of integers would be cut to integers."""
    _check_rank(images)
    for name, values in {"images": images, **others}.items():
        if not jnp.issubdtype(values.dtype, jnp.floating):
            hint = " (divide bytes by 255)" if name == "images" else " (such as one-hot vectors)"
            raise ValueError(f"`{name}` must be floating point, got {values.dtype}{hint}")
