"""Batches of next-token prediction from one long text, as grain pipelines.

A batch is a dict: ``inputs`` and ``targets`` int32 ``[B, T]`` (each target is the token after its input), ``mask`` bool
``[B, T]`` (True = valid) and ``start`` bool ``[B]`` (False if the row continues the same row of the previous batch).
Every batch is a pure function of (seed, step), so a pipeline resumes exactly.

Text may have gaps, where held-out tokens were removed. ``follows`` bool ``[N]`` is False at the first token after a
gap. Rows extend across gaps, but ``mask`` is False where a target does not follow its input.
"""

from collections.abc import Sequence

import grain
import numpy as np

from jaxnets.data.checks import check_arguments

Batch = dict[str, np.ndarray]


def hold_out(texts: Sequence[np.ndarray], fraction: float) -> tuple[np.ndarray, ...]:
    """Holds out a fraction of the tokens at the end of every text.

    For every k, about ``floor(fraction * N)`` of the N tokens in the first k texts are held out. A single token of a
    longer text is never held out, since it would not be a target; if texts are short, some lose two tokens and others
    none.

    Args:
        texts: Tokens of each text, int32 ``[N_i]``.
        fraction: Fraction to hold out, between 0 and 1.

    Returns:
        The remaining tokens and their ``follows``, then the held-out tokens and their ``follows``.
    """
    ends = np.cumsum([len(text) for text in texts])
    held_out, count = np.zeros(ends[-1], bool), 0
    for text, end in zip(texts, ends, strict=True):
        missing = min(int(end * fraction) - count, len(text))
        if missing >= min(2, len(text)):
            held_out[end - missing : end] = True
            count += missing
    tokens = np.concatenate(texts)
    follows = np.append(True, held_out[1:] == held_out[:-1])[: len(held_out)]
    return tokens[~held_out], follows[~held_out], tokens[held_out], follows[held_out]


def streams(
    tokens: np.ndarray, batch_size: int, seq_len: int, seed: int, follows: np.ndarray | None = None
) -> grain.MapDataset:
    """Returns endless batches for truncated backpropagation through time: row b continues in row b of the next batch.

    The text is divided into ``batch_size`` contiguous streams, one for each row. Each epoch starts at a random offset,
    which depends on (seed, epoch), so that the boundaries of the windows vary.

    Args:
        tokens: int32 ``[N]``.
        batch_size: B, rows of a batch.
        seq_len: T, tokens of a row.
        seed: Seed of the offsets.
        follows: bool ``[N]``, False after a gap; None if there are no gaps.

    Raises:
        ValueError: If the text is too short for one window in every stream.
    """
    check_arguments(seed, batch_size=batch_size, seq_len=seq_len)
    stream_len = (len(tokens) - 1) // batch_size
    if stream_len < seq_len:
        raise ValueError(
            f"text too short: {batch_size} streams must have at least {seq_len + 1} tokens each, got {len(tokens)} "
            "tokens in total (a smaller --config.data.batch_size or --config.data.seq_len helps)"
        )
    steps = stream_len // seq_len  # per epoch
    starts = np.arange(batch_size)[:, None] * stream_len
    max_offset = stream_len - steps * seq_len

    class Streams:
        def __len__(self) -> int:
            return np.iinfo(np.int32).max

        def __getitem__(self, index: int) -> Batch:
            epoch, step = divmod(int(index), steps)
            offset = np.random.default_rng((seed, epoch)).integers(max_offset + 1)
            return _batch(tokens, starts + offset + step * seq_len, seq_len, follows, start=step == 0)

    return grain.MapDataset.source(Streams())


def windows(
    tokens: np.ndarray, batch_size: int, seq_len: int, seed: int, follows: np.ndarray | None = None
) -> grain.MapDataset:
    """Returns endless batches of windows at all positions of the text, reshuffled in each epoch.

    Args:
        tokens: int32 ``[N]``.
        batch_size: B, rows of a batch.
        seq_len: T, tokens of a row.
        seed: Seed of the order.
        follows: bool ``[N]``, False after a gap; None if there are no gaps.

    Raises:
        ValueError: If the text has fewer than ``batch_size`` windows.
    """
    check_arguments(seed, batch_size=batch_size, seq_len=seq_len)
    count = len(tokens) - seq_len
    if count < batch_size:
        raise ValueError(
            f"text too short: it must have at least {batch_size} windows of {seq_len + 1} tokens, got {max(count, 0)} "
            f"in {len(tokens)} tokens (a smaller --config.data.batch_size or --config.data.seq_len helps)"
        )
    starts = grain.MapDataset.range(count).shuffle(seed=seed).repeat().batch(batch_size, drop_remainder=True)
    return starts.map(lambda first: _batch(tokens, first[:, None], seq_len, follows, start=True))


def once(tokens: np.ndarray, batch_size: int, seq_len: int, follows: np.ndarray | None = None) -> grain.MapDataset:
    """Returns the whole text once, in order, as ``batch_size`` contiguous streams, for evaluation.

    Every token that follows another token is a target exactly once. The end of a short row is masked. A short text has
    fewer rows, and a text of fewer than two tokens has no batch.

    Args:
        tokens: int32 ``[N]``.
        batch_size: B, maximum number of rows.
        seq_len: T, tokens of a row.
        follows: bool ``[N]``, False after a gap; None if there are no gaps.
    """
    check_arguments(0, batch_size=batch_size, seq_len=seq_len)
    targets = max(len(tokens) - 1, 0)
    rows = max(1, min(batch_size, targets // seq_len))
    stream_len = -(-targets // rows)
    starts = np.arange(rows)[:, None] * stream_len

    def window(step: int) -> Batch:
        offsets = step * seq_len + np.arange(seq_len)
        valid = (offsets < stream_len) & (starts + offsets < targets)
        positions = np.where(valid, starts + offsets, 0)
        return {
            "inputs": tokens[positions],
            "targets": tokens[positions + 1],
            "mask": valid if follows is None else valid & follows[positions + 1],
            "start": np.full(rows, step == 0),
        }

    return grain.MapDataset.range(-(-stream_len // seq_len)).map(window)


def _batch(tokens: np.ndarray, first: np.ndarray, length: int, follows: np.ndarray | None, start: bool) -> Batch:
    """Rows of ``length`` inputs that start at ``first`` ``[B, 1]``."""
    positions = first + np.arange(length + 1)
    windows, targets = tokens[positions], positions[:, 1:]
    return {
        "inputs": np.ascontiguousarray(windows[:, :-1]),
        "targets": np.ascontiguousarray(windows[:, 1:]),
        "mask": np.ones(targets.shape, bool) if follows is None else follows[targets],
        "start": np.full(len(positions), start),
    }
