"""Recurrent functions in modes of JAX: x64, strict promotion, tracer leak checks and explicit meshes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from all_cells import CELLS, D, gradient, problem

from jaxnets import decoding, recurrent

LENGTHS = np.array([6, 2, 0])
RESETS = jnp.zeros((3, 6), bool).at[:, 3].set(True)


def methods(cell):
    return ("sequential", "newton", "autodiff", *(["associative"] * isinstance(cell.step, recurrent.LinearStep)))


# Cells that differ most; the others are slow tests.
FAST = ("elman", "gru, after", "lru", "zoneout", "recurrent dropout")
CASES = [
    pytest.param(name, method, marks=[pytest.mark.slow] * (name not in FAST or method in ("newton", "associative")))
    for name, cell in CELLS.items()
    for method in methods(cell)
]


def cast(tree, dtype):
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


@pytest.mark.parametrize("name, method", CASES)
def test_float32_inputs_with_x64_enabled(float64, name, method):
    """Carries and outputs are float32, and gradients have the dtype of their argument."""
    cell = CELLS[name]
    params, xs, carry = problem(cell, 6)
    options = dict(lengths=LENGTHS, resets=RESETS, method=method)
    assert {leaf.dtype for leaf in jax.tree.leaves(cell.init(jax.random.key(0), D))} == {jnp.dtype("float32")}
    run = jax.jit(lambda params, xs, carry: recurrent.scan(cell, params, xs, carry, **options))
    for dtype in (jnp.float64, jnp.float32):
        wide = cast(params, dtype)
        last, ys = run(wide, xs, carry)
        assert {leaf.dtype for leaf in jax.tree.leaves((last, ys))} == {jnp.dtype("float32")}
        found = gradient(cell, **options)(wide, xs, carry)
        assert {leaf.dtype for leaf in jax.tree.leaves(found[0]) if leaf.dtype != bool} == {jnp.dtype(dtype)}
        assert {leaf.dtype for leaf in jax.tree.leaves(found[1:])} == {jnp.dtype("float32")}
    exact = recurrent.scan(cell, *cast((params, xs, carry), jnp.float64), **{**options, "method": "autodiff"})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), (last, ys), exact)


LAYERS = {
    "RNN": (recurrent.RNN(CELLS["lstm"]), {}),
    "BidirectionalRNN": (recurrent.BidirectionalRNN(CELLS["lru"]), {}),
    "StackedRNN": (
        recurrent.StackedRNN(CELLS["gru"], 2, bidirectional=True, connect="skip", dropout=0.5),
        {"train": True},
    ),
    "SequenceModel": (recurrent.SequenceModel(2, hidden_size=4, pooling="attention"), {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_x64_enabled(float64, name):
    module, options = LAYERS[name]
    xs = jnp.ones((3, 6, D), jnp.float32)
    rngs = {"dropout": jax.random.key(1)}
    apply = lambda variables: module.apply(variables, xs, lengths=LENGTHS, rngs=rngs, **options)
    variables = jax.jit(module.init)(jax.random.key(0), xs)
    found = jax.eval_shape(apply, variables)
    gradients = jax.eval_shape(jax.grad(lambda v: sum(jnp.sum(a) for a in jax.tree.leaves(apply(v)))), variables)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, found, gradients))} == {jnp.dtype("float32")}


def test_decoding_with_x64_enabled(float64):
    step = lambda carry, token: (carry + 1, jnp.arange(5, dtype=jnp.float32) * carry)
    assert decoding.sample(step, jnp.float32(0), 0, jax.random.key(0), max_length=3).dtype == jnp.int32
    best = decoding.beam_search(step, jnp.float32(0), 0, end_token=1, num_beams=2, max_length=3)
    assert (best.tokens.dtype, best.scores.dtype) == (jnp.int32, jnp.float32)


@pytest.mark.parametrize(
    "name, dtype",
    [
        pytest.param(name, dtype, marks=[pytest.mark.slow] * (name not in FAST))
        for name in CELLS
        for dtype in ("float32", "bfloat16")
    ],
)
def test_strict_promotion(name, dtype):
    """Cells are only traced, which is sufficient for promotion errors."""
    cell = CELLS[name]
    params, xs, carry = problem(cell, 6)
    params, xs = params, cast(xs, dtype)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        for method in methods(cell):
            found = gradient(cell, lengths=LENGTHS, resets=RESETS, method=method)
            jax.eval_shape(found, params, xs, carry)
        jax.eval_shape(lambda p, x: recurrent.step(cell, p, None, x), params, jax.tree.map(lambda a: a[:, 0], xs))


@pytest.mark.parametrize("name, method", [("lstm", "sequential"), ("lru", "associative"), ("gru", "newton")])
def test_no_tracer_leaks(name, method):
    with jax.checking_leaks():
        jax.eval_shape(gradient(CELLS[name], lengths=LENGTHS, method=method), *problem(CELLS[name], 6))


@pytest.mark.slow(seconds=60)
def test_explicit_meshes(run_on_devices):
    run_on_devices(Path(__file__).parent / "checks_of_explicit_meshes.py", "every_cell", "layers")
