"""Batches of rows of similar length: every row once, few lengths, a pure function of seed and step."""

import numpy as np
import pytest

from jaxnets.data.sources.texts.buckets import Ragged, bucket_lengths, bucketed, bucketed_once, plan

RANDOM = np.random.default_rng(0)
LENGTHS = np.concatenate([[0, 0, 1], RANDOM.integers(0, 41, 100)]).astype(np.int32)
ROWS = [np.full(length, row + 1, np.int32) for row, length in enumerate(LENGTHS)]
ARRAYS = {"inputs": Ragged.of(ROWS), "targets": np.arange(len(ROWS))}
BUCKETS = bucket_lengths(40, 3)


def test_lengths_are_halved():
    assert BUCKETS == (10, 20, 40)
    assert bucket_lengths(40, 1) == (40,)
    assert bucket_lengths(7, 99) == (1, 2, 4, 7)


def test_rows_are_padded_with_zeros():
    padded = ARRAYS["inputs"].padded(np.array([0, 5, 3]), 40)
    assert padded.dtype == np.int32
    for row, index in zip(padded, (0, 5, 3), strict=True):
        assert row.tolist() == [index + 1] * LENGTHS[index] + [0] * (40 - LENGTHS[index])
    empty = Ragged.of([np.empty(0, np.int32)] * 2)
    assert not empty.padded(np.array([1, 0]), 3).any()


def test_rows_may_have_further_axes():
    ragged = Ragged(np.arange(12).reshape(6, 2), np.array([2, 0, 4], np.int32))
    assert ragged.padded(np.array([2, 0]), 4)[0].tolist() == [[4, 5], [6, 7], [8, 9], [10, 11]]
    assert ragged.padded(np.array([2, 0]), 4)[1].tolist() == [[0, 1], [2, 3], [0, 0], [0, 0]]


def test_an_epoch_has_every_row_at_most_once_in_few_shapes():
    batches = bucketed(ARRAYS, 8, 3, BUCKETS)
    per_epoch = len(ROWS) // 8
    for epoch in range(3):
        found = [batches[epoch * per_epoch + i] for i in range(per_epoch)]
        rows = np.concatenate([batch["targets"] for batch in found])
        assert len(set(rows.tolist())) == len(rows) == per_epoch * 8
        assert {batch["inputs"].shape for batch in found} <= {(8, length) for length in BUCKETS}
        for batch in found:
            assert batch["mask"].all() and batch["lengths"].dtype == np.int32
            np.testing.assert_array_equal(batch["lengths"], LENGTHS[batch["targets"]])
            for tokens, row in zip(batch["inputs"], batch["targets"], strict=True):
                assert tokens[tokens > 0].tolist() == ROWS[row].tolist()


def test_every_row_is_left_out_equally_often():
    batches, used = bucketed(ARRAYS, 50, 0, BUCKETS), np.zeros(len(ROWS))
    for step in range(2 * 400):  # 3 of 103 rows are left out of each of 400 epochs
        used[batches[step]["targets"]] += 1
    expected, std = 400 * 100 / 103, np.sqrt(400 * 3 / 103 * 100 / 103)
    assert np.abs(used - expected).max() < 5 * std
    assert used.max() <= 400


def test_the_order_depends_on_seed_and_epoch_but_not_on_earlier_batches():
    targets = lambda seed, steps: [bucketed(ARRAYS, 8, seed, BUCKETS)[step]["targets"].tolist() for step in steps]
    assert targets(0, [40, 5]) == targets(0, [5, 40])[::-1]
    assert targets(0, [0, 1]) != targets(1, [0, 1])
    assert targets(0, range(12)) != targets(0, range(12, 24))


def test_most_batches_have_the_length_of_their_rows():
    batches = bucketed(ARRAYS, 8, 0, BUCKETS)
    tokens = sum(batches[i]["inputs"].size for i in range(120))
    whole = sum(bucketed(ARRAYS, 8, 0, (40,))[i]["inputs"].size for i in range(120))
    assert tokens < 0.85 * whole


@pytest.mark.parametrize("batch_size", [1, 8, 103, 500])
def test_evaluation_counts_every_row_once(batch_size):
    batches = bucketed_once(ARRAYS, batch_size, BUCKETS)
    found = [batches[i] for i in range(len(batches))]
    rows = np.concatenate([batch["targets"][batch["mask"]] for batch in found])
    assert sorted(rows.tolist()) == list(range(len(ROWS)))
    assert {len(batch["mask"]) for batch in found} == {min(batch_size, len(ROWS))}
    assert all(batch["inputs"].shape[1] in BUCKETS for batch in found)
    assert all((batch["lengths"] <= batch["inputs"].shape[1]).all() for batch in found)


def test_processes_read_parts_of_the_same_batches():
    select = [lambda size: np.arange(size)[::2], lambda size: np.arange(size)[1::2]]
    for make in (
        lambda *rows: bucketed(ARRAYS, 8, 0, BUCKETS, *rows),
        lambda *r: bucketed_once(ARRAYS, 8, BUCKETS, *r),
    ):
        for step in range(13):
            whole, parts = make()[step], [make(rows)[step] for rows in select]
            for name, array in whole.items():
                for first, part in enumerate(parts):
                    np.testing.assert_array_equal(part[name], array[first::2])


def test_rows_without_a_full_batch_belong_to_the_next_bucket():
    found = plan(np.arange(5), np.array([1, 1, 1, 9, 9]), (2, 10), 2)
    assert found.rows.tolist() == [[0, 1], [2, 3]] and found.lengths.tolist() == [2, 10] and found.rest.tolist() == [4]


def test_too_few_rows_are_rejected():
    with pytest.raises(ValueError, match="must fill at least one batch of 104, got 103"):
        bucketed(ARRAYS, 104, 0, BUCKETS)
