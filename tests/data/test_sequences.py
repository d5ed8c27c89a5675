"""Pipelines: every token in its place, deterministic in (seed, step), resumable exactly."""

import grain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets import data

TOKENS = np.arange(1000, dtype=np.int32)  # a token is its own position


def test_streams_go_on_from_batch_to_batch():
    batches = data.streams(TOKENS, batch=4, length=8, seed=0)
    before = batches[0]
    assert before["start"].all()
    for step in range(1, 31):  # 249 tokens a stream hold 31 windows of 8
        batch = batches[step]
        np.testing.assert_array_equal(batch["inputs"][:, 0], before["targets"][:, -1])
        assert not batch["start"].any()
        before = batch
    assert batches[31]["start"].all()


def test_targets_are_the_next_tokens():
    for batches in (data.streams(TOKENS, 4, 8, 0), data.windows(TOKENS, 4, 8, 0), data.once(TOKENS, 4, 8)):
        for step in range(3):
            batch = batches[step]
            np.testing.assert_array_equal(batch["targets"][batch["mask"]], batch["inputs"][batch["mask"]] + 1)
            np.testing.assert_array_equal(np.diff(batch["inputs"], axis=1)[batch["mask"][:, 1:]], 1)


def test_an_epoch_of_streams_sees_nearly_every_token():
    batches = data.streams(TOKENS, batch=4, length=8, seed=0)
    seen = np.concatenate([batches[step]["targets"].ravel() for step in range(31)])
    assert len(np.unique(seen)) == len(seen) == 31 * 4 * 8


def test_epochs_begin_at_offsets_of_their_own():
    batches = data.streams(TOKENS, batch=1, length=300, seed=0)
    assert len({int(batches[3 * epoch]["inputs"][0, 0]) for epoch in range(8)}) > 3


def test_windows_cover_every_beginning_once_an_epoch_in_another_order_each():
    batches = data.windows(TOKENS, batch=8, length=8, seed=0)
    epochs = [np.concatenate([batches[124 * e + s]["inputs"][:, 0] for s in range(124)]) for e in range(2)]
    for beginnings in epochs:
        np.testing.assert_array_equal(np.sort(beginnings), np.arange(992))
    assert np.any(epochs[0] != epochs[1])


@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(2, 300), batch=st.integers(1, 9), length=st.integers(1, 40))
def test_validation_counts_every_token_once(tokens, batch, length):
    batches = data.once(np.arange(tokens, dtype=np.int32), batch, length)
    targets = np.concatenate([batches[i]["targets"][batches[i]["mask"]] for i in range(len(batches))])
    np.testing.assert_array_equal(np.sort(targets), np.arange(1, tokens))
    assert {batches[i]["inputs"].shape for i in range(len(batches))} == {batches[0]["inputs"].shape}


@pytest.mark.parametrize("reader", [data.streams, data.windows])
def test_a_pipeline_resumes_exactly(reader):
    grain.experimental.assert_equal_output_after_checkpoint(reader(TOKENS, 4, 8, 3)[:20].to_iter_dataset())


@pytest.mark.parametrize("reader", [data.streams, data.windows])
def test_batches_depend_on_seed_and_step_alone(reader):
    take = lambda seed, step: reader(TOKENS, 4, 100, seed)[step]["inputs"]
    np.testing.assert_array_equal(take(1, 7), take(1, 7))
    assert any(np.any(take(1, step) != take(2, step)) for step in range(8))


def test_too_little_text_is_told():
    with pytest.raises(ValueError, match="text too short: 1000 tokens cannot fill 64 streams of at least 65"):
        data.streams(TOKENS, 64, 64, 0)
    with pytest.raises(
        ValueError, match="text too short: 1000 tokens have 10 windows of 991, fewer than one batch of 64"
    ):
        data.windows(TOKENS, 64, 990, 0)
    with pytest.raises(ValueError, match="text too short: 1000 tokens have 0 windows"):
        data.windows(TOKENS, 1, 2000, 0)


def test_the_held_out_part_is_the_end(tmp_path):
    (tmp_path / "a.txt").write_bytes(bytes(range(200)))
    found = data.text(str(tmp_path / "a.txt"), batch=2, length=10, validation=0.25)
    train = np.concatenate([found.train[i]["targets"].ravel() for i in range(20)])
    held = np.concatenate([found.validation[i]["targets"].ravel() for i in range(len(found.validation))])
    assert train.max() < 150 <= held.min()


BAD = {
    "batch": (dict(batch=0), "batch: at least 1; given 0"),
    "length": (dict(length=-1), "length: at least 1; given -1"),
    "seed": (dict(seed=-1), "seed: not below 0; given -1"),
    "validation": (dict(validation=1.5), "validation: a part between 0 and 1; given 1.5"),
    "read_as": (dict(read_as="pages"), "read_as: streams or windows; given 'pages'"),
    "validation too small": (dict(validation=0.001), "text too short: 200 tokens leave 0 for validation"),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD)
def test_what_a_user_gets_wrong_is_told(tmp_path, arguments, message):
    (tmp_path / "a.txt").write_bytes(bytes(range(200)))
    with pytest.raises(ValueError, match=message):
        data.text(str(tmp_path / "a.txt"), **arguments)
