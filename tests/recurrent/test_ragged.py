"""Lengths and resets, for every cell and wrapper."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from all_cells import CELLS, gradient, problem, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets import recurrent

each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
# Tests of the executor are slow tests for cells that are similar to others.
SIMILAR_CELLS = (
    *("elman, identity", "gru, none", "mgu", "lstm, projection", "lstm, coupled"),
    *("layer norm gru", "conv lstm 1-D", "min lstm", "residual", "zoneout"),
)
each_kind = pytest.mark.parametrize(
    "cell",
    [pytest.param(cell, id=name, marks=[pytest.mark.slow] * (name in SIMILAR_CELLS)) for name, cell in CELLS.items()],
)
LENGTHS = np.array([13, 5, 0], np.int32)
RESETS = jax.random.bernoulli(jax.random.key(9), 0.2, (3, 13))


@each_cell
@pytest.mark.parametrize(
    "reverse, keep",
    [
        pytest.param(False, "carries", id="forward"),
        pytest.param(True, "boundaries", id="reverse", marks=pytest.mark.slow),
    ],
)
def test_gradients_match_autodiff_in_float64(float64, cell, reverse, keep):
    arguments = problem(cell, 13, dtype=jnp.float64)
    options = dict(lengths=LENGTHS, resets=RESETS, reverse=reverse)
    expected_gradients = gradient(cell, method="autodiff", **options)(*arguments)
    gradients_found = gradient(cell, method=recurrent.Sequential(5, keep), **options)(*arguments)
    chex.assert_trees_all_close(gradients_found, expected_gradients, atol=1e-11, rtol=1e-11)


@each_kind
def test_every_parameter_has_a_gradient(cell):
    gradients = gradient(cell, lengths=LENGTHS, resets=RESETS)(*problem(cell, 13))
    for path, leaf in jax.tree.leaves_with_path(gradients[0]):
        if "dropout_masks" not in jax.tree_util.keystr(path):
            assert jnp.all(jnp.max(jnp.abs(leaf), axis=-1) > 0), jax.tree_util.keystr(path)


@each_cell
@pytest.mark.parametrize(
    "reverse", [pytest.param(False, id="forward"), pytest.param(True, id="reverse", marks=pytest.mark.slow)]
)
def test_rows_match_single_sequences(cell, reverse):
    params, xs, carry = problem(cell, 13)

    @jax.jit  # compiling one program is four times as fast as compiling every operation
    def batch_and_single_rows():
        single = []
        for row, length in enumerate(LENGTHS.tolist()):
            one = slice(row, row + 1)
            row_params = dict(params)
            if "dropout_masks" in params:
                row_params["dropout_masks"] = rows(params["dropout_masks"], one)
            row_xs = jax.tree.map(lambda a, one=one, length=length: a[one, :length], xs)
            single.append(recurrent.scan(cell, row_params, row_xs, rows(carry, one), reverse=reverse))
        return recurrent.scan(
            cell, params, xs, carry, lengths=LENGTHS, reverse=reverse, method=recurrent.Sequential(5)
        ), single

    (last, ys), single = batch_and_single_rows()
    for row, length in enumerate(LENGTHS.tolist()):
        one = slice(row, row + 1)
        chex.assert_trees_all_close(ys[one, :length], single[row][1], atol=1e-5)
        chex.assert_trees_all_close(rows(last, one), single[row][0], atol=1e-5)
        assert not np.any(ys[row, length:])


@each_kind
def test_nan_padding_has_no_effect(cell):
    params, xs, carry = problem(cell, 13)
    valid = jnp.arange(13)[None] < LENGTHS[:, None]
    x, others = xs if isinstance(xs, tuple) else (xs, None)
    nan_padded = jnp.where(valid.reshape(3, 13, *(1,) * (x.ndim - 2)), x, jnp.nan)
    again = nan_padded if others is None else (nan_padded, others)
    run = jax.jit(lambda xs: recurrent.scan(cell, params, xs, carry, lengths=LENGTHS))
    chex.assert_trees_all_equal(run(again), run(xs))
    f = gradient(cell, lengths=LENGTHS)
    chex.assert_trees_all_equal(f(params, again, carry), f(params, xs, carry))


@each_kind
def test_reset_starts_from_the_initial_carry(cell):
    params, xs, carry = problem(cell, 13)
    resets = jnp.zeros((3, 13), bool).at[:, 6].set(True)

    @jax.jit
    def whole_and_segments():
        segments = (jax.tree.map(lambda a, cut=cut: a[:, cut], xs) for cut in (slice(6), slice(6, None)))
        return (
            recurrent.scan(cell, params, xs, carry, resets=resets, method=recurrent.Sequential(4)),
            recurrent.scan(cell, params, next(segments), carry),
            recurrent.scan(cell, params, next(segments)),
        )

    (last, ys), (_before, first), (end, second) = whole_and_segments()
    chex.assert_trees_all_close(ys, jnp.concatenate([first, second], axis=1), atol=1e-5)
    chex.assert_trees_all_close(last, end, atol=1e-5)


@each_kind
def test_half_precision_keeps_float32_carries_and_gradients(cell):
    params, xs, carry = problem(cell, 13)
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16) if a.dtype == jnp.float32 else a, xs)
    run = jax.jit(lambda xs: recurrent.scan(cell, params, xs, carry, lengths=LENGTHS))
    last, ys = run(half)
    _exact_last, exact = run(xs)
    assert ys.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(last)} == {jnp.dtype(jnp.float32)}
    assert jnp.linalg.norm(ys.astype(jnp.float32) - exact) < 0.1 * jnp.linalg.norm(exact)
    gradients = gradient(cell, lengths=LENGTHS)(params, half, carry)[0]
    expected_gradients = gradient(cell, lengths=LENGTHS)(params, xs, carry)[0]
    for gradients_found, true in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected_gradients), strict=True):
        assert gradients_found.dtype == jnp.float32
        # The tolerance allows rounding errors amplified by norms and kinks; a missing or doubled term exceeds it.
        assert jnp.linalg.norm(gradients_found - true) < 0.2 * jnp.linalg.norm(true) + 0.05


@settings(max_examples=15, deadline=None)
@given(data=st.data(), length=st.integers(1, 20), chunk=st.integers(1, 22), reverse=st.booleans())
def test_any_lengths_and_resets(data, length, chunk, reverse):
    cell = CELLS["gru, after"]
    params, xs, carry = problem(cell, length)
    lengths = jnp.array(data.draw(st.lists(st.integers(0, length), min_size=3, max_size=3)))
    resets = np.array(data.draw(st.lists(st.booleans(), min_size=3 * length, max_size=3 * length))).reshape(3, length)
    options = dict(lengths=lengths, resets=jnp.asarray(resets), reverse=reverse)
    last, ys = recurrent.scan(cell, params, xs, carry, method=recurrent.Sequential(chunk), **options)
    # The definition, one step at a time.
    step = jax.jit(lambda c, x: recurrent.step(cell, params, c, x))
    expected = np.zeros(ys.shape, np.float32)
    state = np.array(carry)
    for row in range(3):
        times = range(int(lengths[row]))
        for t in reversed(times) if reverse else times:
            before = np.zeros_like(state[row]) if resets[row, t] else state[row]
            new, y = step(jnp.asarray(before), xs[row, t])
            state[row], expected[row, t] = new, y
    np.testing.assert_allclose(ys, expected, atol=1e-5)
    np.testing.assert_allclose(last, state, atol=1e-5)


BAD = {
    "lengths of floats": (dict(lengths=jnp.ones(2)), r"`lengths` must be integers of shape \(2,\), got float32"),
    "lengths of another batch": (
        dict(lengths=jnp.ones(3, int)),
        r"of shape \(2,\), got int32 of shape \(3,\)",
    ),
    "lengths out of range": (dict(lengths=jnp.array([3, 9])), "`lengths` must be from 0 to T = 4, got 9"),
    "negative lengths": (dict(lengths=jnp.array([3, -1])), "`lengths` must be from 0 to T = 4, got -1"),
    "resets of integers": (dict(resets=jnp.ones((2, 4), int)), r"`resets` must be bool of shape \(2, 4\), got int32"),
    "resets of another shape": (
        dict(resets=jnp.ones((4, 2), bool)),
        r"\(2, 4\), got bool of shape \(4, 2\)",
    ),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD)
def test_wrong_arguments_are_rejected(arguments, message):
    cell = recurrent.gru(6)
    with pytest.raises(ValueError, match=message):
        recurrent.scan(cell, cell.init(jax.random.key(0), 5), jnp.zeros((2, 4, 5)), **arguments)


def test_step_closing_over_a_tracer_is_rejected():
    plain = recurrent.elman(4)
    params, xs = plain.init(jax.random.key(0), 3), jnp.ones((2, 5, 3))

    def loss(scale):
        def step(rest, h, u, dot):
            h = jnp.tanh(u[0] * scale + dot("kernel", h))
            return h, h

        return jnp.sum(recurrent.scan(plain._replace(step=step), params, xs)[1])

    with pytest.raises(ValueError, match="close over a traced value"):
        jax.grad(loss)(2.0)


def test_forward_mode_is_rejected():
    cell = recurrent.elman(4)
    params, xs = cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3))
    with pytest.raises(ValueError, match='`method` must be "autodiff" for forward-mode derivatives'):
        jax.jvp(lambda xs: recurrent.scan(cell, params, xs)[1], (xs,), (xs,))
