"""Strict modes of JAX: dtype and rank promotion, leaked tracers, x64 and explicit meshes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import sets
from jaxnets.sets.histogram import KINDS

D = 3
ROW = np.ones(D, np.float32)
SMALL = dict(embed_dim=4, num_heads=2)
CHECKS = Path(__file__).parent / "checks_of_explicit_meshes.py"


def apply_fold(fold, xs, valid):
    carry = fold.update(fold.init(xs, valid), xs, valid)
    return fold.result(fold.merge(carry, carry))


def functions():
    """Returns functions of elements and valid, whose parameters are created in the mode under test."""
    return {
        "sum": sets.sum_pool,
        "mean": sets.mean_pool,
        "max": sets.max_pool,
        "min": sets.min_pool,
        "median": sets.median_pool,
        "quantile": lambda xs, valid: sets.quantile_pool(xs, np.float64(0.3), valid),
        "softmax": lambda xs, valid: sets.softmax_pool(xs, xs[..., :1].astype(jnp.float32), valid),
        "power": lambda xs, valid: sets.power_mean_pool(xs, 2.0, valid),
        "powers": lambda xs, valid: sets.power_mean_pool(xs, jnp.ones(D), valid),
        "sorted": lambda xs, valid: sets.sorted_pool(xs, jnp.ones((D, 4), jnp.float32), valid),
        "gaussian": lambda xs, valid: sets.gaussian_pool(sets.gaussians_init(jax.random.key(0), D, 2), xs, valid),
        "set norm": lambda xs, valid: sets.set_norm(xs, ROW, ROW, valid),
        "layer norm": lambda xs, valid: sets.layer_norm(xs, ROW, ROW, valid),
        "sum_fold": lambda *args: apply_fold(sets.sum_fold, *args),
        "mean_fold": lambda *args: apply_fold(sets.mean_fold, *args),
        "max_fold": lambda *args: apply_fold(sets.max_fold, *args),
        "min_fold": lambda *args: apply_fold(sets.min_fold, *args),
        "histogram_fold": lambda *args: apply_fold(sets.histogram_fold(sets.bins_init("linear", D, 4)), *args),
    } | {
        kind: lambda xs, valid, kind=kind: sets.histogram(xs, sets.bins_init(kind, D, 4), valid, kind=kind)
        for kind in KINDS
    }


MODELS = {
    "DeepSets": sets.DeepSets(2, (4,), (4,), pooling="median"),
    "EquivariantDeepSets": sets.EquivariantDeepSets(2, (4,), pooling="max"),
    "HistNetQ": sets.HistNetQ(2, (4,), (4,), num_bins=4),
    "SetTransformer": sets.SetTransformer(
        2, num_inducing_points=3, num_encoder_blocks=1, num_decoder_blocks=1, norm="layer", **SMALL
    ),
    "SetTransformer clean": sets.SetTransformer(
        2, num_inducing_points=0, clean_residual=True, norm="set", num_encoder_blocks=1, num_decoder_blocks=1, **SMALL
    ),
}
SEGMENTS = (np.arange(10, dtype=np.int32) % 3, 4)
FORMS = {
    "mask": ((2, 5), lambda: np.ones((2, 5), bool)),
    "segments": ((10,), lambda: sets.Segments(jnp.array(SEGMENTS[0]), SEGMENTS[1])),
}


def shapes(f, xs, valid):
    """Traces values and gradients, which raises errors for promotion and leaks, and returns the shape."""

    def objective(xs):
        ys = f(xs, valid)
        return jnp.sum(ys.astype(jnp.float32) ** 2), ys

    gradient, ys = jax.eval_shape(jax.grad(objective, has_aux=True), xs)
    assert (gradient.shape, gradient.dtype) == (xs.shape, xs.dtype)
    return ys


@pytest.mark.parametrize(
    "dtype, x64, form",
    [
        ("bfloat16", False, "mask"),
        *[
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("float32", True, "mask"),
                ("float32", True, "segments"),
                ("bfloat16", False, "segments"),
                ("float64", True, "mask"),
                ("float64", True, "segments"),
            ]
        ],
    ],
)
def test_functions_run_under_strict_promotion(dtype, x64, form):
    leading, valid = FORMS[form]
    with jax.enable_x64(x64), jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        xs = jax.ShapeDtypeStruct((*leading, D), dtype)
        for name, f in functions().items():
            with jax.checking_leaks():
                found = shapes(f, xs, valid()).dtype
            assert found in (jnp.dtype(dtype), jnp.promote_types(dtype, dtype) if x64 else jnp.float32), name


@pytest.mark.parametrize("form", [pytest.param("mask", marks=pytest.mark.slow), "segments"])
@pytest.mark.parametrize("name", MODELS)
def test_models_keep_float32_without_leaks(name, form):
    leading, valid = FORMS[form]
    model = MODELS[name]
    with jax.enable_x64(True), jax.checking_leaks():
        variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 2, D), jnp.float32))
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
        variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
        xs = jax.ShapeDtypeStruct((*leading, D), jnp.float32)
        assert shapes(lambda xs, valid: model.apply(variables, xs, valid), xs, valid()).dtype == jnp.float32


@pytest.mark.parametrize("name", [name for name in MODELS if "Transformer" not in name])
@pytest.mark.parametrize(
    "dtype, x64",
    [("bfloat16", False), *[pytest.param(dtype, True, marks=pytest.mark.slow) for dtype in ("float32", "float64")]],
)
def test_models_run_under_strict_promotion(name, dtype, x64):
    model = MODELS[name].clone(dtype=jnp.dtype(dtype))
    with jax.enable_x64(x64), jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        xs = jnp.ones((2, 5, D), jnp.float32)
        variables = jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(model.init, jax.random.key(0), xs)
        )
        found = shapes(lambda xs, valid: model.apply(variables, xs, valid), xs, None).dtype
        assert found == (jnp.float64 if dtype == "float64" else jnp.float32)


def test_float32_results_are_unchanged_with_x64_enabled():
    xs = np.random.default_rng(0).uniform(0, 1, (2, 5, D)).astype(np.float32)
    run = lambda: {
        name: f(jnp.array(xs), None) for name, f in functions().items() if name in ("median", "hard", "powers")
    }
    expected = run()
    with jax.enable_x64(True):
        got = run()
    for name, found in got.items():
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected[name], rtol=1e-6)


def test_some_functions_on_explicit_meshes(run_on_devices):
    run_on_devices(CHECKS, "some_functions")


@pytest.mark.slow
def test_all_functions_on_explicit_meshes(run_on_devices):
    run_on_devices(CHECKS, "all_functions")
