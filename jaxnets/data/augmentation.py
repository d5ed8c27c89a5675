"""Random augmentations of batches of images ``[B, H, W, C]``, pure functions of a key that run on the device.

Each example is augmented independently. Uncovered pixels become 0, the mean of standardized images.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import call_auto_sharded, spec_of


def random_crop(key: jax.Array, images: jax.Array, padding: int = 4, mode: str = "zero") -> jax.Array:
    """Pads each image and crops it to H x W at a uniform position (He et al. 2016, arXiv:1512.03385, section 4.2).

    Args:
        key: Key of the sampling.
        images: ``[B, H, W, C]``.
        padding: Pixels of padding on each side.
        mode: ``"zero"`` for zero padding, or ``"reflect"`` for reflection at the outermost pixels.

    Returns:
        ``[B, H, W, C]``.

    Raises:
        ValueError: If an argument is out of range.
    """
    _check_rank(images)
    if mode not in ("zero", "reflect"):
        raise ValueError(f"`mode` must be zero or reflect, got {mode!r}")
    batch, height, width, channels = images.shape
    if padding < 0 or (mode == "reflect" and padding >= min(height, width)):
        limit = f" and below the size of the images, {height} x {width}," if mode == "reflect" else ""
        raise ValueError(f"`padding` must be at least 0{limit or ','} got {padding}")
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(images, pads, mode="constant" if mode == "zero" else "reflect")
    tops, lefts = jax.random.randint(key, (2, batch), 0, 2 * padding + 1)
    crop = lambda image, top, left: jax.lax.dynamic_slice(image, (top, left, 0), (height, width, channels))
    return _sharded_by_example(jax.vmap(crop), padded, tops, lefts)


def random_resized_crop(
    key: jax.Array,
    images: jax.Array,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> jax.Array:
    """Crops a random area of each image and resizes it to H x W (Szegedy et al. 2015, arXiv:1409.4842).

    The area of the crop, as a fraction of the image, is uniform in ``scale``. The logarithm of its aspect ratio is
    uniform between the logarithms of ``ratio``. A crop that exceeds the image is sampled again, up to ten times. After
    that, the crop is the largest centered one. Resizing is linear, with antialiasing.

    Args:
        key: Key of the sampling.
        images: ``[B, H, W, C]``, floating point.
        scale: Minimum and maximum of the area, as a fraction of the image.
        ratio: Minimum and maximum of the aspect ratio, width / height.

    Returns:
        ``[B, H, W, C]``.

    Raises:
        ValueError: If the images are not floating point, or if an argument is out of range.
    """
    _check_floating(images=images)
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"`scale` must be a minimum and a maximum above 0 and at most 1, got {scale}")
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"`ratio` must be a minimum and a maximum above 0, got {ratio}")
    if images.size == 0:
        return images
    batch, height, width, _ = images.shape
    area_key, ratio_key, position_key = jax.random.split(key, 3)
    area = height * width * jax.random.uniform(area_key, (batch, 10), minval=scale[0], maxval=scale[1])
    low, high = jnp.log(jnp.array(ratio))
    aspect_ratio = jnp.exp(jax.random.uniform(ratio_key, (batch, 10), minval=low, maxval=high))
    sizes = jnp.sqrt(jnp.stack([area / aspect_ratio, area * aspect_ratio]))  # heights and widths
    image_size = jnp.array([height, width], sizes.dtype)
    fits = jnp.all(sizes <= image_size[:, None, None], axis=0)
    first = jnp.take_along_axis(sizes, jnp.argmax(fits, axis=1)[None, :, None], axis=2)[..., 0]
    largest = jnp.minimum(image_size, jnp.array([width / ratio[0], height * ratio[1]]))
    any_fits = jnp.any(fits, axis=1)[:, None]
    size = jnp.where(any_fits, first.T, largest[None])
    position = jnp.where(any_fits, jax.random.uniform(position_key, (batch, 2)), 0.5) * (image_size[None] - size)
    zoom = image_size[None] / size
    resize = lambda image, zoom, shift: jax.image.scale_and_translate(
        image, image.shape, (0, 1), zoom, shift, "linear", antialias=True
    )
    resized = _sharded_by_example(jax.vmap(resize), _at_least_float32(images), zoom, -position * zoom)
    return resized.astype(images.dtype)


def random_horizontal_flip(key: jax.Array, images: jax.Array, probability: float = 0.5) -> jax.Array:
    """Flips images horizontally with a given probability.

    Args:
        key: Key of the sampling.
        images: ``[B, H, W, C]``.
        probability: Probability of a flip.

    Returns:
        ``[B, H, W, C]``.

    Raises:
        ValueError: If ``probability`` is not from 0 to 1.
    """
    _check_rank(images)
    if not 0 <= probability <= 1:
        raise ValueError(f"`probability` must be from 0 to 1, got {probability}")
    flipped = jax.random.bernoulli(key, probability, (len(images), 1, 1, 1))
    return jnp.where(flipped, images[:, :, ::-1], images)


def random_rotation(key: jax.Array, images: jax.Array, degrees: float) -> jax.Array:
    """Rotates each image by an angle uniform in ``[-degrees, degrees]``, as ``rotate`` does."""
    return rotate(images, jax.random.uniform(key, (len(images),), minval=-degrees, maxval=degrees))


def rotate(images: jax.Array, degrees: jax.Array) -> jax.Array:
    """Rotates images about their center, counterclockwise, with bilinear interpolation and zeros outside.

    Args:
        images: ``[B, H, W, C]``, floating point.
        degrees: Angle of each image in degrees, ``[B]``.

    Returns:
        ``[B, H, W, C]``.

    Raises:
        ValueError: If the images are not floating point, or if a shape is wrong.
    """
    _check_floating(images=images)
    batch, height, width, channels = images.shape
    if jnp.shape(degrees) != (batch,):
        raise ValueError(f"`degrees` must have shape ({batch},), got {jnp.shape(degrees)}")
    angle = jnp.deg2rad(_at_least_float32(jnp.asarray(degrees)))[:, None, None]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    center_y, center_x = (height - 1) / 2, (width - 1) / 2
    down = jnp.arange(height, dtype=angle.dtype)[None, :, None] - center_y
    right = jnp.arange(width, dtype=angle.dtype)[None, None] - center_x
    y, x = center_y + cos * down + sin * right, center_x - sin * down + cos * right  # source positions, [B, H, W]
    top, left = jnp.floor(y), jnp.floor(x)
    flat = _at_least_float32(images).reshape(batch, height * width, channels)
    total = jnp.zeros((), flat.dtype)
    for row, weight_y in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, weight_x in ((left, 1 - (x - left)), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            index = jnp.where(inside, row * width + column, 0).astype(jnp.int32).reshape(batch, height * width, 1)
            weight = jnp.where(inside, weight_y * weight_x, 0).reshape(index.shape).astype(flat.dtype)
            # An infinite or NaN pixel with zero weight would make the sum NaN.
            total += weight * jnp.where(weight > 0, jnp.take_along_axis(flat, index, axis=1), 0)
    return total.reshape(images.shape).astype(images.dtype)


def cutout(key: jax.Array, images: jax.Array, size: int) -> jax.Array:
    """Sets a random square of each image to 0 (DeVries and Taylor 2017, arXiv:1708.04552).

    The center of the square is a uniform pixel, so the square may extend beyond the image.

    Args:
        key: Key of the sampling.
        images: ``[B, H, W, C]``.
        size: Side of the square, in pixels.

    Returns:
        ``[B, H, W, C]``.

    Raises:
        ValueError: If ``size`` is below 0.
    """
    _check_rank(images)
    if size < 0:
        raise ValueError(f"`size` must be at least 0, got {size}")
    batch, height, width, _ = images.shape
    y_key, x_key = jax.random.split(key)
    covered = lambda key, length: _covered(jax.random.randint(key, (batch, 1), 0, length) - size // 2, size, length)
    square = covered(y_key, height)[:, :, None] & covered(x_key, width)[:, None, :]
    return jnp.where(square[..., None], jnp.zeros((), images.dtype), images)


def _covered(start: jax.Array, size: int, length: int) -> jax.Array:
    positions = jnp.arange(length)[None]
    return (positions >= start) & (positions < start + size)


def mixup(key: jax.Array, images: jax.Array, targets: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    r"""Mixes random pairs of examples (Zhang et al. 2018, arXiv:1710.09412).

    .. math::
        \tilde x_i = \lambda_i x_i + (1 - \lambda_i) x_{\pi(i)}, \quad
        \tilde y_i = \lambda_i y_i + (1 - \lambda_i) y_{\pi(i)}, \quad
        \lambda_i \sim \mathrm{Beta}(\alpha, \alpha)

    with a random permutation :math:`\pi` of the batch.

    Args:
        key: Key of the sampling.
        images: ``[B, H, W, C]``, floating point.
        targets: ``[B, num_classes]``, one-hot vectors or other weights of the classes.
        alpha: Parameter of the beta distribution; 0: no mixing.

    Returns:
        Mixed images ``[B, H, W, C]`` and mixed targets ``[B, num_classes]``.

    Raises:
        ValueError: If an array is not floating point, ``alpha`` is below 0, or a shape is wrong.
    """
    _check_rank(images)
    if alpha < 0:
        raise ValueError(f"`alpha` must be at least 0, got {alpha}")
    if targets.ndim != 2 or len(targets) != len(images):
        raise ValueError(f"`targets` must have shape ({len(images)}, num_classes), got {targets.shape}")
    _check_floating(images=images, targets=targets)
    if alpha == 0:
        return images, targets
    weight_key, permutation_key = jax.random.split(key)
    weights = jax.random.beta(weight_key, alpha, alpha, (len(images),))
    partners = jax.random.permutation(permutation_key, len(images))

    def mix(values, weights, partners):
        wide = _at_least_float32(values)
        weight = jnp.expand_dims(weights, tuple(range(1, values.ndim))).astype(wide.dtype)
        return (weight * wide + (1 - weight) * wide[partners]).astype(values.dtype)

    return _sharded_by_example(mix, images, weights, partners), _sharded_by_example(mix, targets, weights, partners)


def _sharded_by_example(augment: Callable, values: jax.Array, *samples: jax.Array) -> jax.Array:
    """Computes ``augment(values, *samples)``, sharded over devices like the examples of ``values``."""
    return call_auto_sharded(augment, lambda _: PartitionSpec(spec_of(values)[0]), values, *samples)


def _at_least_float32(values: jax.Array) -> jax.Array:
    return values.astype(at_least_float32(values.dtype))


def _check_rank(images: jax.Array) -> None:
    if images.ndim != 4:
        raise ValueError(f"`images` must be [B, H, W, C], got shape {images.shape}")


def _check_floating(images: jax.Array, **others: jax.Array) -> None:
    """Raises for integer arrays, in which means would be truncated."""
    _check_rank(images)
    for name, values in {"images": images, **others}.items():
        if not jnp.issubdtype(values.dtype, jnp.floating):
            hint = " (divide bytes by 255)" if name == "images" else " (such as one-hot vectors)"
            raise ValueError(f"`{name}` must be floating point, got {values.dtype}{hint}")
