"""Newton method against the sequential method: values, gradients and the fallback without convergence."""

import dataclasses
import functools
import re
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from all_cells import CELLS, gradient, problem

from jaxnets import recurrent
from jaxnets.recurrent import Newton

DENSE, DIAGONAL = Newton(dense=True), Newton(dense=False)
LENGTHS = jnp.array([13, 5, 0])
RESETS = jax.random.bernoulli(jax.random.key(9), 0.2, (3, 13))


@pytest.fixture(autouse=True)
def fail_on_fallback():
    """Fails every test with a sequential fallback that does not expect the warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        yield
        jax.effects_barrier()
    assert not [w for w in caught if '"newton"' in str(w.message)]


def solution(name, params, xs, carry, **options):
    return recurrent.newton_solution(CELLS[name], params, xs, carry, **options)


def scan(name, **options):
    return jax.jit(lambda params, xs, carry: recurrent.scan(CELLS[name], params, xs, carry, **options))


GRADIENTS = [
    ("gru", DENSE, dict(lengths=LENGTHS, resets=RESETS)),
    ("gru", Newton(dense=False, block=5, chunk=5), dict(reverse=True)),
    (
        "lstm",
        Newton(dense=True, block=5, chunk=13, keep="boundaries"),
        dict(lengths=LENGTHS, resets=RESETS, reverse=True),
    ),
    ("lstm", DIAGONAL, dict(lengths=LENGTHS, resets=RESETS)),
    ("elman", Newton(dense=True, keep="boundaries"), {}),
    ("peephole", DIAGONAL, dict(resets=RESETS)),
]


@pytest.mark.parametrize("name, method, options", GRADIENTS, ids=lambda value: value if isinstance(value, str) else "")
def test_gradients_match_autodiff_in_float64(float64, name, method, options):
    arguments = problem(CELLS[name], 13, dtype=jnp.float64)
    wanted = gradient(CELLS[name], method="autodiff", **options)(*arguments)
    got = gradient(CELLS[name], method=method, **options)(*arguments)
    chex.assert_trees_all_close(got, wanted, atol=1e-9, rtol=1e-9)


OTHER_CELLS = {
    "lstm, projection": DENSE,  # carries of two widths
    "mgu": DENSE,
    "layer norm lstm": DIAGONAL,  # not elementwise
    "conv lstm 2-D": DIAGONAL,  # a product that is not a matrix
    "lru": DIAGONAL,  # exact at once: linear, two leaves
    "zoneout": DENSE,  # inputs with masks
    "recurrent dropout": DIAGONAL,  # parameters with batch axes
}


@pytest.mark.parametrize("name, method", OTHER_CELLS.items(), ids=OTHER_CELLS)
def test_newton_matches_sequential_for_other_cells(name, method):
    arguments = problem(CELLS[name], 20)
    got = scan(name, method=method)(*arguments)
    chex.assert_trees_all_close(got, scan(name)(*arguments), atol=1e-5, rtol=1e-5)


def test_linear_cell_converges_in_one_iteration_and_one_check():
    assert solution("min gru", *problem(CELLS["min gru"], 50), method=DIAGONAL).iterations == 2


@functools.cache
def trained_cell(kind):
    """Trains a cell of 8 units for 400 steps on noisy waves; returns the cell, its parameters, and long sequences."""
    cell, noise = getattr(recurrent, kind)(8), 0.1

    def waves(key, batch, length):
        first, second, third = jax.random.split(key, 3)
        speed = jax.random.uniform(first, (batch, 1, 3), minval=0.05, maxval=0.8)
        phase = jax.random.uniform(second, (batch, 1, 3), maxval=2 * np.pi)
        clean = jnp.sin(speed * jnp.arange(length + 1, dtype=jnp.float32)[None, :, None] + phase).sum(-1, keepdims=True)
        return clean + noise * jax.random.normal(third, clean.shape)

    def loss(params, key):
        xs = waves(key, 16, 50)
        ys = recurrent.scan(cell, params["cell"], xs[:, :-1])[1]
        return jnp.mean((ys @ params["out"] - xs[:, 1:]) ** 2)

    optimizer = optax.adam(1e-2)

    @jax.jit
    def train(params):
        def step(state, key):
            params, moments = state
            value, gradients = jax.value_and_grad(loss)(params, key)
            with jax.numpy_dtype_promotion("standard"):  # optax's own arithmetic mixes types
                updates, moments = optimizer.update(gradients, moments)
            return (optax.apply_updates(params, updates), moments), value

        keys = jax.random.split(jax.random.key(1), 400)
        (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), keys)
        return params, losses

    params, losses = train({"cell": cell.init(jax.random.key(0), 1), "out": jnp.zeros((8, 1))})
    assert losses[-50:].mean() < 0.2 * losses[0]  # initially 1.6
    return cell, params["cell"], waves(jax.random.key(2), 4, 999)


@pytest.mark.parametrize("kind, iterations", [("gru", 12), ("lstm", 25)])
def test_convergence_with_trained_weights(kind, iterations):
    cell, params, xs = trained_cell(kind)

    def run(method):
        def f(params, xs):
            ys = recurrent.scan(cell, params, xs, method=method)[1]
            return jnp.mean(jnp.sin(3 * ys)), ys

        return jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(params, xs)

    (_, ys), gradients = run("newton")
    (_, wanted_ys), wanted = run("sequential")
    chex.assert_trees_all_close(ys, wanted_ys, atol=1e-5, rtol=0)
    chex.assert_trees_all_close(gradients, wanted, atol=1e-5, rtol=1e-5)
    found = recurrent.newton_solution(cell, params, xs)
    assert found.converged and found.residual < 3e-6
    assert found.iterations <= iterations


def test_diagonal_converges_with_trained_weights_in_more_iterations():
    cell, params, xs = trained_cell("gru")
    method = dataclasses.replace(DIAGONAL, max_iterations=300, block=250)
    ys = jax.jit(lambda: recurrent.scan(cell, params, xs, method=method)[1])()
    chex.assert_trees_all_close(ys, recurrent.scan(cell, params, xs)[1], atol=1e-5, rtol=0)
    found = jax.jit(lambda: recurrent.newton_solution(cell, params, xs, method=method))()
    assert found.converged and 12 < found.iterations <= 250


def chaotic_problem():
    params, xs, carry = problem(CELLS["elman"], 500)
    return {**params, "recurrent": {"kernel": 5 * params["recurrent"]["kernel"]}}, xs, carry


def test_fallback_without_convergence_is_sequential_with_a_warning():
    arguments = chaotic_problem()
    method = dataclasses.replace(DENSE, max_iterations=20)
    with pytest.warns(RuntimeWarning, match=r'"newton" did not converge in 20 iterations \(residual'):
        got = scan("elman", method=method)(*arguments)
        jax.effects_barrier()
    chex.assert_tree_all_finite(got)
    # Chaos amplifies rounding errors, so that only the first steps are comparable.
    wanted = scan("elman", method="autodiff")(*arguments)[1]
    chex.assert_trees_all_close(got[1][:, :15], wanted[:, :15], atol=1e-5)
    with pytest.warns(RuntimeWarning):
        found = solution("elman", *arguments, method=method)
        jax.effects_barrier()
    assert not found.converged and found.iterations == 20


def test_chaotic_cell_converges_with_as_many_iterations_as_steps(float64):
    params, xs, carry = problem(CELLS["elman"], 20, dtype=jnp.float64)
    params["recurrent"]["kernel"] *= 5
    got = scan("elman", method=dataclasses.replace(DIAGONAL, max_iterations=22, tolerance=1e-5))(params, xs, carry)
    chex.assert_trees_all_close(got, scan("elman")(params, xs, carry), atol=1e-5)


def test_nan_falls_back_to_sequential_with_a_warning():
    params, xs, carry = problem(CELLS["gru"], 9)
    xs = xs.at[1, 4].set(jnp.nan)
    with pytest.warns(RuntimeWarning, match="newton"):
        got = scan("gru", method=Newton(max_iterations=5))(params, xs, carry)
        jax.effects_barrier()
    np.testing.assert_allclose(got[1], scan("gru")(params, xs, carry)[1], atol=1e-6)


def test_batch_axes_time_major_and_checkpoint():
    params, xs, carry = problem(CELLS["lstm"], 11, (2, 3))
    f = lambda p, x, c: recurrent.scan(CELLS["lstm"], p, x, c, method=DENSE, time_major=True)
    time_first = jnp.moveaxis(xs, -2, 0)
    last, ys = jax.jit(jax.checkpoint(f))(params, time_first, carry)
    wanted_last, wanted = scan("lstm")(params, xs, carry)
    chex.assert_trees_all_close((last, jnp.moveaxis(ys, 0, -2)), (wanted_last, wanted), atol=1e-5)
    one = jax.tree.map(lambda a: a[0, 0], carry)
    alone = scan("lstm", method=DIAGONAL)(params, xs[0, 0], one)[1]
    chex.assert_trees_all_close(alone, wanted[0, 0], atol=1e-5)


def test_vmap_matches():
    params, xs, carry = problem(CELLS["gru"], 10)
    rows = jax.jit(jax.vmap(lambda x, c: recurrent.scan(CELLS["gru"], params, x, c, method="newton")))(xs, carry)
    chex.assert_trees_all_close(rows, scan("gru")(params, xs, carry), atol=1e-5)


@pytest.mark.parametrize("length", [0, 1])
def test_zero_steps_and_one_step(length):
    arguments = problem(CELLS["lstm"], length)
    got = recurrent.scan(CELLS["lstm"], *arguments, method="newton")
    chex.assert_trees_all_close(got, recurrent.scan(CELLS["lstm"], *arguments), atol=1e-6)


def test_half_precision_is_close():
    params, xs, carry = problem(CELLS["gru"], 40)
    half = xs.astype(jnp.bfloat16)
    last, ys = scan("gru", method=DENSE)(params, half, carry)
    assert ys.dtype == jnp.bfloat16
    assert last.dtype == jnp.float32
    chex.assert_trees_all_close(last, scan("gru")(params, half, carry)[0], atol=0.01)
    gradients = gradient(CELLS["gru"], method=DIAGONAL)(params, half, carry)[0]
    wanted = gradient(CELLS["gru"])(params, half, carry)[0]
    for got, true in zip(jax.tree.leaves(gradients), jax.tree.leaves(wanted), strict=True):
        assert jnp.linalg.norm(got - true) < 0.03 * jnp.linalg.norm(true) + 0.03


def test_large_row_does_not_affect_the_precision_of_others():
    params, xs, carry = problem(CELLS["elman, identity"], 30, (2,))
    xs = xs.at[1].multiply(1e4)
    got = scan("elman, identity", method=DENSE)(params, xs, carry)
    wanted = scan("elman, identity")(params, xs, carry)
    chex.assert_trees_all_close(got[1][0], wanted[1][0], atol=1e-4, rtol=1e-5)


WRONG = {
    "tolerance": (dict(tolerance=-1), "`tolerance` must be a positive number, got -1"),
    "tolerance as a string": (dict(tolerance="small"), "`tolerance` must be a positive number, got 'small'"),
    "iterations": (dict(max_iterations=0), "`max_iterations` must be an integer of at least 1, got 0"),
    "no iterations": (dict(max_iterations=None), "`max_iterations` must be an integer of at least 1, got None"),
    "block": (dict(block=2.5), "`block` must be an integer of at least 1, got 2.5"),
    "keep": (dict(keep="products"), "`keep` must be one of carries, boundaries, got 'products'"),
}


@pytest.mark.parametrize("options, message", WRONG.values(), ids=WRONG)
def test_wrong_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Newton(**options)


def test_newton_solution_rejects_other_methods():
    arguments = problem(CELLS["gru"], 3)
    with pytest.raises(ValueError, match=r"`method` must be \"newton\" or a Newton\(...\), got 'sequential'"):
        solution("gru", *arguments, method="sequential")


def test_forward_mode_is_rejected():
    params, xs, carry = problem(CELLS["gru"], 3)
    f = lambda x: recurrent.scan(CELLS["gru"], params, x, carry, method="newton")[1]
    with pytest.raises(ValueError, match="forward-mode"):
        jax.jvp(f, (xs,), (xs,))


@pytest.mark.parametrize("keep", ["carries", "boundaries"])
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_gradients_are_equal_for_every_keep(name, keep):
    arguments = problem(CELLS[name], 10)
    got = gradient(CELLS[name], method=Newton(keep=keep, chunk=4))(*arguments)
    chex.assert_trees_all_close(got, gradient(CELLS[name])(*arguments), atol=1e-5)
