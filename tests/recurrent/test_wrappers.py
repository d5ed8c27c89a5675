"""Wrappers against the definitions of their papers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import recurrent

XS = jax.random.normal(jax.random.key(0), (3, 8, 5))
LSTM = recurrent.lstm(6)
PARAMS = LSTM.init(jax.random.key(1), 5)


def python_loop(step, carry):
    ys = []
    for t in range(8):
        carry, y = step(carry, t)
        ys.append(y)
    return carry, jnp.stack(ys, axis=1)


def test_zoneout_masks_keep_the_old_carry():
    cell = recurrent.zoneout(LSTM, (0.3, 0.6))
    masks = recurrent.zoneout_masks(jax.random.key(2), cell, PARAMS, XS, (0.3, 0.6))

    def step(carry, t):
        new, _ = recurrent.step(LSTM, PARAMS, carry, XS[:, t])
        h, c = (jnp.where(m[:, t], old, new) for m, old, new in zip(masks, carry, new, strict=True))
        return (h, c), h

    expected = python_loop(step, LSTM.carry(PARAMS, XS[:, 0]))
    chex.assert_trees_all_close(recurrent.scan(cell, PARAMS, (XS, masks)), expected, atol=1e-6)


def test_zoneout_without_masks_uses_the_expectation():
    cell = recurrent.zoneout(LSTM, (0.3, 0.6))

    def step(carry, t):
        new, _ = recurrent.step(LSTM, PARAMS, carry, XS[:, t])
        h, c = (r * old + (1 - r) * new for r, old, new in zip((0.3, 0.6), carry, new, strict=True))
        return (h, c), h

    expected = python_loop(step, LSTM.carry(PARAMS, XS[:, 0]))
    chex.assert_trees_all_close(recurrent.scan(cell, PARAMS, XS), expected, atol=1e-6)


def test_zoneout_masks_have_the_given_rates():
    long = jnp.zeros((50, 100, 5))
    h, c = recurrent.zoneout_masks(jax.random.key(0), LSTM, PARAMS, long, (0.1, 0.5))
    chex.assert_shape((h, c), (50, 100, 6))
    assert float(h.mean()) == pytest.approx(0.1, abs=0.01)
    assert float(c.mean()) == pytest.approx(0.5, abs=0.01)
    time_first = recurrent.zoneout_masks(
        jax.random.key(0), LSTM, PARAMS, jnp.swapaxes(long, 0, 1), 0.1, time_major=True
    )
    chex.assert_shape(time_first, (100, 50, 6))


def test_recurrent_dropout_uses_one_mask_for_all_steps():
    gru = recurrent.gru(6)
    params = gru.init(jax.random.key(1), 5)
    masks = recurrent.recurrent_dropout_masks(jax.random.key(2), gru, params, XS, 0.5)
    assert {name: mask.shape for name, mask in masks.items()} == {"gates": (3, 6), "candidate": (3, 6)}
    assert set(np.unique(masks["gates"])) == {0.0, 2.0}
    cell = recurrent.recurrent_dropout(gru)
    source, weights = params["input"], params["recurrent"]

    def step(h, t):
        dot = lambda name, h: (h * masks[name]) @ weights[name]
        return gru.step({}, h, gru.project(source, XS[:, t]), dot)

    expected = python_loop(step, jnp.zeros((3, 6)))
    chex.assert_trees_all_close(recurrent.scan(cell, {**params, "dropout_masks": masks}, XS), expected, atol=1e-6)
    chex.assert_trees_all_equal(recurrent.scan(cell, params, XS), recurrent.scan(gru, params, XS))


def test_residual_adds_the_input():
    cell = recurrent.gru(5)
    params = cell.init(jax.random.key(1), 5)
    chex.assert_trees_all_close(
        recurrent.scan(recurrent.residual(cell), params, XS)[1], recurrent.scan(cell, params, XS)[1] + XS
    )
    with pytest.raises(ValueError, match="residual: the shapes of input and output must be equal"):
        recurrent.scan(recurrent.residual(LSTM), PARAMS, XS)


def test_learned_carry_starts_every_row_and_every_reset():
    cell = recurrent.learned_carry(LSTM)
    params = cell.init(jax.random.key(1), 5)
    chex.assert_trees_all_equal(recurrent.scan(cell, params, XS), recurrent.scan(LSTM, PARAMS, XS))
    params["carry"] = jax.tree.map(lambda a: a + 0.5, params["carry"])
    given = jax.tree.map(lambda a: jnp.full((3, 6), 0.5), params["carry"])
    chex.assert_trees_all_close(recurrent.scan(cell, params, XS), recurrent.scan(LSTM, PARAMS, XS, given))
    resets = jnp.zeros((3, 8), bool).at[:, 5].set(True)
    chex.assert_trees_all_close(
        recurrent.scan(cell, params, XS, resets=resets)[1][:, 5:],
        recurrent.scan(cell, params, XS[:, 5:])[1],
        atol=1e-6,
    )
    with pytest.raises(ValueError, match="`cell` of learned_carry must have inputs"):
        recurrent.learned_carry(recurrent.conv_lstm(3))


def test_wrappers_compose():
    inner = recurrent.gru(5)
    cell = recurrent.learned_carry(recurrent.residual(recurrent.zoneout(inner, 0.2)))
    params = cell.init(jax.random.key(1), 5)
    masks = recurrent.zoneout_masks(jax.random.key(2), inner, params, XS, 0.2)
    _, ys = recurrent.scan(cell, params, (XS, masks))
    _, plain = recurrent.scan(recurrent.zoneout(inner, 0.2), params, (XS, masks))
    chex.assert_trees_all_close(ys, plain + XS, atol=1e-6)


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_rate_outside_of_the_unit_interval_is_rejected(rate):
    with pytest.raises(ValueError, match="`rate` must be a number from 0 to"):
        recurrent.zoneout(LSTM, rate)
    with pytest.raises(ValueError, match=r"`rate` must be a number in \[0, 1\)"):
        recurrent.recurrent_dropout_masks(jax.random.key(0), LSTM, PARAMS, XS, rate)


def test_wrong_number_of_rates_is_rejected():
    with pytest.raises(ValueError, match="`rate` must be one number or a tuple of 2"):
        recurrent.zoneout_masks(jax.random.key(0), LSTM, PARAMS, XS, (0.1, 0.2, 0.3))
