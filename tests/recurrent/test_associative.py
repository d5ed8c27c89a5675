"""Associative method against the sequential method and autodiff, for cells that are linear in their state."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from all_cells import CELLS, problem, wide
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets import recurrent
from jaxnets.recurrent import Associative
from jaxnets.recurrent.executors import associative

LINEAR = ("min gru", "min lstm", "lru")
each_cell = pytest.mark.parametrize("name", LINEAR)
LENGTHS = jnp.array([13, 5, 0])
RESETS = jax.random.bernoulli(jax.random.key(9), 0.2, (3, 13))
OPTIONS = {
    "plain": (Associative(), {}),
    "plain, in blocks": (Associative(5), {}),
    "reverse": (Associative(5, "boundaries"), dict(reverse=True)),
    "ragged": (Associative(4), dict(lengths=LENGTHS)),
    "resets": (Associative(), dict(resets=RESETS)),
    "all": (Associative(5, "boundaries"), dict(lengths=LENGTHS, resets=RESETS, reverse=True)),
}


def run(name, arguments, **options):
    return recurrent.scan(CELLS[name], *arguments, **options)


def results_and_gradients(name, **options):
    """Returns a compiled function from params, xs and carry to all gradients, the last carry and the outputs."""

    def f(*arguments):
        last, ys = recurrent.scan(CELLS[name], *arguments, **options)
        weights = jnp.cos(jnp.arange(ys.size, dtype=wide(ys))).reshape(ys.shape)
        return jnp.sum(weights * (ys**2).astype(weights.dtype)) + sum(
            jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(last)
        ), (last, ys)

    return jax.jit(jax.grad(f, (0, 1, 2), has_aux=True))


@each_cell
@pytest.mark.parametrize("method, options", OPTIONS.values(), ids=OPTIONS)
def test_results_and_gradients_match_autodiff(float64, name, method, options):
    arguments = problem(CELLS[name], 13, dtype=jnp.float64)
    got = results_and_gradients(name, method=method, **options)(*arguments)
    wanted = results_and_gradients(name, method="autodiff", **options)(*arguments)
    chex.assert_trees_all_close(got, wanted, atol=1e-10, rtol=1e-10)
    chex.assert_trees_all_equal_dtypes(got, wanted)


@each_cell
@pytest.mark.parametrize("batch, time_major", [((), False), ((1,), True), ((2, 3), False), ((2, 3), True)], ids=str)
def test_batch_axes(name, batch, time_major):
    params, xs, carry = problem(CELLS[name], 11, batch)
    if time_major:
        xs = jnp.moveaxis(xs, -2, 0)
    options = dict(lengths=jnp.full(batch, 9), resets=jnp.zeros(xs.shape[:-1], bool), time_major=time_major)
    got = results_and_gradients(name, method=Associative(4), **options)(params, xs, carry)
    chex.assert_trees_all_close(got, results_and_gradients(name, **options)(params, xs, carry), atol=1e-4)


@each_cell
@pytest.mark.parametrize("length", [0, 1])
def test_zero_steps_and_one_step(float64, name, length):
    arguments = problem(CELLS[name], length, dtype=jnp.float64)
    got = results_and_gradients(name, method="associative")(*arguments)
    chex.assert_trees_all_close(got, results_and_gradients(name)(*arguments), atol=1e-12)


@functools.cache
def compiled(name, method, reverse):
    options = dict(method=method, reverse=reverse)
    return jax.jit(lambda a, lengths, resets: run(name, a, lengths=lengths, resets=resets, **options))


@settings(max_examples=30, deadline=None)
@given(data=st.data(), name=st.sampled_from(["min gru", "lru"]), reverse=st.booleans())
def test_any_lengths_and_resets(data, name, reverse):
    lengths = jnp.array(data.draw(st.lists(st.integers(0, 13), min_size=3, max_size=3)))
    resets = jnp.array(data.draw(st.lists(st.booleans(), min_size=39, max_size=39))).reshape(3, 13)
    arguments = problem(CELLS[name], 13), lengths, resets
    got = compiled(name, Associative(5), reverse)(*arguments)
    chex.assert_trees_all_close(got, compiled(name, "autodiff", reverse)(*arguments), atol=1e-5)


@each_cell
def test_nan_padding_has_no_effect(name):
    params, xs, carry = problem(CELLS[name], 13)
    nan_padded = jnp.where((jnp.arange(13)[None] < LENGTHS[:, None])[..., None], xs, jnp.nan)
    f = results_and_gradients(name, method="associative", lengths=LENGTHS)
    chex.assert_trees_all_equal(f(params, nan_padded, carry), f(params, xs, carry))


@each_cell
def test_half_precision_keeps_float32_states(name):
    params, xs, carry = problem(CELLS[name], 13)
    half = xs.astype(jnp.bfloat16)
    got, (last, ys) = results_and_gradients(name, method="associative", lengths=LENGTHS)(params, half, carry)
    wanted, (same_last, same) = results_and_gradients(name, lengths=LENGTHS)(params, half, carry)
    assert ys.dtype == jnp.bfloat16
    chex.assert_trees_all_equal_dtypes(last, carry)
    chex.assert_trees_all_close(last, same_last, atol=1e-5)
    chex.assert_trees_all_close(ys, same, atol=0.02)
    chex.assert_trees_all_equal_dtypes(got, wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert jnp.linalg.norm((a - b).astype(jnp.float32)) < 0.03 * jnp.linalg.norm(b.astype(jnp.float32)) + 0.03


@each_cell
def test_vmap_matches(name):
    params, xs, carry = problem(CELLS[name], 10)
    one = lambda x, c: recurrent.scan(CELLS[name], params, x, c, method=Associative(4))
    chex.assert_trees_all_close(jax.jit(jax.vmap(one))(xs, carry), run(name, (params, xs, carry)), atol=1e-6)


def scaled_error(got, wanted):
    """Returns the largest difference of two trees, relative to the largest element of each leaf."""
    error = lambda a, b: float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
    return max(jax.tree.leaves(jax.tree.map(error, got, wanted)))


# A state that remembers 1000 steps is sensitive to the rounding of lambda in float32. Both the sequential and the
# associative method differ from float64 by 3e-5.
@pytest.mark.parametrize("name, tolerance", [("min gru", 1e-5), ("min lstm", 1e-5), ("lru", 1e-4)])
def test_a_hundred_thousand_steps(name, tolerance):
    arguments = problem(CELLS[name], 100_000, (1,))
    if name == "lru":
        arguments[0]["log_decay"] = jnp.log(-jnp.log(jnp.array([0.9, 0.99, 0.999, 0.999])))
    wanted, (last, ys) = results_and_gradients(name)(*arguments)
    gradients, states = results_and_gradients(name, method=Associative(keep="boundaries"))(*arguments)
    assert scaled_error(states, (last, ys)) < tolerance
    assert scaled_error(gradients, wanted) < tolerance


def test_memory_is_that_of_one_block():
    def temporary_bytes(length, method):
        shapes = jax.eval_shape(lambda: problem(CELLS["min gru"], length, (2,)))
        compiled = jax.jit(jax.grad(objective(method))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    def objective(method):
        return lambda *a: jnp.sum(recurrent.scan(CELLS["min gru"], *a, method=method)[1] ** 2)

    assert temporary_bytes(8192, Associative(256, "boundaries")) < temporary_bytes(8192, Associative(8192)) / 3


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="blocks are larger elsewhere")
def test_blocks_fit_into_the_cache_and_are_even():
    small, large = jnp.zeros((1, 64)), (jnp.zeros((8, 128)),) * 2
    assert associative.block_length(0, small) == 1
    assert associative.block_length(700, small) == 700
    assert associative.block_length(65536, small) == 1024
    assert associative.block_length(1000, large) == 25  # a divisor
    assert associative.block_length(1009, large) == 32  # a prime number
    assert associative.block_length(10, jnp.zeros((2, 2**17))) == 1


@pytest.mark.parametrize("name", LINEAR)
def test_residual_and_learned_carry_are_linear(name):
    plain = {"min gru": recurrent.min_gru, "min lstm": recurrent.min_lstm, "lru": recurrent.lru}[name](5)
    cell = recurrent.learned_carry(recurrent.residual(plain))
    params = cell.init(jax.random.key(0), 5)
    params["carry"] = jax.tree.map(lambda a: a + 0.5, params["carry"])
    xs = jax.random.normal(jax.random.key(1), (3, 13, 5))

    def loss(params, xs, method):
        last, ys = recurrent.scan(cell, params, xs, lengths=LENGTHS, resets=RESETS, method=method)
        return jnp.sum(ys**2) + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(last)), (last, ys)

    f = jax.jit(jax.grad(loss, (0, 1), has_aux=True), static_argnums=2)
    chex.assert_trees_all_close(f(params, xs, "associative"), f(params, xs, "autodiff"), atol=2e-5)
    assert np.any(jax.tree.leaves(f(params, xs, "associative")[0][0]["carry"])[0])


NOT_LINEAR = {
    "zoneout": recurrent.zoneout(recurrent.min_gru(6), 0.2),
    "recurrent dropout": recurrent.recurrent_dropout(recurrent.lru(6)),
    "residual of zoneout": recurrent.residual(recurrent.zoneout(recurrent.min_gru(6), 0.2)),
    "another step": recurrent.lru(6)._replace(step=lambda rest, s, u, dot: (s, s[0])),
    "gru": recurrent.gru(6),
}


@pytest.mark.parametrize("cell", NOT_LINEAR.values(), ids=NOT_LINEAR)
def test_nonlinear_cell_is_rejected(cell):
    params = cell.init(jax.random.key(0), 6)
    for length in (0, 4):
        with pytest.raises(
            ValueError, match='`cell` of method "associative" must be linear in its state, such as min_gru'
        ):
            recurrent.scan(cell, params, jnp.zeros((2, length, 6)), method="associative")


def test_custom_linear_step():
    """A cell with a decay without batch axes, a custom product, and an output that depends on u and on parameters."""

    def output(rest, s, u, dot):
        mixed = dot("mix", s)
        return jnp.broadcast_to(rest["scale"], mixed.shape) * mixed + u

    cell = recurrent.Cell(
        init=lambda key, features: {
            "input": {"kernel": jax.random.normal(key, (features, 4))},
            "recurrent": {"mix": jax.random.normal(key, (4, 4))},
            "scale": jnp.full(4, 0.3),
            "decay": jnp.array([0.1, 0.5, 0.9, -0.7]),
        },
        carry=lambda params, x: jnp.zeros((*x.shape[:-1], 4)),
        project=lambda params, xs: recurrent.matmul(params["kernel"], xs),
        step=recurrent.LinearStep(lambda rest, u: (rest["decay"], jnp.tanh(u)), output),
        product=lambda w, h: h @ (w / jnp.linalg.norm(w, axis=0, keepdims=True)),
    )
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (2, 17, 3))
    loss = lambda params, xs, **options: jnp.sum(jnp.sin(recurrent.scan(cell, params, xs, **options)[1]))
    for options in ({}, dict(resets=jnp.ones((2, 17), bool).at[:, 3:9].set(False))):
        wanted = jax.grad(loss, (0, 1))(params, xs, method="autodiff", **options)
        for method in (recurrent.Sequential(6), Associative(6)):
            got = jax.grad(loss, (0, 1))(params, xs, method=method, **options)
            chex.assert_trees_all_close(got, wanted, atol=1e-5)


def test_forward_mode_is_rejected():
    params, xs, carry = problem(CELLS["min gru"], 5)
    f = lambda xs: run("min gru", (params, xs, carry), method="associative")[1]
    with pytest.raises(ValueError, match='`method` must be "autodiff" for forward-mode derivatives'):
        jax.jvp(f, (xs,), (xs,))
