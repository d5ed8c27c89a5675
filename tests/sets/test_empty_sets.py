"""No sets, sets without elements and elements without features: right shapes, zeros, and gradients of zero."""

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
# Elements, valid, and the axes that results have in place of a batch.
CASES = {
    "no sets": ((0, 5), None, (0,)),
    "no elements": ((2, 0), None, (2,)),
    "neither": ((0, 0), None, (0,)),
    "no valid": ((2, 5), np.zeros((2, 5), bool), (2,)),
    "no elements of segments": ((0,), sets.Segments(np.zeros(0, np.int32), COUNT), (COUNT,)),
    "segments of count 0": ((5,), sets.Segments(np.zeros(5, np.int32), 0), (0,)),
    "segments without valid": ((5,), sets.Segments(np.full(5, -1, np.int32), COUNT), (COUNT,)),
}
MESH = jax.make_mesh((1,), ("set",), (AxisType.Auto,), devices=jax.devices()[:1])


def bins(kind, features):
    return jax.tree.map(lambda row: jnp.repeat(row, features, axis=0), sets.bins_init(kind, 1, 4))


def all_histograms(xs, valid):
    return sum(sets.histogram(xs, bins(kind, xs.shape[-1]), valid, kind=kind) for kind in KINDS)


def folded(fold):
    def run(xs, valid):
        carry = fold.add(fold.start(xs, valid), xs, valid)
        return fold.result(fold.merge(carry, carry))

    return run


def of_row(f):
    return lambda xs, valid: f(xs, jnp.ones(xs.shape[-1]), jnp.zeros(xs.shape[-1]), valid)


# Of elements [*batch, N, D] and valid: the function, and the shape of its result after its batch.
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
        lambda xs, valid: folded(sets.histogram_fold(bins("linear", xs.shape[-1])))(xs, valid),
        BINNED,
    ),
    "sum_fold": (folded(sets.sum_fold), FEATURES),
    "mean_fold": (folded(sets.mean_fold), FEATURES),
    "max_fold": (folded(sets.max_fold), FEATURES),
    "min_fold": (folded(sets.min_fold), FEATURES),
    "fold_over_devices": (
        lambda xs, valid: sets.fold_over_devices(sets.mean_fold, xs, valid, mesh=MESH, axis="set"),
        FEATURES,
    ),
    # Results of these are elements.
    "set_norm": (of_row(sets.set_norm), None),
    "layer_norm": (of_row(sets.layer_norm), None),
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
    "votes": "test_numbers_without_sets",
    "log_likelihoods": "test_numbers_without_sets",
    "bins_init": "test_initializers",
    "gaussians_init": "test_initializers",
    "apply_in_chunks": "test_in_chunks",
}
EXEMPT = {
    "Fold": "a tuple of functions; those of this package are swept",
    "Validity": "a type",
    "Segments": "an argument of what is swept",
}


def test_the_sweep_has_every_public_name():
    swept = [*FUNCTIONS, *MODULES, *OTHERS, *EXEMPT]
    assert sorted(swept) == sorted(sets.__all__)
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


def but_slow(names, fast):
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("case", but_slow(CASES, ("no sets", "segments of count 0")))
def test_functions(name, case):
    leading, valid, batch = CASES[case]
    rest = FUNCTIONS[name][1]
    for d in (D, 0) if case == "no valid" else (D,):
        xs = jnp.full((*leading, d), np.nan)
        gradient, found = jitted(name)(xs, valid)
        check(found, gradient, xs.shape if rest is None else (*batch, *rest(d)))
        assert not np.asarray(found).any()


@functools.cache
def variables_of(name):
    return jax.jit(MODULES[name][0].init)(KEY, jnp.ones((1, 2, D)))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("case", but_slow(CASES, ("no sets",)))
def test_modules(name, case):
    """The answer to an empty set is made of biases: finite, not zero."""
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
    alone = jax.eval_shape(model.init, KEY, xs, valid)
    assert jax.tree.map(jnp.shape, alone) == jax.tree.map(jnp.shape, variables)


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
def test_numbers_without_sets(shape):
    def run(xs):
        each = [sets.votes(kind, bins(kind, shape[-1]), xs) for kind in KINDS]
        return each, sets.log_likelihoods(sets.gaussians_init(KEY, shape[-1], 4), xs)

    each, found = jax.jit(run)(jnp.zeros(shape))
    assert {ys.shape for ys in each} == {(*shape, 4)} and found.shape == (*shape[:-1], 4)


def test_initializers():
    assert {a.shape for a in sets.gaussians_init(KEY, 0, 2).values()} == {(2, 0), (2, 0, 0)}
    assert sets.gaussian_pool(sets.gaussians_init(KEY, D, 0), jnp.ones((2, 5, D))).shape == (2, 0)
    for features, count in ((0, 4), (2, 0)):
        with pytest.raises(ValueError, match="`(bins|features)` must be an integer of at least"):
            sets.bins_init("linear", features, count)
    with pytest.raises(ValueError, match="`bins` must be"):
        sets.histogram(jnp.ones((5, D)), {"centers": jnp.ones((D, 0))})


@pytest.mark.parametrize("name", but_slow(["DeepSets", "HistNetQ", "SetTransformer"], ("HistNetQ",)))
@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_in_chunks(name, shape):
    model, variables = MODULES[name][0], variables_of(name)
    xs = jnp.ones((*shape, D))
    found = sets.apply_in_chunks(model, variables, lambda: [(xs, None), (xs, None)])
    np.testing.assert_allclose(found, model.apply(variables, xs), atol=1e-6)
