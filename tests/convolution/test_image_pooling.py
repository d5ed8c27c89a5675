"""Pooling of images, compared with loops over windows in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.convolution.pooling import adaptive_average_pool, max_pool


def images(height, width, dtype=np.float32):
    return np.random.default_rng(height * 31 + width).normal(size=(2, height, width, 3)).astype(dtype)


def output_length(length, window, stride, padding, ceil):
    """Returns the output length in torch's documentation: no window starts in the padding on the far side."""
    rounded = math.ceil if ceil else math.floor
    outputs = rounded((length + 2 * padding - window) / stride) + 1
    return outputs - 1 if ceil and (outputs - 1) * stride >= length + padding else outputs


@pytest.mark.parametrize("height, width", [(7, 8), (3, 6)])
@pytest.mark.parametrize("window, stride, padding", [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1), (2, 2, 1)])
@pytest.mark.parametrize("ceil", [False, True])
def test_max_pool_matches_numpy(height, width, window, stride, padding, ceil):
    xs = images(height, width)
    rows, columns = (output_length(length, window, stride, padding, ceil) for length in (height, width))
    expected = np.empty((2, rows, columns, 3), np.float32)
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride - padding, j * stride - padding
            expected[:, i, j] = xs[:, max(top, 0) : top + window, max(left, 0) : left + window].max((1, 2))
    np.testing.assert_array_equal(max_pool(jnp.array(xs), window, stride, padding, ceil), expected)


def test_ceil_mode_keeps_the_last_partial_window():
    xs = jnp.arange(6.0).reshape(1, 1, 6, 1).repeat(3, 1)
    assert max_pool(xs, 3, 2)[0, 0, :, 0].tolist() == [2, 4]
    assert max_pool(xs, 3, 2, ceil=True)[0, 0, :, 0].tolist() == [2, 4, 5]
    assert max_pool(xs[:, :, :2], 3, 2, ceil=True).tolist() == [[[[1.0]]]]
    # With length 5, window 2, stride 3 and padding 1, a third window would start in the padding.
    assert max_pool(xs[:, :, :5], 2, 3, padding=1, ceil=True).shape[2] == 2


def test_padding_is_never_the_maximum():
    assert max_pool(jnp.full((1, 2, 2, 1), -5.0), 3, 2, padding=1).tolist() == [[[[-5.0]]]]


@pytest.mark.parametrize("height, width, size", [(7, 9, 3), (6, 6, 6), (13, 4, 6), (1, 2, 4), (5, 5, 1)])
def test_adaptive_pool_matches_numpy(height, width, size):
    xs = images(height, width)
    expected = np.empty((2, size, size, 3), np.float32)
    for i in range(size):
        for j in range(size):
            rows = slice(math.floor(i * height / size), math.ceil((i + 1) * height / size))
            columns = slice(math.floor(j * width / size), math.ceil((j + 1) * width / size))
            expected[:, i, j] = xs[:, rows, columns].mean((1, 2))
    np.testing.assert_allclose(adaptive_average_pool(jnp.array(xs), size), expected, rtol=1e-5, atol=1e-6)


def test_adaptive_pool_accumulates_in_float32():
    xs = jnp.full((1, 64, 64, 1), 1.01, jnp.bfloat16)
    pooled = adaptive_average_pool(xs, 2)
    assert pooled.dtype == jnp.bfloat16
    np.testing.assert_array_equal(pooled, xs[:, :2, :2])


def test_gradient_of_adaptive_pool_is_uniform_over_the_window():
    gradient = jax.grad(lambda xs: adaptive_average_pool(xs, 2)[0, 0, 0, 0])(jnp.zeros((1, 4, 6, 1)))
    expected = np.zeros((4, 6))
    expected[:2, :3] = 1 / 6
    np.testing.assert_allclose(gradient[0, :, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: max_pool(x[0], 2, 2), r"`images` must be \[batch, height, width, channels\], got shape \(4, 4, 1\)"),
        (lambda x: max_pool(x, 0, 1), "`window` must be an integer of at least 1, got 0"),
        (lambda x: max_pool(x, 2, 0), "`stride` must be an integer of at least 1, got 0"),
        (lambda x: max_pool(x, 3, 1, padding=2), r"`padding` must be from 0 to 1, half of `window`, got 2"),
        (lambda x: adaptive_average_pool(x, 0), "`size` must be an integer of at least 1, got 0"),
        (lambda x: adaptive_average_pool(x[0], 2), r"got shape \(4, 4, 1\)"),
    ],
)
def test_invalid_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((1, 4, 4, 1)))
