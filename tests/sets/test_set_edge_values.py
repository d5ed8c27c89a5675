"""Set functions with infinities, NaN and scores of minus infinity, compared with NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import sets
from jaxnets.sets.histogram import KINDS

INF, D = np.inf, 3
WEIGHTS = np.array([[0.5, 1.0, 2.0], [1.0, 3.0, 1.0], [2.0, 1.0, 0.5]], np.float32)
GAUSSIANS = sets.gaussians_init(jax.random.key(1), D, 2)
POWERS = (-2.0, 0.0, 1.0, 3.0)
QUANTILES = (0.0, 0.3, 0.75, 1.0)
ORDER = {
    "max": (sets.max_pool, lambda xs: np.max(xs, 0)),
    "min": (sets.min_pool, lambda xs: np.min(xs, 0)),
    "median": (sets.median_pool, lambda xs: np.median(xs, 0)),
    "sorted": (
        lambda xs, valid: sets.sorted_pool(xs, WEIGHTS, valid),
        lambda xs: sum(
            np.array([np.interp(i / max(len(xs) - 1, 1), [0, 0.5, 1], row) for row in WEIGHTS]) * xs_i
            for i, xs_i in enumerate(-np.sort(-xs, axis=0))
        ),
    ),
    "max_fold": (lambda xs, valid: apply_fold(sets.max_fold, xs, valid), lambda xs: np.max(xs, 0)),
    "min_fold": (lambda xs, valid: apply_fold(sets.min_fold, xs, valid), lambda xs: np.min(xs, 0)),
} | {
    f"quantile {q}": (
        functools.partial(lambda q, xs, valid: sets.quantile_pool(xs, q, valid), q),
        functools.partial(lambda q, xs: np.quantile(xs, q, axis=0), q),
    )
    for q in QUANTILES
}
OTHERS = {
    "sum": lambda xs, valid: sets.sum_pool(xs, valid),
    "mean": lambda xs, valid: sets.mean_pool(xs, valid),
    "softmax": lambda xs, valid: sets.softmax_pool(jnp.ones_like(xs), xs, valid),
    "gaussian": lambda xs, valid: sets.gaussian_pool(GAUSSIANS, xs, valid),
    "sum_fold": lambda xs, valid: apply_fold(sets.sum_fold, xs, valid),
    "mean_fold": lambda xs, valid: apply_fold(sets.mean_fold, xs, valid),
    **{f"power {p}": lambda xs, valid, p=p: sets.power_mean_pool(xs, p, valid) for p in POWERS},
    **{
        f"histogram {kind}": lambda xs, valid, kind=kind: sets.histogram(
            xs, sets.bins_init(kind, D, 4), valid, kind=kind
        )
        for kind in KINDS
    },
    "histogram_fold": lambda xs, valid: apply_fold(
        sets.histogram_fold(sets.bins_init("hard", D, 4), "hard"), xs, valid
    ),
}
POOLS = {name: pool for name, (pool, _) in ORDER.items()} | OTHERS


def apply_fold(fold, xs, valid):
    return fold.result(fold.update(fold.init(xs, valid), xs, valid))


@functools.cache
def values_and_gradients():
    """Returns a jitted function for the gradient of the sum of finite values, and the values, of all pools."""

    def run(pool, xs, valid):
        def objective(xs):
            ys = pool(xs, valid)
            return jnp.sum(jnp.where(jnp.isfinite(ys), ys, 0)), ys

        return jax.grad(objective, has_aux=True)(xs)

    return jax.jit(lambda xs, valid: {name: run(pool, xs, valid) for name, pool in POOLS.items()})


def forms(rows):
    """Returns four sets, padded and as segments, with NaN and infinities in the padding."""
    padded, mask = np.full((4, 6, D), [np.nan, INF, -INF], np.float32), np.zeros((4, 6), bool)
    for i, row in enumerate(rows):
        padded[i, 6 - len(row) :], mask[i, 6 - len(row) :] = row, True
    ids = np.where(mask, np.arange(4)[:, None], 4)
    return (padded, mask, mask), (padded.reshape(24, D), sets.Segments(ids.reshape(24), 4), mask.reshape(24))


def infinite(seed):
    """Returns sets with infinities, a set of infinities only, and an empty set."""
    random = np.random.default_rng(seed)
    draw = lambda n: random.choice([INF, -INF, *random.uniform(0, 1, 6)], (n, D)).astype(np.float32)
    only = np.tile(np.array([INF, -INF, INF], np.float32), (3, 1))
    return [draw(4), draw(5), only, np.zeros((0, D), np.float32)]


@pytest.mark.parametrize("seed", range(4))
def test_infinite_elements_equal_numpy(seed):
    rows = infinite(seed)
    mean_of_power = lambda xs, p: np.mean(xs**p, 0) ** (1 / p) if p else np.exp(np.mean(np.log(xs), 0))
    for xs, valid, is_valid in forms(rows):
        for name, (gradient, found) in values_and_gradients()(xs, valid).items():
            assert np.isfinite(gradient[is_valid]).all() or name == "softmax", name
            assert not np.asarray(gradient)[~is_valid].any() and not np.asarray(found)[3].any(), name
            with np.errstate(all="ignore"):
                if name in ORDER:
                    expected = np.stack([ORDER[name][1](row) for row in rows[:3]])
                    # NumPy's interpolation towards an infinity can be NaN. Otherwise its result is correct.
                    known = ~np.isnan(expected) | (not name.startswith("quantile"))
                    np.testing.assert_allclose(found[:3][known], expected[known], rtol=1e-5, err_msg=name)
                elif name.startswith("power"):
                    p = float(name.split()[1])
                    expected = np.stack([mean_of_power(np.maximum(row, 1e-6).astype(float), p) for row in rows[:3]])
                    np.testing.assert_allclose(found[:3], expected, rtol=1e-4, err_msg=name)
                elif name.startswith("histogram"):
                    assert np.isfinite(found).all(), name
        # An infinite element has density 0 under each Gaussian.
        finite = np.array([np.isfinite(row).all(-1).sum() for row in rows[:3]])
        density = values_and_gradients()(xs, valid)["gaussian"][1]
        assert np.isfinite(density).all() and ((np.asarray(density)[:3] > 0).all(-1) == (finite > 0)).all()


def test_quantile_between_a_number_and_infinity():
    xs = jnp.array([[1.0, -INF, 2.0], [INF, 1.0, INF]])
    np.testing.assert_array_equal(sets.median_pool(xs), np.median(xs, 0))
    np.testing.assert_array_equal(sets.quantile_pool(xs, 0.75), [INF, -INF, INF])
    np.testing.assert_array_equal(sets.quantile_pool(xs[:1], 0.75), xs[0])


def test_nan_among_elements_propagates():
    random = np.random.default_rng(0)
    rows = [random.uniform(0, 1, (n, D)).astype(np.float32) for n in (4, 5, 1, 0)]
    clean = [values_and_gradients()(xs, valid) for xs, valid, _ in forms(rows)]
    for row in (0, 2):
        rows[row][0, 1] = np.nan
    for (xs, valid, is_valid), expected_values in zip(forms(rows), clean, strict=True):
        for name, (gradient, found) in values_and_gradients()(xs, valid).items():
            found, expected, is_nan = (
                np.asarray(found),
                np.asarray(expected_values[name][1]),
                np.zeros(found.shape, bool),
            )
            if name == "gaussian":  # depends on all features
                is_nan[[0, 2]] = True
            else:
                is_nan[[0, 2], 1] = True
            np.testing.assert_array_equal(np.isnan(found), is_nan, err_msg=name)
            np.testing.assert_array_equal(found[~is_nan], expected[~is_nan], err_msg=name)
            assert not np.asarray(gradient)[~is_valid].any(), name
            if name.startswith("histogram"):  # equal for all kinds
                np.testing.assert_array_equal(np.isnan(gradient), np.isnan(xs) & is_valid[..., None], err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_elements_yield_nan_gradients_of_bins(kind):
    xs = jnp.array([[0.1, 0.4], [np.nan, 0.2]])
    gradient = jax.grad(lambda bins: jnp.sum(sets.histogram(xs, bins, kind=kind)))(sets.bins_init(kind, 2, 4))
    for array in gradient.values():
        assert np.isnan(array[0]).all() and np.isfinite(array[1]).all()


def test_softmax_pool_with_scores_of_minus_infinity(float64):
    xs = jnp.array([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    scores = jnp.array([[[-INF, -INF], [-INF, 0.0], [-INF, -INF]]])
    pooled = lambda xs, scores: sets.softmax_pool(xs, scores)
    np.testing.assert_array_equal(pooled(xs, scores), [[0.0, 4.0]])
    for gradient in jax.grad(lambda *args: pooled(*args).sum(), (0, 1))(xs, scores):
        assert np.isfinite(gradient).all() and not np.asarray(gradient)[..., 0].any()
    np.testing.assert_allclose(pooled(xs, jnp.array([[[-1e300], [-1e300], [-2e300]]])), [[2.0, 3.0]])


def test_equal_maxima_share_the_gradient_without_padding():
    xs, mask = jnp.array([[-INF, -INF, 5.0], [2.0, 2.0, 1.0]])[..., None], jnp.array([[True, True, False], [True] * 3])
    for pool in (sets.max_pool, functools.partial(apply_fold, sets.max_fold)):
        gradient = jax.grad(lambda xs, pool=pool: jnp.sum(jnp.maximum(pool(xs, mask), -1e30) + pool(xs, mask)))(xs)
        np.testing.assert_array_equal(gradient[..., 0], [[0.5, 0.5, 0], [1, 1, 0]])
    for pool in (sets.min_pool, functools.partial(apply_fold, sets.min_fold)):
        gradient = jax.grad(lambda xs, pool=pool: jnp.sum(pool(xs, mask)))(-xs)
        np.testing.assert_array_equal(gradient[..., 0], [[0.5, 0.5, 0], [0.5, 0.5, 0]])


def sets_with_an_empty_set():
    xs, mask = jax.random.uniform(jax.random.key(0), (2, 3, D)), np.array([[True, False, True], [False] * 3])
    xs = np.where(mask[..., None], xs - 500, np.nan)  # so low that scores of 0 in the padding would overflow
    return (xs, mask), (xs.reshape(6, D), sets.Segments(np.where(mask, np.arange(2)[:, None], 9).reshape(6), 2))


@pytest.mark.parametrize(
    "name", ["softmax", "max", *[pytest.param(n, marks=pytest.mark.slow) for n in POOLS if n not in ("softmax", "max")]]
)
def test_functions_run_under_debug_nans(name):
    with jax.debug_nans(True):
        for xs, valid in sets_with_an_empty_set():
            jax.grad(lambda xs, valid=valid: jnp.sum(POOLS[name](xs, valid)))(xs)


SMALL = dict(embed_dim=4, num_heads=2)
MODELS = {
    "DeepSets": sets.DeepSets(2, (4,), (4,)),
    "DeepSets median": sets.DeepSets(2, (4,), (4,), pooling="median"),
    "EquivariantDeepSets": sets.EquivariantDeepSets(2, (4,), pooling="max"),
    "HistNetQ": sets.HistNetQ(2, (4,), (), num_bins=4),
    "SetTransformer": sets.SetTransformer(
        2, num_inducing_points=3, num_encoder_blocks=1, num_decoder_blocks=1, **SMALL
    ),
    "SetTransformer clean": sets.SetTransformer(
        2, num_inducing_points=0, clean_residual=True, norm="set", num_encoder_blocks=1, num_decoder_blocks=1, **SMALL
    ),
    "SetTransformer layer norm": sets.SetTransformer(
        2, num_inducing_points=3, norm="layer", num_encoder_blocks=1, num_decoder_blocks=0, **SMALL
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models_run_under_debug_nans(name):
    variables = jax.jit(MODELS[name].init)(jax.random.key(0), jnp.ones((1, 2, D)))
    with jax.debug_nans(True):
        for xs, valid in sets_with_an_empty_set():
            loss = lambda variables, valid=valid, xs=xs: jnp.sum(MODELS[name].apply(variables, xs, valid) ** 2)
            jax.block_until_ready(jax.jit(jax.grad(loss))(variables))
            jax.grad(loss)(variables)
