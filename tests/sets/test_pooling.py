"""Pooling, norms and Gaussian likelihoods of sets compared with NumPy, for any order, padding and segments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets import sets

D = 3
WEIGHTS = jax.random.normal(jax.random.key(5), (D, 4))
GAUSSIANS = jax.tree.map(
    lambda a, key: a + 0.3 * jax.random.normal(key, a.shape),
    sets.gaussians_init(jax.random.key(1), D, 2),
    dict(zip(("means", "logs", "factors"), jax.random.split(jax.random.key(2), 3), strict=True)),
)
POOLS = {
    "sum": sets.sum_pool,
    "mean": sets.mean_pool,
    "max": sets.max_pool,
    "min": sets.min_pool,
    "median": sets.median_pool,
    "quantile": lambda xs, valid=None: sets.quantile_pool(xs, 0.3, valid),
    "softmax": lambda xs, valid=None: sets.softmax_pool(xs, 3 * xs[..., :1], valid),
    "power": lambda xs, valid=None: sets.power_mean_pool(xs + 10, jnp.array([-2.0, 0.0, 3.0]), valid),
    "sorted": lambda xs, valid=None: sets.sorted_pool(xs, WEIGHTS, valid),
    "gaussian": lambda xs, valid=None: sets.gaussian_pool(GAUSSIANS, xs, valid),
    "set norm": lambda xs, valid=None: sets.sum_pool(
        sets.set_norm(xs, WEIGHTS[:, 0], WEIGHTS[:, 1], valid) ** 2, valid
    ),
    "layer norm": lambda xs, valid=None: sets.sum_pool(sets.layer_norm(xs, WEIGHTS[:, 0], WEIGHTS[:, 1], valid), valid),
}


def piecewise_linear(position):
    return np.stack([np.interp(position, np.linspace(0, 1, 4), row) for row in np.asarray(WEIGHTS)], -1)


def density(xs):
    """Computes Gaussian densities from the covariances with NumPy."""
    factors = np.tril(GAUSSIANS["factors"], -1) + np.stack(
        [np.diag(np.exp(row)) for row in np.asarray(GAUSSIANS["logs"])]
    )
    covariance = np.linalg.inv(factors @ factors.transpose(0, 2, 1))
    centered = xs[:, None] - np.asarray(GAUSSIANS["means"])
    exponent = np.einsum("nkd,kde,nke->nk", centered, np.linalg.inv(covariance), centered)
    return np.exp(-exponent / 2) / np.sqrt(np.linalg.det(2 * np.pi * covariance))


def normalize(xs, axes):
    normalized = (xs - xs.mean(axes, keepdims=True)) / np.sqrt(xs.var(axes, keepdims=True) + 1e-5)
    return normalized * np.asarray(WEIGHTS[:, 0]) + np.asarray(WEIGHTS[:, 1])


def softmax_mean(xs):
    weights = np.exp(3 * xs[:, :1] - (3 * xs[:, :1]).max())
    return (weights * xs).sum(0) / weights.sum()


EXPECTED = {
    "sum": lambda xs: xs.sum(0),
    "mean": lambda xs: xs.mean(0),
    "max": lambda xs: xs.max(0),
    "min": lambda xs: xs.min(0),
    "median": lambda xs: np.median(xs, 0),
    "quantile": lambda xs: np.quantile(xs, 0.3, axis=0),
    "softmax": softmax_mean,
    "power": lambda xs: np.stack(
        [
            np.mean((xs[:, 0] + 10) ** -2) ** -0.5,
            np.exp(np.log(xs[:, 1] + 10).mean()),
            np.mean((xs[:, 2] + 10) ** 3) ** (1 / 3),
        ]
    ),
    "sorted": lambda xs: (piecewise_linear(np.arange(len(xs)) / max(len(xs) - 1, 1)) * -np.sort(-xs, axis=0)).sum(0),
    "gaussian": lambda xs: density(xs).mean(0),
    "set norm": lambda xs: (normalize(xs, (0, 1)) ** 2).sum(0),
    "layer norm": lambda xs: normalize(xs, 1).sum(0),
}
each = pytest.mark.parametrize("name", POOLS)


@each
@pytest.mark.parametrize("n", [1, 2, 6, 9])
def test_pooling_equals_numpy(float64, name, n):
    xs = jax.random.normal(jax.random.key(n), (n, D), jnp.float64)
    np.testing.assert_allclose(
        POOLS[name](xs), EXPECTED[name](np.asarray(xs)), rtol=2e-6 if "norm" not in name else 1e-5
    )


def forms(sizes, seed):
    """Returns sets as a list, padded with NaN, and as segments in random order, with fixed shapes."""
    random = np.random.default_rng(seed)
    rows = [random.standard_normal((n, D)) for n in sizes]
    padded, mask = np.full((len(sizes), 7, D), np.nan), np.zeros((len(sizes), 7), bool)
    for row, xs in enumerate(rows):
        slots = random.permutation(7)[: len(xs)]
        padded[row, slots], mask[row, slots] = xs, True
    flat = np.full((17, D), np.nan)
    flat[: sum(sizes)] = np.concatenate(rows)
    ids = np.resize([-1, len(sizes)], 17)
    ids[: sum(sizes)] = np.repeat(np.arange(len(sizes)), sizes)
    order = random.permutation(17)
    segments = sets.Segments(jnp.array(ids[order]), len(sizes))
    return rows, (jnp.array(padded), jnp.array(mask)), (jnp.array(flat[order]), segments)


@functools.cache
def pooled_and_gradient(name):
    """Returns a jitted function for the gradient of a weighted sum of the pooled sets, and the pooled sets."""

    def objective(xs, valid):
        ys = POOLS[name](xs, valid)
        return jnp.sum(jnp.cos(jnp.arange(ys.size)).reshape(ys.shape) * ys**2), ys

    return jax.jit(jax.grad(objective, has_aux=True))


@each
@settings(max_examples=20, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(0, 5), min_size=2, max_size=2).map(lambda s: [*s, 4]), seed=st.integers(0, 99))
def test_order_padding_and_segments_have_no_effect(name, sizes, seed):
    with jax.enable_x64(True):
        rows, (padded, mask), (flat, segments) = forms(sizes, seed)
        expected = [EXPECTED[name](xs) if len(xs) else np.zeros_like(EXPECTED[name](rows[-1])) for xs in rows]
        gradients = []
        for xs, valid, is_valid in ((padded, mask, mask), (flat, segments, (segments.ids >= 0) & (segments.ids < 3))):
            gradient, ys = map(np.asarray, pooled_and_gradient(name)(xs, valid))
            np.testing.assert_allclose(ys, expected, rtol=1e-5, atol=1e-9)
            assert not gradient[~np.asarray(is_valid)].any() and np.isfinite(gradient).all()
            gradients.append((ys, np.sort(gradient[np.asarray(is_valid)], axis=0)))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), *gradients)


@each
def test_empty_sets_yield_zeros_with_zero_gradients(name):
    xs, mask = jnp.full((2, 4, D), jnp.nan), jnp.zeros((2, 4), bool)
    value, gradient = jax.value_and_grad(lambda xs: jnp.sum(POOLS[name](xs, mask)))(xs)
    assert value == 0 and not np.asarray(gradient).any()
    assert not np.asarray(POOLS[name](jnp.zeros((2, 0, D)))).any()


def test_bfloat16_is_accumulated_in_float32():
    xs = jnp.full((5000, 1), 0.25, jnp.bfloat16)
    assert sets.sum_pool(xs).dtype == jnp.bfloat16 and float(sets.sum_pool(xs)[0]) == 1248  # 1250 rounded to bfloat16
    assert float(sets.mean_pool(xs)[0]) == 0.25


def test_learned_power_has_a_gradient_through_zero():
    xs = jnp.array([[1.0], [2.0], [4.0]])
    slope = jax.grad(lambda p: sets.power_mean_pool(xs, p)[0])
    slopes = [float(slope(p)) for p in (-0.03, -0.009, 0.0, 0.009, 0.03)]
    assert (np.diff(slopes) < 0).all() or (np.diff(slopes) > 0).all()
    np.testing.assert_allclose(slopes[2], np.mean(slopes[::4]), rtol=1e-2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda xs: sets.mean_pool(xs, jnp.ones((2, 5))), r"`valid` must be bool of shape \(2, 4\)"),
        (
            lambda xs: sets.mean_pool(xs, jnp.ones((2, 5), bool)),
            r"bool of shape \(2, 4\).*got bool of shape \(2, 5\)",
        ),
        (lambda xs: sets.mean_pool(xs.astype(int)), "`xs` must be a floating point array"),
        (lambda xs: sets.mean_pool(xs.tolist()), r"`xs` must be a floating point array \[\*batch, N, D\], got list"),
        (
            lambda xs: sets.mean_pool(xs, jnp.array([3, 4])),
            r"got int32 of shape \(2,\); for lengths, use jnp.arange\(N\) < lengths",
        ),
        (
            lambda xs: sets.mean_pool(xs[0], sets.Segments(jnp.zeros(4, int), 1.5)),
            "`num_segments` must be an integer of at least 0, got 1.5",
        ),
        (lambda xs: sets.set_norm(xs, jnp.ones(4), jnp.ones(3)), r"`scale` must have shape \(3,\).*got \(4,\)"),
        (lambda xs: sets.power_mean_pool(xs, jnp.ones(2)), r"`power` must be a number or an array of shape \(3,\)"),
        (lambda xs: jax.jit(lambda q: sets.quantile_pool(xs, q))(0.5), "`quantile` must be a number from 0 to 1, got"),
        (lambda xs: sets.mean_pool(xs, sets.Segments(jnp.zeros(4, int), 1)), r"`xs` must be \[M, D\] with segments"),
        (lambda xs: sets.quantile_pool(xs, 1.5), "`quantile` must be a number from 0 to 1, got 1.5"),
        (lambda xs: sets.softmax_pool(xs, xs[..., :2]), "`scores` must have shape"),
        (lambda xs: sets.sorted_pool(xs, jnp.ones((2, 4))), r"`weights` must be \[3, K\]"),
        (lambda xs: sets.gaussian_pool(sets.gaussians_init(jax.random.key(0), 2, 4), xs), "`xs` must have 2 features"),
    ],
)
def test_invalid_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((2, 4, D)))
