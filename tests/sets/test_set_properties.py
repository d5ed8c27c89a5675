"""Invariance of values and gradients to order, padding, chunks and segments, in float32 and float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxnets import sets

NUM_SETS, MAX_SIZE, LENGTH, FLAT, D = 3, 8, 12, 30, 3
# Tolerances relative to a scale that each test defines.
TOLERANCES = {"float32": 1e-6, "float64": 1e-12}
weighted_sum = lambda ys: jnp.sum(jnp.cos(jnp.arange(ys.size)).reshape(ys.shape) * ys)
in_both_precisions = pytest.mark.parametrize("dtype", TOLERANCES)
random_sets = given(
    sizes=st.lists(st.integers(0, MAX_SIZE), min_size=NUM_SETS, max_size=NUM_SETS),
    boundaries=st.lists(st.integers(0, LENGTH), min_size=2, max_size=2).map(sorted),
    seed=st.integers(0, 2**32 - 1),
)
small_sets = example(sizes=[0, 1, 2], boundaries=[4, 9], seed=0)
large_sets = example(sizes=[MAX_SIZE, 0, MAX_SIZE], boundaries=[0, 1], seed=1)


def forms(sizes, seed, dtype):
    """Returns sets padded with zeros, padded in random order with fillers, and as segments, with fixed shapes.

    Each form consists of elements, valid, and the rows of the valid elements.
    """
    random = np.random.default_rng(seed)
    valid_elements = random.uniform(-2, 2, (sum(sizes), D))

    def put(count, rows, fillers):
        elements = random.choice(fillers, (count, D))
        elements[rows] = valid_elements
        return jnp.array(elements, dtype)

    def padded(slots, fillers):
        rows = np.concatenate([LENGTH * i + slots[i, :size] for i, size in enumerate(sizes)])
        mask = np.isin(np.arange(NUM_SETS * LENGTH), rows).reshape(NUM_SETS, LENGTH)
        return put(NUM_SETS * LENGTH, rows, fillers).reshape(NUM_SETS, LENGTH, D), jnp.array(mask), rows

    fillers = [np.nan, np.inf, -np.inf, 1e30, 1.0]
    rows = random.permutation(FLAT)[: len(valid_elements)]
    ids = random.choice([-7, -1, NUM_SETS, 99], FLAT)
    ids[rows] = np.repeat(np.arange(NUM_SETS), sizes)
    flat = put(FLAT, rows, fillers), sets.Segments(jnp.array(ids), NUM_SETS), rows
    slots = np.tile(np.arange(LENGTH), (NUM_SETS, 1))
    return padded(slots, [0.0]), padded(random.permuted(slots, axis=1), fillers), flat


def split_chunks(xs, mask, boundaries):
    """Splits a set into three chunks, each with all elements but a different range of valid ones."""
    slot, edges = jnp.arange(LENGTH)[None], (0, *boundaries, LENGTH)
    return [(xs, mask & (edges[i] <= slot) & (slot < edges[i + 1])) for i in range(3)]


def move_rows(array, rows, to, like):
    """Moves rows of an array to the rows ``to`` of zeros with the shape of ``like``."""
    result = np.zeros(like.shape).reshape(-1, like.shape[-1])
    result[to] = np.asarray(array).reshape(-1, like.shape[-1])[rows]
    return result.reshape(like.shape)


def check(got, expected, scale, dtype, label):
    """Asserts that values are equal up to the tolerance times a scale, and not NaN."""
    assert got.shape == expected.shape, label
    change = np.abs(np.asarray(got, np.float64) - np.asarray(expected, np.float64))
    assert (change <= TOLERANCES[dtype] * scale).all(), f"{label} changed by {change.max()}"


def check_all(got, expected, dtype, label):
    """Checks the leaves of a tree.

    Outputs and gradients are sums of products of order 1, which may cancel. Rounding errors have the scale of the
    products: that of the largest value of the tree, at least 1.
    """
    scale = 1 + max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(expected))
    for (path, leaf), other in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        check(leaf, other, scale, dtype, f"{label} {jax.tree_util.keystr(path)}")


# Functions of parameters p, elements and valid. Chunks of histograms differ between the forms of sets.
POOLS = {
    "sum": lambda p, *args: sets.sum_pool(*args),
    "mean": lambda p, *args: sets.mean_pool(*args),
    "max": lambda p, *args: sets.max_pool(*args),
    "min": lambda p, *args: sets.min_pool(*args),
    "median": lambda p, *args: sets.median_pool(*args),
    "quantile": lambda p, xs, valid: sets.quantile_pool(xs, 0.3, valid),
    "softmax": lambda p, xs, valid: sets.softmax_pool(xs, 3 * xs[..., :1], valid),
    "sorted": lambda p, xs, valid: sets.sorted_pool(xs, p["weights"], valid),
    "power": lambda p, xs, valid: sets.power_mean_pool(xs + 3, p["powers"], valid),
    "gaussian": lambda p, *args: sets.gaussian_pool(p["gaussians"], *args),
    "set norm": lambda p, xs, valid: sets.sum_pool(sets.set_norm(xs, *p["norm"], valid), valid),
    "layer norm": lambda p, xs, valid: sets.sum_pool(sets.layer_norm(xs, *p["norm"], valid), valid),
    "histogram": lambda p, xs, valid: sets.histogram(xs, p["linear"], valid, chunk=5),
    "soft": lambda p, xs, valid: sets.histogram(xs, p["soft"], valid, kind="soft", cumulative=True, chunk=5),
}
LINEAR_POOLS = ("sum", "mean", "max", "min", "median", "quantile", "softmax", "sorted")


@functools.cache
def pool_parameters(dtype):
    """Returns parameters of order 1 and equidistant bins."""
    random = np.random.default_rng(3)
    normal = lambda *shape: 0.5 * random.standard_normal(shape)
    params = {
        "weights": normal(D, 4),
        "powers": np.array([-2.0, 0.0, 3.0]),
        "norm": (normal(D), normal(D)),
        "gaussians": {"means": normal(2, D), "logs": normal(2, D), "factors": normal(2, D, D)},
        "linear": sets.bins_init("linear", D, 8),
        "soft": sets.bins_init("soft", D, 8),
    }
    return jax.tree.map(lambda a: jnp.array(a, dtype), params)


@jax.jit
def pooled(params, xs, valid):
    """Returns gradients of a weighted sum, and values, of all pools."""

    def run(pool):
        def objective(params, xs):
            ys = pool(params, xs, valid)
            return weighted_sum(ys), ys

        return jax.grad(objective, (0, 1), has_aux=True)(params, xs)

    return {name: run(pool) for name, pool in POOLS.items()}


@jax.jit
def apply_fold(params, xs, mask, boundaries):
    """Returns the values of all folds."""
    folds = {
        "sum": sets.sum_fold,
        "mean": sets.mean_fold,
        "max": sets.max_fold,
        "min": sets.min_fold,
        "histogram": sets.histogram_fold(params["linear"]),
        "soft": sets.histogram_fold(params["soft"], "soft", cumulative=True),
    }

    def run(fold):
        carry = fold.init(xs, mask)
        for chunk in split_chunks(xs, mask, boundaries):
            carry = fold.update(carry, *chunk)
        return fold.result(carry)

    return {name: run(fold) for name, fold in folds.items()}


def sum_of_magnitudes(name, xs, mask, ys):
    """Returns the sum of |x| over a set for linear pools, and of 1 + |x| for others."""
    xs, mask = np.asarray(xs, np.float64), np.asarray(mask)
    sums = np.sum(np.abs(xs), axis=1)
    if name not in LINEAR_POOLS:
        sums = np.sum(mask, axis=1, keepdims=True) + np.max(sums, axis=1, keepdims=True)
    return sums.reshape(*sums.shape, *[1] * (ys.ndim - 2))


@in_both_precisions
@settings(max_examples=15, deadline=None, derandomize=True)
@random_sets
@small_sets
@large_sets
def test_pooling_is_invariant(dtype, sizes, boundaries, seed):
    with jax.enable_x64(dtype == "float64"):
        params = pool_parameters(dtype)
        (plain, mask, rows), padded, flat = forms(sizes, seed, dtype)
        expected = pooled(params, plain, mask)
        for xs, valid, to in (padded, flat):
            for name, ((dparams, dxs), ys) in pooled(params, xs, valid).items():
                (dparams_expected, dplain), ys_expected = expected[name]
                check(ys, ys_expected, sum_of_magnitudes(name, plain, mask, ys), dtype, name)
                check_all(dparams, dparams_expected, dtype, f"{name}, gradient")
                check_all(dxs, move_rows(dplain, rows, to, dxs), dtype, f"{name}, gradient of elements")
        for name, ys in apply_fold(params, *padded[:2], boundaries).items():
            check(ys, expected[name][1], sum_of_magnitudes(name, plain, mask, ys), dtype, f"{name} in chunks")


SMALL = dict(embed_dim=8, num_heads=2, num_inducing_points=4, num_encoder_blocks=1, num_decoder_blocks=0)
MODELS = {
    "deep sets, sum": sets.DeepSets(2, (8, 8), (8,)),
    "deep sets, mean": sets.DeepSets(2, (8, 8), (8,), pooling="mean", activation="tanh"),
    "deep sets, max": sets.DeepSets(2, (8, 8), (8,), pooling="max"),
    "equivariant": sets.EquivariantDeepSets(2, (8, 8)),
    "set transformer": sets.SetTransformer(2, **SMALL),
    "set transformer, layer norm": sets.SetTransformer(2, norm="layer", **SMALL),
    "set transformer, clean": sets.SetTransformer(2, clean_residual=True, **SMALL),
    "set transformer, clean layer norm": sets.SetTransformer(2, norm="layer", clean_residual=True, **SMALL),
    "set transformer, all": sets.SetTransformer(2, **SMALL | {"num_inducing_points": 0}),
    "hist net": sets.HistNetQ(3, (8, 4), (), num_bins=8),
    "hist net, cumulative": sets.HistNetQ(3, (8, 4), (), num_bins=8, cumulative=True),
    "hist net, soft": sets.HistNetQ(3, (8, 4), (), num_bins=8, kind="soft"),
    "hist net, soft cumulative": sets.HistNetQ(3, (8, 4), (), num_bins=8, kind="soft", cumulative=True),
}
SLOW = (
    "deep sets, mean",
    "hist net, soft cumulative",
    "set transformer, layer norm",
    "set transformer, clean",
    "hist net, cumulative",
    "hist net, soft",
)
each_model = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODELS]
)
NEEDS_WHOLE_SET = ("equivariant", "set transformer, all")


@functools.cache
def parameters(name, dtype):
    """Returns normal parameters that preserve the order of magnitude, and nearly equidistant bins."""
    model, random = MODELS[name], np.random.default_rng(2)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1, D), jnp.float32))["params"]
    params = jax.tree.map(lambda a: random.standard_normal(a.shape) / np.sqrt(a.shape[0]), shapes)
    if "histogram" in params:
        bins = sets.bins_init(model.kind, *shapes["histogram"]["centers"].shape)
        params["histogram"] = jax.tree.map(lambda a, b: np.asarray(a) + 0.02 * b, bins, params["histogram"])
    return {"params": jax.tree.map(lambda a: jnp.array(a, dtype), params)}


@functools.cache
def outputs_and_gradients(name, dtype):
    """Returns a jitted function for the gradients of a weighted sum of outputs, and the outputs."""
    model = MODELS[name].clone(dtype=dtype)

    def objective(variables, xs, valid):
        ys = model.apply(variables, xs, valid)
        return weighted_sum(sets.sum_pool(ys**2, valid) if name == "equivariant" else ys), ys

    return jax.jit(jax.grad(objective, (0, 1), has_aux=True))


@functools.cache
def outputs_in_chunks(name, dtype):
    """Returns a jitted function for outputs of a model applied in chunks."""
    model = MODELS[name].clone(dtype=dtype)
    return jax.jit(
        lambda variables, xs, mask, boundaries: sets.apply_in_chunks(
            model, variables, lambda: split_chunks(xs, mask, boundaries)
        )
    )


@in_both_precisions
@each_model
@settings(max_examples=10, deadline=None, derandomize=True)
@random_sets
@small_sets
@large_sets
def test_models_are_invariant(name, dtype, sizes, boundaries, seed):
    with jax.enable_x64(dtype == "float64"):
        variables, run = parameters(name, dtype), outputs_and_gradients(name, dtype)
        (plain, mask, rows), padded, flat = forms(sizes, seed, dtype)
        (dvariables_expected, dplain), expected = run(variables, plain, mask)
        for xs, valid, to in (padded, flat):
            (dvariables, dxs), ys = run(variables, xs, valid)
            check_all(
                ys, move_rows(expected, rows, to, ys) if name == "equivariant" else expected, dtype, f"{name}, outputs"
            )
            check_all(dvariables, dvariables_expected, dtype, f"{name}, gradient")
            check_all(dxs, move_rows(dplain, rows, to, dxs), dtype, f"{name}, gradient of elements")
        if name not in NEEDS_WHOLE_SET:
            ys = outputs_in_chunks(name, dtype)(variables, *padded[:2], boundaries)
            check_all(ys, expected, dtype, f"{name}, outputs in chunks")
