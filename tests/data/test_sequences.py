"""Pipelines for language models: order of tokens, determinism in (seed, step), exact resumption, held-out text."""

import hashlib

import grain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets import data
from jaxnets.data.sources.sequences import hold_out

TOKENS = np.arange(1000, dtype=np.int32)  # a token is its own position


def test_streams_continue_from_batch_to_batch():
    batches = data.streams(TOKENS, batch_size=4, seq_len=8, seed=0)
    before = batches[0]
    assert before["start"].all()
    for step in range(1, 31):  # a stream of 249 tokens has 31 windows of 8
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


def test_an_epoch_of_streams_has_nearly_every_token_once():
    batches = data.streams(TOKENS, batch_size=4, seq_len=8, seed=0)
    seen = np.concatenate([batches[step]["targets"].ravel() for step in range(31)])
    assert len(np.unique(seen)) == len(seen) == 31 * 4 * 8


def test_epochs_start_at_different_offsets():
    batches = data.streams(TOKENS, batch_size=1, seq_len=300, seed=0)
    assert len({int(batches[3 * epoch]["inputs"][0, 0]) for epoch in range(8)}) > 3


def test_windows_start_at_every_position_once_per_epoch_in_a_new_order():
    batches = data.windows(TOKENS, batch_size=8, seq_len=8, seed=0)
    epochs = [np.concatenate([batches[124 * e + s]["inputs"][:, 0] for s in range(124)]) for e in range(2)]
    for starts in epochs:
        np.testing.assert_array_equal(np.sort(starts), np.arange(992))
    assert np.any(epochs[0] != epochs[1])


@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(2, 300), batch_size=st.integers(1, 9), seq_len=st.integers(1, 40))
def test_once_has_every_target_once(tokens, batch_size, seq_len):
    batches = data.once(np.arange(tokens, dtype=np.int32), batch_size, seq_len)
    targets = np.concatenate([batches[i]["targets"][batches[i]["mask"]] for i in range(len(batches))])
    np.testing.assert_array_equal(np.sort(targets), np.arange(1, tokens))
    assert {batches[i]["inputs"].shape for i in range(len(batches))} == {batches[0]["inputs"].shape}


@pytest.mark.parametrize("reader", [data.streams, data.windows])
def test_pipelines_resume_exactly(reader):
    grain.experimental.assert_equal_output_after_checkpoint(reader(TOKENS, 4, 8, 3)[:20].to_iter_dataset())


@pytest.mark.parametrize("reader", [data.streams, data.windows])
def test_batches_depend_only_on_seed_and_step(reader):
    take = lambda seed, step: reader(TOKENS, 4, 100, seed)[step]["inputs"]
    np.testing.assert_array_equal(take(1, 7), take(1, 7))
    assert any(np.any(take(1, step) != take(2, step)) for step in range(8))


def test_short_text_is_rejected():
    with pytest.raises(ValueError, match="64 streams must have at least 65 tokens each, got 1000 tokens in total"):
        data.streams(TOKENS, 64, 64, 0)
    with pytest.raises(ValueError, match="must have at least 64 windows of 991 tokens, got 10 in 1000 tokens"):
        data.windows(TOKENS, 64, 990, 0)
    with pytest.raises(ValueError, match="text too short: .*, got 0 in 1000 tokens"):
        data.windows(TOKENS, 1, 2000, 0)


def test_the_end_of_the_text_is_held_out(tmp_path):
    (tmp_path / "a.txt").write_bytes(bytes(range(200)))
    found = data.text(str(tmp_path / "a.txt"), batch_size=2, seq_len=10, validation_fraction=0.25)
    train = np.concatenate([found.train[i]["targets"].ravel() for i in range(20)])
    held_out = np.concatenate([batch["targets"].ravel() for batch in found.splits["validation"]])
    assert train.max() < 150 <= held_out.min()


INVALID = {
    "batch size": (dict(batch_size=0), "`batch_size` must be an integer of at least 1, got 0"),
    "sequence length": (dict(seq_len=-1), "`seq_len` must be an integer of at least 1, got -1"),
    "seed": (dict(seed=-1), "`seed` must be an integer of at least 0, got -1"),
    "fraction": (dict(validation_fraction=1.5), "`validation_fraction` must be a number between 0 and 1, got 1.5"),
    "read_as": (dict(read_as="pages"), "`read_as` must be one of streams, windows, got 'pages'"),
    "small fraction": (dict(validation_fraction=0.001), "200 tokens must leave at least 2 for validation, got 0"),
}


@pytest.mark.parametrize("arguments, message", INVALID.values(), ids=INVALID)
def test_invalid_arguments_are_rejected(tmp_path, arguments, message):
    (tmp_path / "a.txt").write_bytes(bytes(range(200)))
    with pytest.raises(ValueError, match=message):
        data.text(str(tmp_path / "a.txt"), **arguments)


def texts_of(lengths):
    """Texts whose tokens are their positions in the concatenation of all texts."""
    return np.split(np.arange(sum(lengths), dtype=np.int32), np.cumsum(lengths)[:-1])


