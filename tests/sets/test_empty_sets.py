"""Empty batches, empty sets and zero features yield zeros and zero gradients in all public functions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxnets import sets
from jaxnets.sets.histogram import KINDS

D, COUNT = 3, 2
KEY = jax.random.key(0)
# Leading axes of elements, mask or segments, and leading axes of results.
CASES = {
    "no sets": ((0, 5), None, (0,)),
    "no elements": ((2, 0), None, (2,)),
    "no sets and elements": ((0, 0), None, (0,)),
    "no valid elements": ((2, 5), np.zeros((2, 5), bool), (2,)),
    "empty segments": ((0,), sets.Segments(np.zeros(0, np.int32), COUNT), (COUNT,)),
    "zero segments": ((5,), sets.Segments(np.zeros(5, np.int32), 0), (0,)),
    "segments without valid elements": ((5,), sets.Segments(np.full(5, -1, np.int32), COUNT), (COUNT,)),
}
MESH = jax.make_mesh((1,), ("set",), (AxisType.Auto,), devices=jax.devices()[:1])


def bins(kind, features):
    return jax.tree.map(lambda row: jnp.repeat(row, features, axis=0), sets.bins_init(kind, 1, 4))


def all_histograms(xs, valid):
    return sum(sets.histogram(xs, bins(kind, xs.shape[-1]), valid, kind=kind) for kind in KINDS)


def apply_fold(fold):
    def run(xs, valid):
        carry = fold.update(fold.init(xs, valid), xs, valid)
        return fold.result(fold.merge(carry, carry))

    return run


def with_scale_and_bias(f):
    return lambda xs, valid: f(xs, jnp.ones(xs.shape[-1]), jnp.zeros(xs.shape[-1]), valid)


# Functions of elements and valid, and the trailing shape of their results.
FEATURES, BINNED = lambda d: (d,), lambda d: (d, 4)
FUNCTIONS = {
    "sum_pool": (sets.sum_pool, FEATURES),
    "mean_pool": (sets.mean_pool, FEATURES),
    "max_pool": (sets.max_pool, FEATURES),
    "min_pool": (sets.min_pool, FEATURES),
    "median_pool": (sets.median_pool, FEATURES),
    "quantile_pool": (lambda xs, valid: sets.quantile_pool(xs, 0.3, valid), FEATURES),
    "softmax_pool": (lambda xs, valid: sets.softmax_pool(xs, xs, valid), FEATURES),
    "power_mean_pool": (lambda xs, valid: sets.power_mean_pool(xs, -2.0, valid), FEATURES),
    "sorted_pool": (lambda xs, valid: sets.sorted_pool(xs, jnp.ones((xs.shape[-1], 4)), valid), FEATURES),
    "gaussian_pool": (
        lambda xs, valid: sets.gaussian_pool(sets.gaussians_init(KEY, xs.shape[-1], 4), xs, valid),
        lambda d: (4,),
    ),
    "histogram": (all_histograms, BINNED),
    "histogram_fold": (
        lambda xs, valid: apply_fold(sets.histogram_fold(bins("linear", xs.shape[-1])))(xs, valid),
        BINNED,
    ),
    "sum_fold": (apply_fold(sets.sum_fold), FEATURES),
    "mean_fold": (apply_fold(sets.mean_fold), FEATURES),
    "max_fold": (apply_fold(sets.max_fold), FEATURES),
    "min_fold": (apply_fold(sets.min_fold), FEATURES),
    "fold_over_devices": (
        lambda xs, valid: sets.fold_over_devices(sets.mean_fold, xs, valid, mesh=MESH, axis="set"),
        FEATURES,
    ),
    # These return elements.
    "set_norm": (with_scale_and_bias(sets.set_norm), None),
    "layer_norm": (with_scale_and_bias(sets.layer_norm), None),
}
SMALL = dict(embed_dim=4, num_heads=2)
MODULES = {
    "DeepSets": (sets.DeepSets(2, (4,), (4,), pooling="max"), (2,)),
    "EquivariantLayer": (sets.EquivariantLayer(4), None),
    "EquivariantDeepSets": (sets.EquivariantDeepSets(2, (4,)), None),
    "Histogram": (sets.Histogram(4), (D, 4)),
    "HistNetQ": (sets.HistNetQ(2, (4,), (), num_bins=4), (2,)),
    "SAB": (sets.SAB(**SMALL), None),
    "ISAB": (sets.ISAB(num_inducing_points=3, **SMALL), None),
    "PMA": (sets.PMA(num_seeds=3, **SMALL), (3, 4)),
    "SetTransformer": (
        sets.SetTransformer(2, num_inducing_points=3, num_encoder_blocks=1, num_decoder_blocks=1, **SMALL),
        (2,),
    ),
}
OTHERS = {
    "MAB": "test_attention_to_an_empty_set",
    "votes": "test_votes_and_likelihoods_of_empty_arrays",
    "log_likelihoods": "test_votes_and_likelihoods_of_empty_arrays",
    "bins_init": "test_initializers_of_empty_parameters",
    "gaussians_init": "test_initializers_of_empty_parameters",
    "apply_in_chunks": "test_apply_in_chunks_of_empty_chunks",
}
EXEMPT = {
    "Fold": "a tuple of functions; the folds are tested",
    "Validity": "a type",
    "Segments": "an argument of the tested functions",
}


def test_every_public_name_is_tested_or_exempt():
    tested = [*FUNCTIONS, *MODULES, *OTHERS, *EXEMPT]
    assert sorted(tested) == sorted(sets.__all__)
    assert all(name in globals() for name in OTHERS.values())


def check(found, gradients, shape):
    assert found.shape == shape and np.isfinite(np.asarray(found)).all()
    assert not any(np.asarray(gradient).any() for gradient in jax.tree.leaves(gradients))


def squares(ys):
    return jnp.sum(ys**2), ys


@functools.cache
def jitted(name):
    function, _ = FUNCTIONS[name]
    return jax.jit(jax.grad(lambda xs, valid: squares(function(xs, valid)), has_aux=True))


def mark_slow(names, fast):
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("case", mark_slow(CASES, ("no sets", "zero segments")))
def test_functions_of_empty_sets(name, case):
    leading, valid, batch = CASES[case]
    rest = FUNCTIONS[name][1]
    for d in (D, 0) if case == "no valid elements" else (D,):
        xs = jnp.full((*leading, d), np.nan)
        gradient, found = jitted(name)(xs, valid)
        check(found, gradient, xs.shape if rest is None else (*batch, *rest(d)))
        assert not np.asarray(found).any()


@functools.cache
def variables_of(name):
    return jax.jit(MODULES[name][0].init)(KEY, jnp.ones((1, 2, D)))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("case", mark_slow(CASES, ("no sets",)))
def test_modules_of_empty_sets(name, case):
    """Outputs for an empty set depend on biases: they are finite, but not zero."""
    model, rest = MODULES[name]
    leading, valid, batch = CASES[case]
    xs, variables = jnp.full((*leading, D), np.nan), variables_of(name)
    run = lambda xs, variables: squares(model.apply(variables, xs, valid))
    (dxs, dvariables), found = jax.jit(jax.grad(run, (0, 1), has_aux=True))(xs, variables)
    shape = (*leading, found.shape[-1]) if rest is None else (*batch, *rest)
    check(found, dxs, shape)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(dvariables))
    if not found.size:
        check(found, dvariables, shape)
    initial = jax.eval_shape(model.init, KEY, xs, valid)
    assert jax.tree.map(jnp.shape, initial) == jax.tree.map(jnp.shape, variables)


@pytest.mark.parametrize("n, m", [(0, 3), (2, 0), (0, 0)])
def test_attention_to_an_empty_set(n, m):
    module = sets.MAB(**SMALL)
    xs, ys = jnp.ones((2, n, D)), jnp.ones((2, m, D))
    variables = module.init(KEY, xs, ys)
    run = lambda xs, ys: squares(module.apply(variables, xs, ys))
    (dxs, dys), found = jax.jit(jax.grad(run, (0, 1), has_aux=True))(xs, ys)
    assert found.shape == (2, n, 4) and np.isfinite(np.asarray(found)).all()
    assert not np.asarray(dys).any() and np.isfinite(np.asarray(dxs)).all()


@pytest.mark.parametrize("shape", [(0, D), (2, 0, D), (4, 0)])
def test_votes_and_likelihoods_of_empty_arrays(shape):
    def run(xs):
        each = [sets.votes(kind, bins(kind, shape[-1]), xs) for kind in KINDS]
        return each, sets.log_likelihoods(sets.gaussians_init(KEY, shape[-1], 4), xs)

    each, found = jax.jit(run)(jnp.zeros(shape))
    assert {ys.shape for ys in each} == {(*shape, 4)} and found.shape == (*shape[:-1], 4)


def test_initializers_of_empty_parameters():
    assert {a.shape for a in sets.gaussians_init(KEY, 0, 2).values()} == {(2, 0), (2, 0, 0)}
    assert sets.gaussian_pool(sets.gaussians_init(KEY, D, 0), jnp.ones((2, 5, D))).shape == (2, 0)
    for features, count in ((0, 4), (2, 0)):
        with pytest.raises(ValueError, match="`(num_bins|features)` must be an integer of at least"):
            sets.bins_init("linear", features, count)
    with pytest.raises(ValueError, match="`bins` must have"):
        sets.histogram(jnp.ones((5, D)), {"centers": jnp.ones((D, 0))})


@pytest.mark.parametrize("name", mark_slow(["DeepSets", "HistNetQ", "SetTransformer"], ("HistNetQ",)))
@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_apply_in_chunks_of_empty_chunks(name, shape):
    model, variables = MODULES[name][0], variables_of(name)
    xs = jnp.ones((*shape, D))
    found = sets.apply_in_chunks(model, variables, lambda: [(xs, None), (xs, None)])
    np.testing.assert_allclose(found, model.apply(variables, xs), atol=1e-6)
