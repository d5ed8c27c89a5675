"""Synthetic memory problems: the targets follow from the inputs as the papers define them."""

import numpy as np
import pytest

from jaxnets import data


@pytest.mark.parametrize("length", [2, 3, 50, 401])
def test_adding_marks_one_number_in_each_half(length):
    batch = data.adding(length, batch_size=200).train[5]
    values, markers = batch["inputs"][..., 0], batch["inputs"][..., 1]
    assert (markers[:, : length // 2].sum(1) == 1).all()
    assert (markers[:, length // 2 :].sum(1) == 1).all()
    np.testing.assert_allclose((values * markers).sum(1), batch["targets"][:, 0], rtol=1e-6)
    assert 0 <= values.min() <= values.max() < 1


def test_constant_predictions_have_the_published_error():
    targets = np.concatenate([data.adding(10, batch_size=500).train[i]["targets"] for i in range(40)])
    assert np.mean((targets - 1) ** 2) == pytest.approx(1 / 6, rel=0.02)


@pytest.mark.parametrize("delay, symbols", [(1, 1), (5, 3), (100, 10)])
def test_copying_targets_are_the_first_symbols(delay, symbols):
    batch = data.copying(delay, symbols, batch_size=20).train[0]
    tokens = batch["inputs"].argmax(-1)
    assert batch["inputs"].shape == (20, 2 * symbols + delay, 10)
    assert (batch["inputs"].sum(-1) == 1).all()
    np.testing.assert_array_equal(batch["targets"][batch["mask"]].reshape(20, symbols), tokens[:, :symbols])
    assert (batch["mask"] == (np.arange(tokens.shape[1]) >= symbols + delay)).all()
    assert (tokens[:, symbols + delay - 1] == 8).all()
    assert (np.delete(tokens[:, symbols:], delay - 1, axis=1) == 9).all()


@pytest.mark.parametrize("length", [20, 100, 137])
def test_temporal_order_targets_are_the_order_of_x_and_y(length):
    dataset = data.temporal_order(length, batch_size=100)
    batch = dataset.train[2]
    for row, target in zip(batch["inputs"].argmax(-1), batch["targets"], strict=True):
        steps = np.flatnonzero((row == 4) | (row == 5))
        assert len(steps) == 2
        assert length // 10 <= steps[0] < 2 * (length // 10)
        assert 5 * (length // 10) <= steps[1] < 6 * (length // 10)
        assert "".join("XY"[row[i] - 4] for i in steps) == dataset.spec.names[target]
        assert (row[0], row[-1]) == (6, 7)


def test_batches_depend_only_on_seed_split_and_step():
    first, again, other = data.adding(9, 4, seed=1), data.adding(9, 4, seed=1), data.adding(9, 4, seed=2)
    same = lambda a, b: (a["inputs"] == b["inputs"]).all()
    assert same(first.train[7], again.train[7])
    assert not same(first.train[7], first.train[8])
    assert not same(first.train[7], other.train[7])
    assert not same(first.train[0], first.splits["validation"][0])
    assert same(first.splits["test"][0], other.splits["test"][0])
    assert not same(first.splits["test"][0], data.adding(9, 4, seed=0).train[0])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: data.adding(1), "`length` must be an integer of at least 2, got 1"),
        (lambda: data.copying(0), "`delay` must be an integer of at least 1, got 0"),
        (lambda: data.copying(symbols=0), "`symbols` must be an integer of at least 1, got 0"),
        (lambda: data.temporal_order(19), "`length` must be an integer of at least 20, got 19"),
        (lambda: data.adding(batch_size=0), "`batch_size` must be an integer of at least 1, got 0"),
        (lambda: data.adding(seed=-1), "`seed` must be an integer of at least 0, got -1"),
    ],
)
def test_invalid_arguments_are_rejected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