def test_the_end_of_every_text_is_held_out():
    train, follows, held_out, held_out_follows = hold_out(texts_of([40, 100, 60]), 0.1)
    np.testing.assert_array_equal(held_out, [*range(36, 40), *range(130, 140), *range(194, 200)])
    np.testing.assert_array_equal(held_out[~held_out_follows], [36, 130, 194])
    np.testing.assert_array_equal(train, [*range(36), *range(40, 130), *range(140, 194)])
    np.testing.assert_array_equal(train[~follows], [40, 140])


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(0, 60), min_size=1, max_size=30), fraction=st.floats(0.01, 0.99))
def test_the_fraction_is_held_out_up_to_whole_tokens(lengths, fraction):
    texts = texts_of(lengths)
    train, follows, held_out, held_out_follows = hold_out(texts, fraction)
    np.testing.assert_array_equal(np.sort(np.append(train, held_out)), np.arange(sum(lengths)))
    for tokens, marks in ((train, follows), (held_out, held_out_follows)):
        np.testing.assert_array_equal(marks[1:], np.diff(tokens) == 1)
    missing = 0.0
    for text in texts:
        of_text = np.isin(text, held_out)
        count = of_text.sum()
        assert of_text[len(text) - count :].all() and count != (1 if len(text) > 1 else -1)
        missing += len(text) * fraction - count
        assert missing > -1e-6
        assert missing < 2 + 1e-6 or count == len(text)
    if len(texts) == 1:
        assert len(held_out) in (int(lengths[0] * fraction), 0)


@pytest.mark.parametrize("read_as", ["streams", "windows"])
def test_no_target_follows_a_gap_and_no_held_out_token_is_trained_on(tmp_path, read_as):
    for i, length in enumerate([70, 30, 100]):
        first = sum([70, 30, 100][:i])
        (tmp_path / f"{i}.txt").write_bytes(bytes(range(first, first + length)))
    dataset = data.text(str(tmp_path), read_as=read_as, batch_size=3, seq_len=7, validation_fraction=0.2)
    assert dataset.description.endswith("160 training bytes, 40 held out, the ends of 3 files")
    held_out = {*range(56, 70), *range(94, 100), *range(180, 200)}
    trained_on, seen, targets = set(), set(), []
    for step in range(200):
        batch = dataset.train[step]
        np.testing.assert_array_equal(batch["mask"], batch["targets"] == batch["inputs"] + 1)
        trained_on |= set(batch["targets"][batch["mask"]].tolist())
        seen |= {*batch["inputs"].ravel().tolist(), *batch["targets"].ravel().tolist()}
    assert not seen & held_out and trained_on == {*range(1, 200)} - held_out - {70, 100}
    for batch in dataset.splits["validation"]:
        valid = batch["mask"]
        np.testing.assert_array_equal(batch["targets"][valid], batch["inputs"][valid] + 1)
        targets += batch["targets"][valid].tolist()
    assert sorted(targets) == sorted(held_out - {56, 94, 180})


@pytest.mark.parametrize("unit", ["byte", "character", "piece"])
def test_many_short_files_have_held_out_tokens(tmp_path, unit):
    """A file may be shorter than the tokens to hold out."""
    for i in range(60):
        (tmp_path / f"{i:02}.txt").write_text(f"é{i % 7} end{i % 3}\n" if i % 4 else "")
    dataset = data.text(str(tmp_path), unit, batch_size=2, seq_len=5, vocab_size=280)
    held_out = sum(int(batch["mask"].sum()) for batch in dataset.splits["validation"])
    assert 0 < held_out < int(0.1 * len(data.read(str(tmp_path), unit, 280)[0]))
    assert all(batch["mask"].any() for batch in (*dataset.splits["validation"], *(dataset.train[i] for i in range(20))))


def test_the_fingerprint_depends_on_the_ends_of_files(tmp_path):
    content = bytes(range(200))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.txt").write_bytes(content)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "a.txt").write_bytes(content[:90])
    (tmp_path / "two" / "b.txt").write_bytes(content[90:])
    one, two = (data.text(str(tmp_path / name), batch_size=2, seq_len=10).fingerprint for name in ("one", "two"))
    assert one == data.text(str(tmp_path / "one" / "a.txt"), batch_size=2, seq_len=10).fingerprint
    assert one == hashlib.sha256(np.arange(200, dtype=np.int32).tobytes()).hexdigest()
    assert one != two


@pytest.mark.parametrize("count", [0, 1, 2])
def test_texts_of_at_most_two_tokens(tmp_path, count):
    tokens = TOKENS[:count]
    batches = list(data.once(tokens, 4, 8))
    assert sum(int(batch["mask"].sum()) for batch in batches) == len(batches) == max(count - 1, 0)
    for reader in (data.streams, data.windows):
        with pytest.raises(ValueError, match=rf"text too short: .*\b{count} tokens"):
            reader(tokens, 4, 8, 0)
    (tmp_path / "a.txt").write_bytes(b"ab"[:count])
    with pytest.raises(ValueError, match="text too short: " if count else "must contain text, got 1 file, all empty"):
        data.text(str(tmp_path))


def test_files_of_one_token_are_rejected(tmp_path):
    for i in range(40):
        (tmp_path / f"{i:02}.txt").write_text("a")
    with pytest.raises(
        ValueError, match="text too short: 40 files must leave 2 adjacent tokens for validation, got none"
    ):
        data.text(str(tmp_path), batch_size=2, seq_len=5)


@pytest.mark.parametrize("reader", [data.streams, data.windows, lambda *args: data.once(*args[:3])])
@pytest.mark.parametrize(
    "sizes, message",
    [
        ((0, 8), "`batch_size` must be an integer of at least 1, got 0"),
        ((4, 0), "`seq_len` must be an integer of at least 1"),
    ],
)
def test_empty_batches_are_rejected(reader, sizes, message):
    with pytest.raises(ValueError, match=message):
        reader(TOKENS, *sizes, 0)
