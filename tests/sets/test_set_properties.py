"""Any order, padding, chunks and form of sets: the same results and gradients, in float32 and in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxnets import sets

SETS, MOST, LENGTH, FLAT, D = 3, 8, 12, 30, 3
# How much a result may change, of a scale that each test has.
BOUNDS = {"float32": 1e-6, "float64": 1e-12}
weigh = lambda ys: jnp.sum(jnp.cos(jnp.arange(ys.size)).reshape(ys.shape) * ys)
in_both_precisions = pytest.mark.parametrize("dtype", BOUNDS)
of_any_sets = given(
    sizes=st.lists(st.integers(0, MOST), min_size=SETS, max_size=SETS),
    borders=st.lists(st.integers(0, LENGTH), min_size=2, max_size=2).map(sorted),
    seed=st.integers(0, 2**32 - 1),
)
of_small_sets = example(sizes=[0, 1, 2], borders=[4, 9], seed=0)
of_large_sets = example(sizes=[MOST, 0, MOST], borders=[0, 1], seed=1)


def forms(sizes, seed, dtype):
    """The same sets three times: in order, padded with zeros; in any order among rubbish; in one long row, as segments.

    Each time elements, valid, and in which rows of the elements the real ones are; always of the same shapes.
    """
    random = np.random.default_rng(seed)
    real = random.uniform(-2, 2, (sum(sizes), D))

    def put(count, rows, between):
        elements = random.choice(between, (count, D))
        elements[rows] = real
        return jnp.array(elements, dtype)

    def padded(slots, between):
        rows = np.concatenate([LENGTH * i + slots[i, :size] for i, size in enumerate(sizes)])
        mask = np.isin(np.arange(SETS * LENGTH), rows).reshape(SETS, LENGTH)
        return put(SETS * LENGTH, rows, between).reshape(SETS, LENGTH, D), jnp.array(mask), rows

    rubbish = [np.nan, np.inf, -np.inf, 1e30, 1.0]
    rows = random.permutation(FLAT)[: len(real)]
    ids = random.choice([-7, -1, SETS, 99], FLAT)
    ids[rows] = np.repeat(np.arange(SETS), sizes)
    flat = put(FLAT, rows, rubbish), sets.Segments(jnp.array(ids), SETS), rows
    slots = np.tile(np.arange(LENGTH), (SETS, 1))
    return padded(slots, [0.0]), padded(random.permuted(slots, axis=1), rubbish), flat


def cut(xs, mask, borders):
    """Three chunks: all of the elements each, of which those between two borders are real."""
    slot, edges = jnp.arange(LENGTH)[None], (0, *borders, LENGTH)
    return [(xs, mask & (edges[i] <= slot) & (slot < edges[i + 1])) for i in range(3)]


def moved(array, rows, to, like):
    """What belongs to the elements in some rows, put to other rows of an array like another; zeros elsewhere."""
    there = np.zeros(like.shape).reshape(-1, like.shape[-1])
    there[to] = np.asarray(array).reshape(-1, like.shape[-1])[rows]
    return there.reshape(like.shape)


def check(got, wanted, scale, dtype, what):
    """Asserts that numbers are those wanted up to the bound of a scale; NaN is not."""
    assert got.shape == wanted.shape, what
    change = np.abs(np.asarray(got, np.float64) - np.asarray(wanted, np.float64))
    assert (change <= BOUNDS[dtype] * scale).all(), f"{what} changed by {change.max()}"


def check_all(got, wanted, dtype, what):
    """Asserts it of the leaves of a tree.

    Answers and gradients are sums of products of elements, parameters and cotangents, all of order 1. They may cancel,
    but rounding has the scale of the products: that of the largest number of the tree, and no less than 1.
    """
    scale = 1 + max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(wanted))
    for (path, leaf), other in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(wanted), strict=True):
        check(leaf, other, scale, dtype, f"{what} {jax.tree_util.keystr(path)}")


# Of parameters p, elements and valid. Histograms are made of chunks, which differ from form to form.
POOLS = {
    "sum": lambda p, *of: sets.sum_pool(*of),
    "mean": lambda p, *of: sets.mean_pool(*of),
    "max": lambda p, *of: sets.max_pool(*of),
    "min": lambda p, *of: sets.min_pool(*of),
    "median": lambda p, *of: sets.median_pool(*of),
    "quantile": lambda p, xs, valid: sets.quantile_pool(xs, 0.3, valid),
    "softmax": lambda p, xs, valid: sets.softmax_pool(xs, 3 * xs[..., :1], valid),
    "sorted": lambda p, xs, valid: sets.sorted_pool(xs, p["weights"], valid),
    "power": lambda p, xs, valid: sets.power_mean_pool(xs + 3, p["powers"], valid),
    "gaussian": lambda p, *of: sets.gaussian_pool(p["gaussians"], *of),
    "set norm": lambda p, xs, valid: sets.sum_pool(sets.set_norm(xs, *p["norm"], valid), valid),
    "layer norm": lambda p, xs, valid: sets.sum_pool(sets.layer_norm(xs, *p["norm"], valid), valid),
    "histogram": lambda p, xs, valid: sets.histogram(xs, p["linear"], valid, chunk=5),
    "soft": lambda p, xs, valid: sets.histogram(xs, p["soft"], valid, kind="soft", cumulative=True, chunk=5),
}
OF_ELEMENTS = ("sum", "mean", "max", "min", "median", "quantile", "softmax", "sorted")


@functools.cache
def pool_parameters(dtype):
    """Numbers of order 1; even bins."""
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
    """With every function: what it pools, and the gradients of a number made of that."""

    def of(pool):
        def objective(params, xs):
            ys = pool(params, xs, valid)
            return weigh(ys), ys

        return jax.grad(objective, (0, 1), has_aux=True)(params, xs)

    return {name: of(pool) for name, pool in POOLS.items()}


@jax.jit
def folded(params, xs, mask, borders):
    """The same in chunks, without gradients."""
    folds = {
        "sum": sets.sum_fold,
        "mean": sets.mean_fold,
        "max": sets.max_fold,
        "min": sets.min_fold,
        "histogram": sets.histogram_fold(params["linear"]),
        "soft": sets.histogram_fold(params["soft"], "soft", cumulative=True),
    }

    def run(fold):
        carry = fold.start(xs, mask)
        for chunk in cut(xs, mask, borders):
            carry = fold.add(carry, *chunk)
        return fold.result(carry)

    return {name: run(fold) for name, fold in folds.items()}


def magnitudes(name, xs, mask, ys):
    """The sum of the magnitudes of what is pooled: |x|, or up to 1 + |x| where it is something made of x."""
    xs, mask = np.asarray(xs, np.float64), np.asarray(mask)
    sums = np.sum(np.abs(xs), axis=1)
    if name not in OF_ELEMENTS:
        sums = np.sum(mask, axis=1, keepdims=True) + np.max(sums, axis=1, keepdims=True)
    return sums.reshape(*sums.shape, *[1] * (ys.ndim - 2))


@in_both_precisions
@settings(max_examples=15, deadline=None, derandomize=True)
@of_any_sets
@of_small_sets
@of_large_sets
def test_pooling(dtype, sizes, borders, seed):
    with jax.enable_x64(dtype == "float64"):
        params = pool_parameters(dtype)
        (plain, mask, rows), padded, flat = forms(sizes, seed, dtype)
        wanted = pooled(params, plain, mask)
        for xs, valid, to in (padded, flat):
            for name, ((dparams, dxs), ys) in pooled(params, xs, valid).items():
                (dparams_wanted, dplain), ys_wanted = wanted[name]
                check(ys, ys_wanted, magnitudes(name, plain, mask, ys), dtype, name)
                check_all(dparams, dparams_wanted, dtype, f"{name}, gradient")
                check_all(dxs, moved(dplain, rows, to, dxs), dtype, f"{name}, gradient of elements")
        for name, ys in folded(params, *padded[:2], borders).items():
            check(ys, wanted[name][1], magnitudes(name, plain, mask, ys), dtype, f"{name} in chunks")


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
NOT_IN_CHUNKS = ("equivariant", "set transformer, all")


@functools.cache
def parameters(name, dtype):
    """Normal, so that layers keep the order of magnitude; bins that are nearly even."""
    model, random = MODELS[name], np.random.default_rng(2)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1, D), jnp.float32))["params"]
    params = jax.tree.map(lambda a: random.standard_normal(a.shape) / np.sqrt(a.shape[0]), shapes)
    if "histogram" in params:
        even = sets.bins_init(model.kind, *shapes["histogram"]["centers"].shape)
        params["histogram"] = jax.tree.map(lambda a, b: np.asarray(a) + 0.02 * b, even, params["histogram"])
    return {"params": jax.tree.map(lambda a: jnp.array(a, dtype), params)}


@functools.cache
def answers_and_gradients(name, dtype):
    """Jitted: the gradients of a number made of the answers, and these."""
    model = MODELS[name].clone(dtype=dtype)

    def objective(variables, xs, valid):
        ys = model.apply(variables, xs, valid)
        return weigh(sets.sum_pool(ys**2, valid) if name == "equivariant" else ys), ys

    return jax.jit(jax.grad(objective, (0, 1), has_aux=True))


@functools.cache
def answers_in_chunks(name, dtype):
    """Jitted."""
    model = MODELS[name].clone(dtype=dtype)
    return jax.jit(
        lambda variables, xs, mask, borders: sets.apply_in_chunks(model, variables, lambda: cut(xs, mask, borders))
    )


@in_both_precisions
@each_model
@settings(max_examples=10, deadline=None, derandomize=True)
@of_any_sets
@of_small_sets
@of_large_sets
def test_models(name, dtype, sizes, borders, seed):
    with jax.enable_x64(dtype == "float64"):
        variables, run = parameters(name, dtype), answers_and_gradients(name, dtype)
        (plain, mask, rows), padded, flat = forms(sizes, seed, dtype)
        (dvariables_wanted, dplain), wanted = run(variables, plain, mask)
        for xs, valid, to in (padded, flat):
            (dvariables, dxs), ys = run(variables, xs, valid)
            check_all(ys, moved(wanted, rows, to, ys) if name == "equivariant" else wanted, dtype, f"{name}, answers")
            check_all(dvariables, dvariables_wanted, dtype, f"{name}, gradient")
            check_all(dxs, moved(dplain, rows, to, dxs), dtype, f"{name}, gradient of elements")
        if name not in NOT_IN_CHUNKS:
            ys = answers_in_chunks(name, dtype)(variables, *padded[:2], borders)
            check_all(ys, wanted, dtype, f"{name}, answers in chunks")
