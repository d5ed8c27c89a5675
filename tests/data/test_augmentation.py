"""Random changes of images: identities, one draw for each example, borders, types."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.data import augmentation

KEY = jax.random.key(3)
IMAGES = jax.random.uniform(jax.random.key(1), (40, 7, 8, 3), minval=0.5)  # nothing is 0
BYTES = (255 * IMAGES).astype(jnp.uint8)
SQUARES = IMAGES[:, :, :7]
crop = functools.partial(augmentation.random_crop, padding=2)
rotate = jax.jit(augmentation.rotate)
CHANGES = {
    "crop": crop,
    "crop, reflected": functools.partial(crop, mode="reflect"),
    "resized crop": augmentation.random_resized_crop,
    "flip": augmentation.random_flip,
    "rotation": functools.partial(augmentation.random_rotation, degrees=30),
    "cutout": functools.partial(augmentation.cutout, size=3),
    "mixup": lambda key, images: augmentation.mixup(key, images, jnp.zeros((len(images), 2)), 1.0)[0],
}
LEFT_ALONE = {
    "crop": functools.partial(augmentation.random_crop, padding=0),
    "crop, reflected": functools.partial(augmentation.random_crop, padding=0, mode="reflect"),
    "flip": functools.partial(augmentation.random_flip, probability=0.0),
    "rotation": functools.partial(augmentation.random_rotation, degrees=0),
    "cutout": functools.partial(augmentation.cutout, size=0),
    "mixup": lambda key, images: augmentation.mixup(key, images, jnp.zeros((len(images), 2)), 0)[0],
}
each = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
changed = {}


def applied(change):
    """Compiled once for all tests."""
    if change not in changed:
        changed[change] = jax.jit(change)
    return changed[change]


@pytest.mark.parametrize("change", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_nothing_to_change_changes_nothing(change):
    np.testing.assert_array_equal(jax.jit(change)(KEY, IMAGES), IMAGES)


@each
def test_is_a_function_of_the_key(change):
    run = applied(change)
    first = run(KEY, IMAGES)
    assert first.shape == IMAGES.shape
    np.testing.assert_array_equal(run(KEY, IMAGES), first)
    assert (run(jax.random.key(4), IMAGES) != first).any()


@each
def test_each_example_draws_its_own(change):
    same = jnp.broadcast_to(IMAGES[:1], IMAGES.shape)
    if change is CHANGES["mixup"]:
        same = same * jnp.arange(1.0, 41.0)[:, None, None, None]
    found = applied(change)(KEY, same)
    relative = found / same
    assert len({row.tobytes() for row in np.asarray(relative)}) > (1 if change is CHANGES["flip"] else 10)


@each
def test_types_are_kept_and_one_example_is_a_batch(change):
    assert applied(change)(KEY, IMAGES).dtype == jnp.float32
    one = jax.jit(change)(KEY, IMAGES[:1].astype(jnp.bfloat16))
    assert one.shape == (1, 7, 8, 3)
    assert one.dtype == jnp.bfloat16
    assert np.isfinite(one.astype(jnp.float32)).all()


@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_crops_are_parts_of_the_padded_image(mode):
    found = np.asarray(applied(CHANGES["crop" if mode == "zero" else "crop, reflected"])(KEY, IMAGES))
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="constant" if mode == "zero" else "reflect")
    places = []
    for crop, image in zip(found, padded, strict=True):
        parts = {(y, x): image[y : y + 7, x : x + 8] for y in range(5) for x in range(5)}
        places += [place for place, part in parts.items() if (part == crop).all()]
    assert len(places) == len(IMAGES)
    assert {y for y, _ in places} == {x for _, x in places} == set(range(5))
    assert len(set(places)) > 10  # not drawn together


def test_flips():
    found = jax.jit(functools.partial(augmentation.random_flip, probability=1.0))(KEY, IMAGES)
    np.testing.assert_array_equal(found, np.asarray(IMAGES)[:, :, ::-1])
    half = np.asarray(applied(CHANGES["flip"])(KEY, IMAGES))
    flipped = (half == np.asarray(found)).all((1, 2, 3))
    np.testing.assert_array_equal(half[~flipped], np.asarray(IMAGES)[~flipped])
    assert 10 < flipped.sum() < 30


def test_quarter_turns_equal_numpy():
    quarters = np.array([1, 2, 3, -1])
    found = rotate(SQUARES[:4], 90.0 * quarters)
    expected = [np.rot90(image, turns) for image, turns in zip(SQUARES[:4], quarters, strict=True)]
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_rotation_is_bilinear_with_zeros_outside():
    y, x = np.mgrid[:9, :9].astype(np.float32)
    plane = jnp.array(1 + 2 * y + 3 * x)[None, :, :, None]  # linear: interpolation gives it exactly
    found = np.asarray(rotate(plane, jnp.array([30.0])))[0, :, :, 0]
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    expected = 1 + 2 * (4 + cos * (y - 4) + sin * (x - 4)) + 3 * (4 - sin * (y - 4) + cos * (x - 4))
    np.testing.assert_allclose(found[2:7, 2:7], expected[2:7, 2:7], rtol=1e-5)
    assert found[0, 0] == found[-1, -1] == 0


def test_angles_reach_to_both_sides():
    dot = jnp.zeros((200, 9, 9, 1)).at[:, 4, 8].set(1)  # right of the middle: a positive angle moves it up
    found = np.asarray(jax.jit(functools.partial(augmentation.random_rotation, degrees=45))(KEY, dot))[..., 0]
    heights = (found.sum(2) * np.arange(9)).sum(1) / np.maximum(found.sum((1, 2)), 1e-6)
    assert heights.min() < 2
    assert heights.max() > 6
    turned = np.asarray(rotate(dot[:1], jnp.array([90.0])))[0, :, :, 0]
    assert turned[0, 4] == pytest.approx(1, abs=1e-5)


def test_resized_crops_of_the_whole_are_the_image():
    change = functools.partial(augmentation.random_resized_crop, scale=(1, 1), ratio=(1, 1))
    np.testing.assert_allclose(jax.jit(change)(KEY, SQUARES), SQUARES, atol=1e-6)


def test_resized_crops_have_the_areas_and_ratios_asked_for():
    y, x = jnp.mgrid[:32, :40].astype(jnp.float32)
    places = jnp.broadcast_to(jnp.stack([y, x], -1), (500, 32, 40, 2))
    change = functools.partial(augmentation.random_resized_crop, scale=(0.1, 0.3), ratio=(0.5, 2))
    found = np.asarray(jax.jit(change)(KEY, places))
    # Away from the borders, where no neighbor is missing, a plane stays a plane: its slope is the size of the part.
    heights = (found[:, 20, 20, 0] - found[:, 10, 20, 0]) / 10 * 32
    widths = (found[:, 20, 24, 1] - found[:, 20, 12, 1]) / 12 * 40
    share, ratio = heights * widths / (32 * 40), widths / heights
    assert 0.099 < share.min() < 0.11 and 0.29 < share.max() < 0.301
    assert 0.499 < ratio.min() < 0.6 and 1.7 < ratio.max() < 2.01
    np.testing.assert_allclose(np.mean(share), 0.2, atol=0.01)
    np.testing.assert_allclose(np.mean(np.log(ratio)), 0, atol=0.06)
    assert found.min() >= 0  # nothing from outside
    assert found[..., 0].max() > 30 and found[..., 1].max() > 38


def test_a_part_that_cannot_fit_is_the_largest_in_the_middle():
    change = functools.partial(augmentation.random_resized_crop, scale=(1, 1), ratio=(2, 2))
    stripes = jnp.broadcast_to(jnp.arange(8.0)[:, None, None], (2, 8, 8, 1))
    found = np.asarray(jax.jit(change)(KEY, stripes))[..., 0]
    np.testing.assert_allclose(found[0], found[1])
    np.testing.assert_allclose(found[0, :, 0], 2 + (np.arange(8) + 0.5) / 2 - 0.5, atol=1e-5)  # rows 2 to 6


@pytest.mark.parametrize("size", [1, 4, 5, 30])
def test_cutout_is_a_square_cut_off_at_borders(size):
    found = np.asarray(jax.jit(functools.partial(augmentation.cutout, size=size))(KEY, jnp.ones((1500, 9, 11, 2))))
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    hidden = found[..., 0] == 0
    heights, widths = hidden.any(2).sum(1), hidden.any(1).sum(1)
    np.testing.assert_array_equal(hidden.sum((1, 2)), heights * widths)  # a rectangle
    assert heights.max() == min(size, 9) and widths.max() == min(size, 11)
    assert heights.min() == min(-(-size // 2), 9) and widths.min() == min(-(-size // 2), 11)
    assert hidden.any(0).all()  # every pixel has its turn


def test_mixup_mixes_images_and_targets_alike():
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
    "rank": (lambda: crop(KEY, IMAGES[0]), r"images \[B, H, W, C\] expected; given shape \(7, 8, 3\)"),
    "padding": (lambda: crop(KEY, IMAGES, padding=-1), "padding: not below 0, .* given -1"),
    "reflected": (lambda: crop(KEY, IMAGES, padding=7, mode="reflect"), "given 7 for 7 x 8"),
    "mode": (lambda: crop(KEY, IMAGES, mode="wrap"), "mode: zero or reflect; given 'wrap'"),
    "scale": (lambda: augmentation.random_resized_crop(KEY, IMAGES, (0, 1)), "scale: shares above 0"),
    "ratio": (lambda: augmentation.random_resized_crop(KEY, IMAGES, ratio=(2, 1)), "ratio: above 0, the least first"),
    "probability": (lambda: augmentation.random_flip(KEY, IMAGES, 1.5), "probability: from 0 to 1; given 1.5"),
    "degrees": (lambda: augmentation.rotate(IMAGES, 30.0), r"degrees \[B\] expected for 40 images; given shape \(\)"),
    "size": (lambda: augmentation.cutout(KEY, IMAGES, -1), "size: not below 0; given -1"),
    "alpha": (lambda: augmentation.mixup(KEY, IMAGES, jnp.eye(40), -1.0), "alpha: not below 0"),
    "targets": (lambda: augmentation.mixup(KEY, IMAGES, jnp.arange(40), 1.0), r"\[B, classes\] expected for 40"),
    "integers mixed": (
        lambda: augmentation.mixup(KEY, IMAGES, jnp.eye(40, dtype=int), 1.0),
        "`targets` must be floating",
    ),
    "bytes mixed": (lambda: augmentation.mixup(KEY, BYTES, jnp.eye(40), 1.0), "must be floating point, got uint8"),
    "bytes resized": (lambda: augmentation.random_resized_crop(KEY, BYTES), r"got uint8 \(divide bytes by 255\)"),
    "bytes rotated": (lambda: augmentation.random_rotation(KEY, BYTES, 3.0), "`images` must be floating point"),
}


@pytest.mark.parametrize("call, message", WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_no_images_stay_none():
    nothing = jnp.zeros((0, 4, 5, 3))
    for change in (
        augmentation.random_crop,
        augmentation.random_resized_crop,
        augmentation.random_flip,
        lambda key, images: augmentation.random_rotation(key, images, 10.0),
        lambda key, images: augmentation.cutout(key, images, 2),
    ):
        assert change(KEY, nothing).shape == nothing.shape
