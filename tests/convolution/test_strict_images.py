"""Modules and functions under the strict modes of JAX (x64, rank and dtype promotion, leaks), and explicit meshes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from public_calls import AUGMENTATIONS, BLOCKS, FUNCTIONS, MODELS, train

from jaxnets.convolution import adaptive_average_pool, attention_gate, max_pool

MODULES = {**MODELS, **BLOCKS}
CALLS = {**FUNCTIONS, **AUGMENTATIONS}
QUICK = ("LeNet5", "TCN", "BatchNorm", "ConvNorm", "ConvHighwayLayer", "DenseLayer", "SqueezeExcite")


def trace_module(name, dtype, sharding=None):
    """Shapes of a module's output in training, in evaluation, and of its gradients, statistics and variables."""
    module, apply = train(name)
    if "dtype" in vars(module):
        module = module.clone(dtype=dtype)
        apply = lambda variables, x: module.apply(
            variables, x, **options, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)}
        )
        options = {"train": True} if "train" in type(module).__call__.__wrapped__.__code__.co_varnames else {}
    x = jax.ShapeDtypeStruct((8, *MODULES[name][1]), dtype, sharding=sharding)
    first = jax.ShapeDtypeStruct(x.shape, dtype)
    variables = dict(jax.eval_shape(module.init, jax.random.key(0), first))
    params = variables.pop("params", {})

    def loss(params, variables, x):
        y, updated = apply({**variables, "params": params}, x)
        return sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(y)), (y, updated)

    gradients, (y, updated) = jax.eval_shape(jax.grad(loss, has_aux=True), params, variables, x)
    evaluated = jax.eval_shape(module.apply, {**variables, "params": params}, x)
    return y, evaluated, (gradients, updated, params, variables)


def trace_function(name, dtype, sharding=None):
    function, shape = CALLS[name]
    x = jax.ShapeDtypeStruct((8, *shape), dtype, sharding=sharding)
    return jax.eval_shape(lambda x: (lambda y, vjp: (y, *vjp(y)))(*jax.vjp(function, x)), x)


@pytest.fixture
def strict():
    with (
        jax.enable_x64(True),
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        jax.checking_leaks(),
    ):
        yield


dtypes = lambda tree: {leaf.dtype for leaf in jax.tree.leaves(tree)}
quick_first = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MODULES]


@pytest.mark.parametrize("name", quick_first)
def test_modules_stay_in_float32(name, strict):
    assert dtypes(trace_module(name, jnp.float32)) == {jnp.dtype("float32")}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_modules_compute_in_bfloat16_with_float32_parameters(name, strict):
    y, evaluated, state = trace_module(name, jnp.bfloat16)
    assert dtypes(y) == dtypes(evaluated) == {jnp.dtype("float32" if name in MODELS else "bfloat16")}
    assert dtypes(state) <= {jnp.dtype("float32")}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float64])
@pytest.mark.parametrize("name", CALLS)
def test_functions_preserve_the_dtype(name, dtype, strict):
    assert dtypes(trace_function(name, dtype)) == {jnp.dtype(dtype)}


@pytest.mark.slow
def test_outputs_on_an_explicit_mesh(run_on_devices):
    run_on_devices(
        Path(__file__).with_name("device_checks.py"),
        "outputs_are_sharded_by_batch",
        "batch_norm_is_exact_far_from_zero",
    )


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_nonfinite_pixels_affect_only_their_windows(value):
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 2)).astype(np.float32)
    x[1, 3, 2, 0] = value
    clean = np.where(np.isfinite(x), x, 0)
    # The central window of 3 x 3 has rows 2 to 4 and columns 2 to 3, as in torch's AdaptiveAvgPool2d.
    found, expected = (np.array(adaptive_average_pool(jnp.asarray(a), 3)) for a in (x, clean))
    expected[1, 1, 1, 0] = value
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    found, expected = (np.array(max_pool(jnp.asarray(a), 2, 2)) for a in (x, clean))
    expected[1, 1, 1, 0] = x[1, 2:4, 2:4, 0].max()  # NaN for NaN
    np.testing.assert_array_equal(found, expected)
    gate = np.full_like(x, -np.inf)
    np.testing.assert_array_equal(attention_gate(gate, x), x)
