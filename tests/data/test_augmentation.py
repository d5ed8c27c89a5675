"""Augmentations of images: identities, independent examples, borders and dtypes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.data import augmentation

KEY = jax.random.key(3)
IMAGES = jax.random.uniform(jax.random.key(1), (40, 7, 8, 3), minval=0.5)  # no pixel is 0
BYTES = (255 * IMAGES).astype(jnp.uint8)
SQUARES = IMAGES[:, :, :7]
crop = functools.partial(augmentation.random_crop, padding=2)
rotate = jax.jit(augmentation.rotate)
AUGMENTATIONS = {
    "crop": crop,
    "crop, reflected": functools.partial(crop, mode="reflect"),
    "resized crop": augmentation.random_resized_crop,
    "flip": augmentation.random_horizontal_flip,
    "rotation": functools.partial(augmentation.random_rotation, degrees=30),
    "cutout": functools.partial(augmentation.cutout, size=3),
    "mixup": lambda key, images: augmentation.mixup(key, images, jnp.zeros((len(images), 2)), 1.0)[0],
}
IDENTITIES = {
    "crop": functools.partial(augmentation.random_crop, padding=0),
    "crop, reflected": functools.partial(augmentation.random_crop, padding=0, mode="reflect"),
    "flip": functools.partial(augmentation.random_horizontal_flip, probability=0.0),
    "rotation": functools.partial(augmentation.random_rotation, degrees=0),
    "cutout": functools.partial(augmentation.cutout, size=0),
    "mixup": lambda key, images: augmentation.mixup(key, images, jnp.zeros((len(images), 2)), 0)[0],
}
each = pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
compiled = {}


def jitted(augment):
    """Compiles an augmentation once for all tests."""
    if augment not in compiled:
        compiled[augment] = jax.jit(augment)
    return compiled[augment]


@pytest.mark.parametrize("augment", IDENTITIES.values(), ids=IDENTITIES)
def test_zero_strength_is_the_identity(augment):
    np.testing.assert_array_equal(jax.jit(augment)(KEY, IMAGES), IMAGES)


@each
def test_results_depend_on_the_key_only(augment):
    run = jitted(augment)
    first = run(KEY, IMAGES)
    assert first.shape == IMAGES.shape
    np.testing.assert_array_equal(run(KEY, IMAGES), first)
    assert (run(jax.random.key(4), IMAGES) != first).any()


@each
def test_examples_are_augmented_independently(augment):
    same = jnp.broadcast_to(IMAGES[:1], IMAGES.shape)
    if augment is AUGMENTATIONS["mixup"]:
        same = same * jnp.arange(1.0, 41.0)[:, None, None, None]
    relative = jitted(augment)(KEY, same) / same
    assert len({row.tobytes() for row in np.asarray(relative)}) > (1 if augment is AUGMENTATIONS["flip"] else 10)


@each
def test_dtypes_are_preserved_and_a_batch_may_have_one_example(augment):
    assert jitted(augment)(KEY, IMAGES).dtype == jnp.float32
    one = jax.jit(augment)(KEY, IMAGES[:1].astype(jnp.bfloat16))
    assert one.shape == (1, 7, 8, 3)
    assert one.dtype == jnp.bfloat16
    assert np.isfinite(one.astype(jnp.float32)).all()


@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_crops_are_slices_of_the_padded_image(mode):
    crops = np.asarray(jitted(AUGMENTATIONS["crop" if mode == "zero" else "crop, reflected"])(KEY, IMAGES))
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="constant" if mode == "zero" else "reflect")
    positions = []
    for crop, image in zip(crops, padded, strict=True):
        slices = {(y, x): image[y : y + 7, x : x + 8] for y in range(5) for x in range(5)}
        positions += [position for position, expected in slices.items() if (expected == crop).all()]
    assert len(positions) == len(IMAGES)
    assert {y for y, _ in positions} == {x for _, x in positions} == set(range(5))
    assert len(set(positions)) > 10  # rows and columns are independent


def test_flips_are_horizontal_with_the_given_probability():
    mirrored = jax.jit(functools.partial(augmentation.random_horizontal_flip, probability=1.0))(KEY, IMAGES)
    np.testing.assert_array_equal(mirrored, np.asarray(IMAGES)[:, :, ::-1])
    half = np.asarray(jitted(AUGMENTATIONS["flip"])(KEY, IMAGES))
    flipped = (half == np.asarray(mirrored)).all((1, 2, 3))
    np.testing.assert_array_equal(half[~flipped], np.asarray(IMAGES)[~flipped])
    assert 10 < flipped.sum() < 30


def test_quarter_turns_match_numpy():
    quarters = np.array([1, 2, 3, -1])
    rotated = rotate(SQUARES[:4], 90.0 * quarters)
    expected = [np.rot90(image, turns) for image, turns in zip(SQUARES[:4], quarters, strict=True)]
    np.testing.assert_allclose(rotated, expected, atol=2e-6)


def test_rotation_is_bilinear_with_zeros_outside():
    y, x = np.mgrid[:9, :9].astype(np.float32)
    plane = jnp.array(1 + 2 * y + 3 * x)[None, :, :, None]  # interpolation of a linear function is exact
    rotated = np.asarray(rotate(plane, jnp.array([30.0])))[0, :, :, 0]
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    expected = 1 + 2 * (4 + cos * (y - 4) + sin * (x - 4)) + 3 * (4 - sin * (y - 4) + cos * (x - 4))
    np.testing.assert_allclose(rotated[2:7, 2:7], expected[2:7, 2:7], rtol=1e-5)
    assert rotated[0, 0] == rotated[-1, -1] == 0


def test_random_rotations_have_both_signs():
    dot = jnp.zeros((200, 9, 9, 1)).at[:, 4, 8].set(1)  # right of the center, so a positive angle moves it up
    rotated = np.asarray(jax.jit(functools.partial(augmentation.random_rotation, degrees=45))(KEY, dot))[..., 0]
    rows = (rotated.sum(2) * np.arange(9)).sum(1) / np.maximum(rotated.sum((1, 2)), 1e-6)
    assert rows.min() < 2
    assert rows.max() > 6
    turned = np.asarray(rotate(dot[:1], jnp.array([90.0])))[0, :, :, 0]
    assert turned[0, 4] == pytest.approx(1, abs=1e-5)


def test_resized_crop_of_the_full_area_is_the_identity():
    augment = functools.partial(augmentation.random_resized_crop, scale=(1, 1), ratio=(1, 1))
    np.testing.assert_allclose(jax.jit(augment)(KEY, SQUARES), SQUARES, atol=1e-6)


def test_resized_crops_have_the_given_areas_and_ratios():
    y, x = jnp.mgrid[:32, :40].astype(jnp.float32)
    coordinates = jnp.broadcast_to(jnp.stack([y, x], -1), (500, 32, 40, 2))
    augment = functools.partial(augmentation.random_resized_crop, scale=(0.1, 0.3), ratio=(0.5, 2))
    crops = np.asarray(jax.jit(augment)(KEY, coordinates))
    # Away from the borders, the resized coordinates are linear, with a slope proportional to the size of the crop.
    heights = (crops[:, 20, 20, 0] - crops[:, 10, 20, 0]) / 10 * 32
    widths = (crops[:, 20, 24, 1] - crops[:, 20, 12, 1]) / 12 * 40
    area, ratio = heights * widths / (32 * 40), widths / heights
    assert 0.099 < area.min() < 0.11 and 0.29 < area.max() < 0.301
    assert 0.499 < ratio.min() < 0.6 and 1.7 < ratio.max() < 2.01
    np.testing.assert_allclose(np.mean(area), 0.2, atol=0.01)
    np.testing.assert_allclose(np.mean(np.log(ratio)), 0, atol=0.06)
    assert crops.min() >= 0  # crops are inside the image
    assert crops[..., 0].max() > 30 and crops[..., 1].max() > 38


def test_an_impossible_crop_becomes_the_largest_centered_one():
    augment = functools.partial(augmentation.random_resized_crop, scale=(1, 1), ratio=(2, 2))
    stripes = jnp.broadcast_to(jnp.arange(8.0)[:, None, None], (2, 8, 8, 1))
    crops = np.asarray(jax.jit(augment)(KEY, stripes))[..., 0]
    np.testing.assert_allclose(crops[0], crops[1])
    np.testing.assert_allclose(crops[0, :, 0], 2 + (np.arange(8) + 0.5) / 2 - 0.5, atol=1e-5)  # rows 2 to 6


@pytest.mark.parametrize("size", [1, 4, 5, 30])
def test_cutout_is_a_square_clipped_at_the_borders(size):
    images = np.asarray(jax.jit(functools.partial(augmentation.cutout, size=size))(KEY, jnp.ones((1500, 9, 11, 2))))
    np.testing.assert_array_equal(images[..., 0], images[..., 1])
    hidden = images[..., 0] == 0
    heights, widths = hidden.any(2).sum(1), hidden.any(1).sum(1)
    np.testing.assert_array_equal(hidden.sum((1, 2)), heights * widths)  # a rectangle
    assert heights.max() == min(size, 9) and widths.max() == min(size, 11)
    assert heights.min() == min(-(-size // 2), 9) and widths.min() == min(-(-size // 2), 11)
    assert hidden.any(0).all()  # each pixel is hidden in some image


def test_mixup_uses_the_same_weights_for_images_and_targets():
    count = 64
    images = jnp.arange(1.0, count + 1)[:, None, None, None] * jnp.ones((1, 2, 2, 1))
    mixed, targets = jax.jit(functools.partial(augmentation.mixup, alpha=0.4))(KEY, images, jnp.eye(count))
    targets = np.asarray(targets)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(targets.sum(0).sum(), count, rtol=1e-6)
    assert ((targets > 0).sum(1) <= 2).all()
    np.testing.assert_allclose(mixed[:, 0, 0, 0], targets @ np.arange(1, count + 1), rtol=1e-5)
    own = np.diag(targets)
    assert own.min() < 0.1 and own.max() > 0.9 and len(set(own)) > count // 2


WRONG = {
    "rank": (lambda: crop(KEY, IMAGES[0]), r"`images` must be \[B, H, W, C\], got shape \(7, 8, 3\)"),
    "padding": (lambda: crop(KEY, IMAGES, padding=-1), "`padding` must be at least 0, got -1"),
    "reflection": (
        lambda: crop(KEY, IMAGES, padding=7, mode="reflect"),
        "at least 0 and below the size of the images, 7 x 8, got 7",
    ),
    "mode": (lambda: crop(KEY, IMAGES, mode="wrap"), "`mode` must be zero or reflect, got 'wrap'"),
    "scale": (
        lambda: augmentation.random_resized_crop(KEY, IMAGES, (0, 1)),
        "`scale` must be a minimum and a maximum above 0 and at most 1",
    ),
    "ratio": (
        lambda: augmentation.random_resized_crop(KEY, IMAGES, ratio=(2, 1)),
        "`ratio` must be a minimum and a maximum above 0",
    ),
    "probability": (
        lambda: augmentation.random_horizontal_flip(KEY, IMAGES, 1.5),
        "`probability` must be from 0 to 1, got 1.5",
    ),
    "degrees": (lambda: augmentation.rotate(IMAGES, 30.0), r"`degrees` must have shape \(40,\), got \(\)"),
    "size": (lambda: augmentation.cutout(KEY, IMAGES, -1), "`size` must be at least 0, got -1"),
    "alpha": (lambda: augmentation.mixup(KEY, IMAGES, jnp.eye(40), -1.0), "`alpha` must be at least 0"),
    "targets": (
        lambda: augmentation.mixup(KEY, IMAGES, jnp.arange(40), 1.0),
        r"`targets` must have shape \(40, num_classes\)",
    ),
    "integers mixed": (
        lambda: augmentation.mixup(KEY, IMAGES, jnp.eye(40, dtype=int), 1.0),
        "`targets` must be floating",
    ),
    "bytes mixed": (lambda: augmentation.mixup(KEY, BYTES, jnp.eye(40), 1.0), "must be floating point, got uint8"),
    "bytes resized": (lambda: augmentation.random_resized_crop(KEY, BYTES), r"got uint8 \(divide bytes by 255\)"),
    "bytes rotated": (lambda: augmentation.random_rotation(KEY, BYTES, 3.0), "`images` must be floating point"),
}


@pytest.mark.parametrize("call, message", WRONG.values(), ids=WRONG)
def test_invalid_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_empty_batches_stay_empty():
    empty = jnp.zeros((0, 4, 5, 3))
    for augment in (
        augmentation.random_crop,
        augmentation.random_resized_crop,
        augmentation.random_horizontal_flip,
        lambda key, images: augmentation.random_rotation(key, images, 10.0),
        lambda key, images: augmentation.cutout(key, images, 2),
    ):
        assert augment(KEY, empty).shape == empty.shape
