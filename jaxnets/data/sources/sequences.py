"""Batches of next-token prediction from one long text, as grain pipelines.

A batch is a dict: ``inputs`` and ``targets`` int32 ``[B, T]`` (the target is the token after the input), ``mask`` bool
``[B, T]`` (True = real) and ``start`` bool ``[B]`` (whether the row begins afresh instead of going on where the row of
the batch before ended). Every batch is a pure function of (seed, step), so a pipeline resumes exactly.

Where parts of a text were taken out, ``follows`` marks the holes: bool ``[N]``, whether a token follows the one before
it. Rows go over a hole, but a token that does not follow its input is no target: ``mask`` is False there.
"""

from collections.abc import Sequence

import grain
import numpy as np

from jaxnets.data.checks import check_arguments

Batch = dict[str, np.ndarray]


def hold_out(texts: Sequence[np.ndarray], part: float) -> tuple[np.ndarray, ...]:
    """Divides texts into what is learned from and what is held out: the end of every text.

    Of the first k texts together ``floor(part * N)`` tokens are held out, for every k, but never a single token of a
    longer text, which would be no target: where texts are that short, some lose two tokens and others none.

    Args:
        texts: The tokens of each, int32 ``[N_i]``.
        part: The part that is held out, between 0 and 1.

    Returns:
        The tokens that remain and their ``follows``, then the tokens that are held out and theirs.
    """
    ends = np.cumsum([len(text) for text in texts])
    held, count = np.zeros(ends[-1], bool), 0
    for text, end in zip(texts, ends, strict=True):
        owed = min(int(end * part) - count, len(text))
        if owed >= min(2, len(text)):
            held[end - owed : end] = True
            count += owed
    tokens = np.concatenate(texts)
    follows = np.append(True, held[1:] == held[:-1])[: len(held)]
    return tokens[~held], follows[~held], tokens[held], follows[held]


def streams(
    tokens: np.ndarray, batch_size: int, seq_len: int, seed: int, follows: np.ndarray | None = None
) -> grain.MapDataset:
    """Endless batches for truncated backpropagation through time: row b of a batch goes on in row b of the next.

    The text is cut into ``batch_size`` contiguous streams, read side by side. Each epoch begins at an offset of its
    own, drawn from (seed, epoch), so that the cuts between windows move.

    Raises:
        ValueError: The text is too short for one window in every stream.
    """
    check_arguments(seed, batch_size=batch_size, length=seq_len)
    stream = (len(tokens) - 1) // batch_size
    if stream < seq_len:
        raise ValueError(
            f"text too short: {len(tokens)} tokens cannot fill {batch_size} streams of at least {seq_len + 1} "
            f"(a smaller --config.data.batch_size or --config.data.length would do)"
        )
    steps = stream // seq_len  # per epoch
    beginnings = np.arange(batch_size)[:, None] * stream
    slack = stream - steps * seq_len

    class Streams:
        def __len__(self) -> int:
            return np.iinfo(np.int32).max

        def __getitem__(self, index: int) -> Batch:
            epoch, step = divmod(int(index), steps)
            offset = np.random.default_rng((seed, epoch)).integers(slack + 1)
            return _batch(tokens, beginnings + offset + step * seq_len, seq_len, follows, start=step == 0)

    return grain.MapDataset.source(Streams())


def windows(
    tokens: np.ndarray, batch_size: int, seq_len: int, seed: int, follows: np.ndarray | None = None
) -> grain.MapDataset:
    """Endless batches of windows that begin anywhere in the text, in an order shuffled anew each epoch.

    Raises:
        ValueError: The text has fewer than ``batch_size`` windows.
    """
    check_arguments(seed, batch_size=batch_size, length=seq_len)
    count = len(tokens) - seq_len
    if count < batch_size:
        raise ValueError(
            f"text too short: {len(tokens)} tokens have {max(count, 0)} windows of {seq_len + 1}, fewer than one batch "
            f"of {batch_size} (a smaller --config.data.batch_size or --config.data.length would do)"
        )
    beginnings = grain.MapDataset.range(count).shuffle(seed=seed).repeat().batch(batch_size, drop_remainder=True)
    return beginnings.map(lambda first: _batch(tokens, first[:, None], seq_len, follows, start=True))


def once(tokens: np.ndarray, batch_size: int, seq_len: int, follows: np.ndarray | None = None) -> grain.MapDataset:
    """The whole text once, in order, as ``batch_size`` contiguous streams.

    Every token that follows another is a target once. Rows that run out are masked. Fewer rows are used where the text
    is short, and there is no batch where it has fewer than two tokens.
    """
    check_arguments(0, batch_size=batch_size, length=seq_len)
    targets = max(len(tokens) - 1, 0)
    rows = max(1, min(batch_size, targets // seq_len))
    stream = -(-targets // rows)
    position = np.arange(rows)[:, None] * stream

    def window(step: int) -> Batch:
        within = step * seq_len + np.arange(seq_len)
        real = (within < stream) & (position + within < targets)
        at = np.where(real, position + within, 0)
        return {
            "inputs": tokens[at],
            "targets": tokens[at + 1],
            "mask": real if follows is None else real & follows[at + 1],
            "start": np.full(rows, step == 0),
        }

    return grain.MapDataset.range(-(-stream // seq_len)).map(window)


def _batch(tokens: np.ndarray, first: np.ndarray, length: int, follows: np.ndarray | None, start: bool) -> Batch:
    """Rows of ``length`` inputs that begin at ``first`` ``[B, 1]``."""
    at = first + np.arange(length + 1)
    found, targets = tokens[at], at[:, 1:]
    return {
        "inputs": np.ascontiguousarray(found[:, :-1]),
        "targets": np.ascontiguousarray(found[:, 1:]),
        "mask": np.ones(targets.shape, bool) if follows is None else follows[targets],
        "start": np.full(len(at), start),
    }
