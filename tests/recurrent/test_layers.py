"""Bidirectional scans, stacks, and their Linen modules."""

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


def run_both(xs, **options):
    return recurrent.bidirectional((CELL, CELL), (FIRST, SECOND), xs, **options)


def test_bidirectional_respects_lengths():
    (forward_last, backward_last), ys = run_both(XS, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        short = XS[row : row + 1, :length]
        end, forward = recurrent.scan(CELL, FIRST, short)
        start, flipped = recurrent.scan(CELL, SECOND, short[:, ::-1])
        chex.assert_trees_all_close(ys[row, :length], jnp.concatenate([forward, flipped[:, ::-1]], -1)[0], atol=1e-6)
        chex.assert_trees_all_close((forward_last[row], backward_last[row]), (end[0], start[0]), atol=1e-6)
        assert not np.any(ys[row, length:])


@pytest.mark.parametrize("merge", ["sum", "mean", "max"])
def test_merge_combines_both_directions(merge):
    _, joined = run_both(XS, lengths=LENGTHS)
    halves = jnp.split(joined, 2, axis=-1)
    expected = {"sum": halves[0] + halves[1], "mean": (halves[0] + halves[1]) / 2, "max": jnp.maximum(*halves)}
    chex.assert_trees_all_close(run_both(XS, lengths=LENGTHS, merge=merge)[1], expected[merge])


def test_resets_separate_segments_in_both_directions():
    resets = jnp.zeros((4, 9), bool).at[:, 3].set(True).at[:, 7].set(True)
    _, ys = run_both(XS, resets=resets)
    segments = [run_both(XS[:, a:b])[1] for a, b in ((0, 3), (3, 7), (7, 9))]
    chex.assert_trees_all_close(ys, jnp.concatenate(segments, axis=1), atol=1e-6)
    time_first = jnp.swapaxes(XS, 0, 1)
    _, swapped = run_both(time_first, resets=resets.T, time_major=True)
    chex.assert_trees_all_close(jnp.swapaxes(swapped, 0, 1), ys, atol=1e-6)
    assert run_both(XS[:, :0], resets=resets[:, :0])[1].shape == (4, 0, 12)


def layers(*cells, features=5):
    found = []
    for i, cell in enumerate(cells):
        params = cell.init(jax.random.key(i), features)
        found.append(lambda xs, carry, cell=cell, params=params: recurrent.scan(cell, params, xs, carry))
        features = 6
    return found


def test_stacked_applies_layers_in_sequence():
    one, two = layers(CELL, CELL)
    (a, b), ys = recurrent.stacked([one, two], XS)
    middle, below = one(XS, None)
    top, expected = two(below, None)
    chex.assert_trees_all_equal((a, b, ys), (middle, top, expected))
    swapped, _ = recurrent.stacked([one, two], XS, (a, b))
    assert jnp.any(swapped[0] != a)


def test_residual_connections_add_equal_shapes():
    one, two = layers(CELL, CELL)
    _, ys = recurrent.stacked([one, two], XS, connect="residual")
    below = one(XS, None)[1]  # 5 features to 6: nothing to add
    chex.assert_trees_all_close(ys, two(below, None)[1] + below)


def test_skip_connections_pass_the_input_to_every_layer():
    one = layers(CELL)[0]
    wide = layers(CELL, features=11)[0]
    _, ys = recurrent.stacked([one, wide], XS, connect="skip")
    below = one(XS, None)[1]
    above = wide(jnp.concatenate([XS, below], -1), None)[1]
    chex.assert_trees_all_close(ys, jnp.concatenate([below, above], -1))


def test_dropout_preserves_the_mean_and_requires_a_key():
    identity = lambda xs, carry: ((), xs)
    ones = jnp.ones((8, 50, 20))
    dropped = recurrent.stacked([identity, identity], ones, dropout=0.25, key=jax.random.key(0))[1]
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(1 / 0.75)}
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)
    chex.assert_trees_all_equal(recurrent.stacked([identity, identity], ones, dropout=0.25)[1], ones)


def test_stacked_rnn_names_layers_and_applies_dropout():
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


def test_rnn_works_in_nnx():
    layer = nnx.bridge.ToNNX(recurrent.RNN(recurrent.lstm(6)), rngs=nnx.Rngs(0))
    nnx.bridge.lazy_init(layer, XS)
    (_h, _c), ys = layer(XS, lengths=LENGTHS)
    params = nnx.state(layer)["cell"]
    params = jax.tree.map(jnp.asarray, nnx.to_pure_dict(params))
    chex.assert_trees_all_close(ys, recurrent.scan(recurrent.lstm(6), params, XS, lengths=LENGTHS)[1])
    gradients = nnx.grad(lambda layer: jnp.sum(layer(XS)[1] ** 2))(layer)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradients))


BAD = {
    "merge": (lambda: run_both(XS, merge="product"), "`merge` must be one of concat, sum, mean, max, got 'product'"),
    "connect": (
        lambda: recurrent.stacked(layers(CELL), XS, connect="dense"),
        "`connect` must be one of plain, residual, skip",
    ),
    "carries": (lambda: recurrent.stacked(layers(CELL), XS, ()), r"`carry` must have one item per layer \(1\), got 0"),
    "dropout": (
        lambda: recurrent.stacked(layers(CELL), XS, dropout=1.0),
        r"`dropout` must be a number in \[0, 1\)",
    ),
    "layers": (
        lambda: recurrent.StackedRNN(CELL, num_layers=0).init(jax.random.key(0), XS),
        "`num_layers` must be an integer of at least 1",
    ),
    "gru": (lambda: recurrent.gru(3, "between"), "`reset` must be before, after or none, got 'between'"),
    "conv lstm": (lambda: recurrent.conv_lstm(3, (3, 3, 3)), "`kernel_size` must be a tuple of one or two integers"),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD)
def test_wrong_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
