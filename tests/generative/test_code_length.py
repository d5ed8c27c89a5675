"""The length of an adaptive code of images."""

import io
import math

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from jaxnets.generative import code_length
from jaxnets.generative.autoregressive.code_length import TEMPLATE


def sequential(image, num_levels):
    """The code of one image ``[H, W]``, pixel by pixel in float64."""
    at = lambda y, x: int(image[y, x]) if 0 <= y < image.shape[0] and 0 <= x < image.shape[1] else 0
    seen, total = {}, 0.0
    for y, x in np.ndindex(image.shape):
        if num_levels == 2:
            context, symbol = tuple(at(y - a, x - b) for a, b in TEMPLATE), at(y, x)
        else:
            left, upper, corner = at(y, x - 1), at(y - 1, x), at(y - 1, x - 1)
            context, symbol = (), (at(y, x) - sorted((left, upper, left + upper - corner))[1]) % num_levels
        counts = seen.setdefault(context, {})
        total -= math.log((counts.get(symbol, 0) + 1 / num_levels) / (sum(counts.values()) + 1))
        counts[symbol] = counts.get(symbol, 0) + 1
    return min(total, image.size * math.log(num_levels))


@pytest.mark.parametrize("num_levels", [2, 5, 256])
def test_length_is_that_of_a_sequential_code(num_levels):
    random = np.random.default_rng(0)
    images = [random.integers(0, num_levels, (7, 6)), np.full((7, 6), num_levels - 1), np.eye(7, 6, dtype=int)]
    found = code_length(jnp.asarray(np.stack(images)[..., None]), num_levels)
    np.testing.assert_allclose(found, [sequential(image, num_levels) for image in images], rtol=1e-5)
    with pytest.raises(ValueError, match="`num_levels` must be .* at least 2, got 1"):
        code_length(jnp.zeros((1, 2, 2, 1), jnp.int32), 1)


def test_images_that_png_compresses_well_have_short_codes():
    digits = np.round(load_digits().images[:60] * 255 / 16).astype(np.uint8)
    random = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(8), 3 * np.arange(8)).astype(np.uint8)
    images = np.stack([*digits, *random.integers(0, 256, (5, 8, 8), np.uint8), np.full((8, 8), 7, np.uint8), smooth])

    def png(image):
        content = io.BytesIO()
        Image.fromarray(image).save(content, "png", optimize=True)
        return len(content.getvalue())

    found = np.asarray(code_length(jnp.asarray(images[..., None]), 256))
    assert np.corrcoef(found, [png(image) for image in images])[0, 1] > 0.8
    assert found[-1] < found[:60].min() and found[60:65].min() > found[:60].max()
