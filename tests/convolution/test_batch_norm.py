"""Batch normalization: statistics, masks, gradients, devices, and data far from zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.convolution import BatchNorm

RANDOM = np.random.default_rng(0)
X = (3 + 2 * RANDOM.normal(size=(6, 4, 5, 3))).astype(np.float32)


def run(x, train=True, variables=None, mask=None, **options):
    norm = BatchNorm(**options)
    variables = variables or norm.init(jax.random.key(0), x)
    if not train:
        return norm.apply(variables, x)
    y, changed = norm.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])
    return y, {**variables, **changed}


def test_training_uses_batch_statistics_and_updates_running_ones():
    y, variables = run(X)
    mean, var = X.astype(np.float64).mean((0, 1, 2)), X.astype(np.float64).var((0, 1, 2))
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(var + 1e-5), atol=1e-5)
    np.testing.assert_allclose(variables["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(variables["batch_stats"]["var"], 0.9 + 0.1 * var * 120 / 119, rtol=1e-5)


def test_evaluation_uses_running_statistics():
    _, variables = run(X)
    y = run(X[:1], train=False, variables=variables)
    stats = jax.tree.map(np.asarray, variables["batch_stats"])
    np.testing.assert_allclose(y, (X[:1] - stats["mean"]) / np.sqrt(stats["var"] + 1e-5), atol=1e-5)


def test_variance_is_stable_for_large_means():
    far = X.astype(np.float64) + 3e4
    _, first = run(far.astype(np.float32), momentum=0.0)  # sets the running mean to about the right value
    y, variables = run(far.astype(np.float32), variables=first)
    expected = far.astype(np.float32).astype(np.float64)
    expected = (expected - expected.mean((0, 1, 2))) / expected.std((0, 1, 2))
    np.testing.assert_allclose(y, expected, atol=2e-2)
    assert np.all(np.isfinite(y)) and np.all(variables["batch_stats"]["var"] > 0)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_statistics_are_float32_for_half_precision_inputs(dtype):
    x = jnp.asarray(X, dtype)
    y, variables = run(x, dtype=dtype)
    assert y.dtype == dtype
    expected, expected_variables = run(x.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(np.float32), expected, atol=3e-2)
    for name, leaf in variables["batch_stats"].items():
        assert leaf.dtype == jnp.float32
        np.testing.assert_allclose(leaf, expected_variables["batch_stats"][name], rtol=1e-6)


def test_masked_positions_have_no_effect():
    mask = RANDOM.random((6, 4, 5)) < 0.6
    padded = np.where(mask[..., None], X, np.nan).astype(np.float32)
    y, variables = run(padded, mask=mask, variables=BatchNorm().init(jax.random.key(0), X))
    valid = X[mask].astype(np.float64)
    np.testing.assert_allclose(y[mask], (valid - valid.mean(0)) / np.sqrt(valid.var(0) + 1e-5), atol=1e-5)
    np.testing.assert_allclose(variables["batch_stats"]["mean"], 0.1 * valid.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variables["batch_stats"]["var"], 0.9 + 0.1 * valid.var(0, ddof=1), rtol=1e-5)
    objective = lambda variables, x: jnp.sum(jnp.where(mask[..., None], run(x, True, variables, mask)[0] ** 3, 0))
    gradients = jax.grad(objective, (0, 1))(variables, padded)
    jax.tree.map(np.testing.assert_array_equal, gradients, jax.grad(objective, (0, 1))(variables, X))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))
    _, unchanged = run(X, mask=np.zeros((6, 4, 5), bool))
    np.testing.assert_array_equal(unchanged["batch_stats"]["var"], np.ones(3))


def test_one_value_per_channel_has_a_finite_gradient():
    x = jnp.ones((1, 1, 1, 2))
    y, variables = run(x)
    np.testing.assert_allclose(y, 0, atol=1e-6)
    assert np.all(np.isfinite(variables["batch_stats"]["var"]))
    gradient = jax.grad(lambda x: jnp.sum(run(x, variables=variables)[0] ** 2))(x)
    assert np.all(np.isfinite(gradient))


def test_axis_name_averages_statistics_over_devices():
    norm = BatchNorm(axis_name="devices")
    variables = BatchNorm().init(jax.random.key(0), X)
    sharded = jax.vmap(
        lambda x: norm.apply(variables, x, train=True, mutable=["batch_stats"]), axis_name="devices", out_axes=(0, 0)
    )
    y, updated = sharded(X.reshape(2, 3, 4, 5, 3))
    expected, variables = run(X)
    np.testing.assert_allclose(y.reshape(X.shape), expected, atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(updated["batch_stats"][name][1], variables["batch_stats"][name], rtol=1e-5)


def test_siamese_networks_update_statistics_at_each_call():
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), X)

    def pair(norm, x):
        return norm(x, train=True), norm(x + 1, train=True)

    _, changed = norm.apply(variables, X, method=pair, mutable=["batch_stats"])
    _, once = run(X)
    _, twice = run(X + 1, variables=once)
    np.testing.assert_allclose(changed["batch_stats"]["mean"], twice["batch_stats"]["mean"], rtol=1e-6)


def test_gradient_matches_the_equation(float64):
    weights = jnp.cos(jnp.arange(X.size, dtype=jnp.float64)).reshape(X.shape)
    x = jnp.asarray(X, jnp.float64)
    gradient = jax.grad(lambda x: jnp.sum(weights * run(x, dtype=jnp.float64)[0]))(x)

    def reference(x):
        mean, var = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
        return jnp.sum(weights * (x - mean) / jnp.sqrt(var + 1e-5))

    np.testing.assert_allclose(gradient, jax.grad(reference)(x), atol=1e-10)


FAR = {
    "128": 128 + X,
    "1e3": 1e3 + X,
    "1e4": 1e4 - X,
    "1e6": 1e6 + X,
    "minus 3e5": X - 3e5,
    "different channels": X * [1e-3, 1, 1e3] + [50, 1e5, 1e7],
    "one row in eight far away": np.where(np.arange(16).reshape(1, 16, 1, 1) % 8, 0, 1e4) + np.tile(X, (1, 4, 1, 1)),
    "one example far away": np.where(np.arange(6).reshape(6, 1, 1, 1), 0, 1e5) + X,
    "vectors": 1e5 + X[:, 0, 0],
    "constant": np.full((4, 3, 3, 3), 123456.7),
}


def normalized(x, mask=None):
    """Returns the normalized values, and the mean and variance of valid positions, in float64."""
    valid = x.astype(np.float64)[np.ones(x.shape[:-1], bool) if mask is None else mask]
    mean, var = valid.mean(0), valid.var(0)
    return (x.astype(np.float64) - mean) / np.sqrt(var + 1e-5), mean, valid.var(0, ddof=1)


@jax.jit
def first_step(x, cotangent, mask=None):
    """Returns the output, the statistics and the gradient of x in the first step; compiled once for each shape."""
    variables = {"params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}}
    variables["batch_stats"] = {"mean": jnp.zeros(3), "var": jnp.ones(3)}
    apply = lambda x: BatchNorm().apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])
    y, vjp, updated = jax.vjp(apply, x, has_aux=True)
    return y, updated["batch_stats"], vjp(cotangent)[0]


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
@pytest.mark.parametrize("x", FAR.values(), ids=FAR)
def test_first_step_is_exact_far_from_zero(x, dtype):
    x = x.astype(dtype)
    cotangent = np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape)
    y, statistics, gradient = first_step(x.astype(np.float32), cotangent)
    expected, mean, var = normalized(x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(statistics["mean"], 0.1 * mean, rtol=2e-5)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * var, rtol=1e-4)
    axes = tuple(range(x.ndim - 1))
    scaled_gradient = cotangent - cotangent.mean(axes) - expected * (cotangent * expected).mean(axes)
    std = np.sqrt(x.astype(np.float64).var(axes) + 1e-5)
    np.testing.assert_allclose(np.asarray(gradient) * std, scaled_gradient, rtol=2e-4, atol=2e-4)
    if dtype != np.float32:
        np.testing.assert_array_equal(first_step(x, cotangent)[0], y)


@pytest.mark.parametrize("offset", [0, 1e3, 1e6])
def test_masked_statistics_are_exact_far_from_zero(offset):
    x, mask = (offset + X).astype(np.float32), RANDOM.random(X.shape[:-1]) < 0.4
    mask[:, 0] = mask[0] = False  # no valid position in the rows that are sampled without a mask
    cotangent = np.where(mask[..., None], np.cos(x), 0)
    y, statistics, gradient = first_step(np.where(mask[..., None], x, np.nan), cotangent, mask)
    expected, mean, var = normalized(x, mask)
    np.testing.assert_allclose(y[mask], expected[mask], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(statistics["mean"], 0.1 * mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * var, rtol=1e-5)
    assert np.isfinite(gradient).all() and not gradient[~mask].any()


@pytest.mark.parametrize("masked", [False, True])
def test_statistics_of_different_shards_are_averaged(masked):
    """The shards have different means and, with a mask, different counts of valid positions, one of them zero."""
    offsets = np.array([1e4, 1e4, 1.005e4, 1.005e4, 2e4, 2e4]).reshape(6, 1, 1, 1)
    x = (X + offsets).astype(np.float32)
    valid_fraction = np.array([0.9, 0.9, 0, 0, 0.3, 0.3])[:, None, None]
    mask = RANDOM.random(x.shape[:-1]) < (valid_fraction if masked else 1)
    cotangent = np.where(mask[..., None], np.sin(np.arange(x.size, dtype=np.float32)).reshape(x.shape), 0)
    norm, variables = BatchNorm(axis_name="devices"), BatchNorm().init(jax.random.key(0), X)
    split = lambda a: a.reshape(3, 2, *a.shape[1:])

    @jax.jit
    def step(x, mask, cotangent):
        apply = lambda x, mask: norm.apply(variables, x, train=True, mask=mask, mutable=["batch_stats"])
        y, vjp, updated = jax.vjp(lambda x: jax.vmap(apply, axis_name="devices")(x, mask), x, has_aux=True)
        return y, updated["batch_stats"], vjp(cotangent)[0]

    y, statistics, gradient = step(split(x), split(mask) if masked else None, split(cotangent))
    expected, mean, var = normalized(x, mask)
    np.testing.assert_allclose(y.reshape(x.shape)[mask], expected[mask], rtol=1e-5, atol=1e-5)
    for device in range(3):
        np.testing.assert_allclose(statistics["mean"][device], 0.1 * mean, rtol=1e-6)
        np.testing.assert_allclose(statistics["var"][device], 0.9 + 0.1 * var, rtol=1e-5)
    expected_gradient = first_step(x, cotangent, mask if masked else None)[2]
    np.testing.assert_allclose(gradient.reshape(x.shape), expected_gradient, rtol=1e-4, atol=1e-9)
