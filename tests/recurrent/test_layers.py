"""Stacks, both directions, and their Linen modules."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets import recurrent

LENGTHS = jnp.array([9, 4, 0, 1])
XS = jax.random.normal(jax.random.key(0), (4, 9, 5))
CELL = recurrent.gru(6)
FIRST, SECOND = (CELL.init(jax.random.key(seed), 5) for seed in (1, 2))


def both(xs, **options):
    return recurrent.bidirectional((CELL, CELL), (FIRST, SECOND), xs, **options)


def test_each_direction_of_a_ragged_batch_is_what_it_is_alone():
    (there, back), ys = both(XS, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        short = XS[row : row + 1, :length]
        end, forward = recurrent.scan(CELL, FIRST, short)
        start, flipped = recurrent.scan(CELL, SECOND, short[:, ::-1])
        chex.assert_trees_all_close(ys[row, :length], jnp.concatenate([forward, flipped[:, ::-1]], -1)[0], atol=1e-6)
        chex.assert_trees_all_close((there[row], back[row]), (end[0], start[0]), atol=1e-6)
        assert not np.any(ys[row, length:])


@pytest.mark.parametrize("merge", ["sum", "mean", "max"])
def test_merges(merge):
    _, joined = both(XS, lengths=LENGTHS)
    halves = jnp.split(joined, 2, axis=-1)
    expected = {"sum": halves[0] + halves[1], "mean": (halves[0] + halves[1]) / 2, "max": jnp.maximum(*halves)}
    chex.assert_trees_all_close(both(XS, lengths=LENGTHS, merge=merge)[1], expected[merge])


def test_resets_part_a_row_for_both_directions():
    resets = jnp.zeros((4, 9), bool).at[:, 3].set(True).at[:, 7].set(True)
    _, ys = both(XS, resets=resets)
    pieces = [both(XS[:, a:b])[1] for a, b in ((0, 3), (3, 7), (7, 9))]
    chex.assert_trees_all_close(ys, jnp.concatenate(pieces, axis=1), atol=1e-6)
    time_first = jnp.swapaxes(XS, 0, 1)
    _, again = both(time_first, resets=resets.T, time_major=True)
    chex.assert_trees_all_close(jnp.swapaxes(again, 0, 1), ys, atol=1e-6)
    assert both(XS[:, :0], resets=resets[:, :0])[1].shape == (4, 0, 12)


def layers(*cells, features=5):
    found = []
    for i, cell in enumerate(cells):
        params = cell.init(jax.random.key(i), features)
        found.append(lambda xs, carry, cell=cell, params=params: recurrent.scan(cell, params, xs, carry))
        features = 6
    return found


def test_a_stack_is_one_layer_after_the_other():
    one, two = layers(CELL, CELL)
    (a, b), ys = recurrent.stacked([one, two], XS)
    middle, below = one(XS, None)
    top, expected = two(below, None)
    chex.assert_trees_all_equal((a, b, ys), (middle, top, expected))
    again, _ = recurrent.stacked([one, two], XS, (a, b))
    assert jnp.any(again[0] != a)


def test_residual_connections_join_equal_widths():
    one, two = layers(CELL, CELL)
    _, ys = recurrent.stacked([one, two], XS, connect="residual")
    below = one(XS, None)[1]  # 5 features to 6: nothing to add
    chex.assert_trees_all_close(ys, two(below, None)[1] + below)


def test_skip_connections_show_the_input_to_every_layer():
    one = layers(CELL)[0]
    wide = layers(CELL, features=11)[0]
    _, ys = recurrent.stacked([one, wide], XS, connect="skip")
    below = one(XS, None)[1]
    above = wide(jnp.concatenate([XS, below], -1), None)[1]
    chex.assert_trees_all_close(ys, jnp.concatenate([below, above], -1))


def test_dropout_between_layers_keeps_the_mean_and_needs_a_key():
    identity = lambda xs, carry: ((), xs)
    ones = jnp.ones((8, 50, 20))
    dropped = recurrent.stacked([identity, identity], ones, dropout=0.25, key=jax.random.key(0))[1]
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(1 / 0.75)}
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)
    chex.assert_trees_all_equal(recurrent.stacked([identity, identity], ones, dropout=0.25)[1], ones)


def test_stacked_module_names_its_layers_and_trains_with_dropout():
    module = recurrent.StackedRNN(CELL, num_layers=2, bidirectional=True, dropout=0.5)
    variables = module.init(jax.random.key(0), XS)
    assert set(variables["params"]) == {"layer_0", "layer_1"}
    assert set(variables["params"]["layer_0"]) == {"forward", "backward"}
    carry, ys = module.apply(variables, XS, lengths=LENGTHS)
    chex.assert_shape(ys, (4, 9, 12))
    continued, _ = module.apply(variables, XS, carry, lengths=LENGTHS)
    chex.assert_trees_all_equal_shapes(continued, carry)
    train = lambda seed: module.apply(variables, XS, train=True, rngs={"dropout": jax.random.key(seed)})[1]
    assert jnp.any(train(0) != train(1))


def test_a_linen_layer_works_within_nnx():
    layer = nnx.bridge.ToNNX(recurrent.RNN(recurrent.lstm(6)), rngs=nnx.Rngs(0))
    nnx.bridge.lazy_init(layer, XS)
    (_h, _c), ys = layer(XS, lengths=LENGTHS)
    params = nnx.state(layer)["cell"]
    params = jax.tree.map(jnp.asarray, nnx.to_pure_dict(params))
    chex.assert_trees_all_close(ys, recurrent.scan(recurrent.lstm(6), params, XS, lengths=LENGTHS)[1])
    gradients = nnx.grad(lambda layer: jnp.sum(layer(XS)[1] ** 2))(layer)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradients))


BAD = {
    "merge": (lambda: both(XS, merge="product"), "merge: one of concat, sum, mean, max; given 'product'"),
    "connect": (lambda: recurrent.stacked(layers(CELL), XS, connect="dense"), "connect: plain, residual or skip"),
    "carries": (lambda: recurrent.stacked(layers(CELL), XS, ()), "carry: one per layer, 1, expected; given 0"),
    "dropout": (lambda: recurrent.stacked(layers(CELL), XS, dropout=1.0), "dropout: a probability below 1"),
    "layers": (lambda: recurrent.StackedRNN(CELL, num_layers=0).init(jax.random.key(0), XS), "layers: at least 1"),
    "gru": (lambda: recurrent.gru(3, "between"), "reset: before, after or none; given 'between'"),
    "conv lstm": (lambda: recurrent.conv_lstm(3, (3, 3, 3)), "kernel: one or two sizes expected"),
}


@pytest.mark.parametrize("do, message", BAD.values(), ids=BAD)
def test_what_a_user_gets_wrong_is_told(do, message):
    with pytest.raises(ValueError, match=message):
        do()
