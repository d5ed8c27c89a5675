"""Batches of next-token prediction from one long text, as grain pipelines.

A batch is a dict: ``inputs`` and ``targets`` int32 ``[B, T]`` (the target is the token after the input), ``mask`` bool
``[B, T]`` (True = real) and ``start`` bool ``[B]`` (whether the row begins afresh instead of going on where the row of
the batch before ended). Every batch is a pure function of (seed, step), so a pipeline resumes exactly.
"""

import grain
import numpy as np

Batch = dict[str, np.ndarray]


def streams(tokens: np.ndarray, batch: int, length: int, seed: int) -> grain.MapDataset:
    """Endless batches for truncated backpropagation through time: row b of a batch goes on in row b of the next.

    The text is cut into ``batch`` contiguous streams, read side by side. Each epoch begins at an offset of its own,
    drawn from (seed, epoch), so that the cuts between windows move.

    Raises:
        ValueError: The text is too short for one window in every stream.
    """
    stream = (len(tokens) - 1) // batch
    if stream < length:
        raise ValueError(
            f"text too short: {len(tokens)} tokens cannot fill {batch} streams of at least {length + 1} "
            f"(a smaller --config.data.batch or --config.data.length would do)"
        )
    steps = stream // length  # per epoch
    beginnings = np.arange(batch)[:, None] * stream
    slack = stream - steps * length

    class Streams:
        def __len__(self) -> int:
            return np.iinfo(np.int32).max

        def __getitem__(self, index: int) -> Batch:
            epoch, step = divmod(int(index), steps)
            offset = np.random.default_rng((seed, epoch)).integers(slack + 1)
            windows = tokens[beginnings + offset + step * length + np.arange(length + 1)]
            return _batch(windows, start=step == 0)

    return grain.MapDataset.source(Streams())


def windows(tokens: np.ndarray, batch: int, length: int, seed: int) -> grain.MapDataset:
    """Endless batches of windows that begin anywhere in the text, in an order shuffled anew each epoch.

    Raises:
        ValueError: The text has fewer than ``batch`` windows.
    """
    count = len(tokens) - length
    if count < batch:
        raise ValueError(
            f"text too short: {len(tokens)} tokens have {max(count, 0)} windows of {length + 1}, fewer than one batch "
            f"of {batch} (a smaller --config.data.batch or --config.data.length would do)"
        )
    beginnings = grain.MapDataset.range(count).shuffle(seed=seed).repeat().batch(batch, drop_remainder=True)
    return beginnings.map(lambda first: _batch(tokens[first[:, None] + np.arange(length + 1)], start=True))


def once(tokens: np.ndarray, batch: int, length: int) -> grain.MapDataset:
    """The whole text once, in order, as ``batch`` contiguous streams: every token but the first is a target once.

    Rows that run out are masked. Fewer rows are used where the text is short.
    """
    targets = len(tokens) - 1
    rows = max(1, min(batch, targets // length))
    stream = -(-targets // rows)
    position = np.arange(rows)[:, None] * stream

    def window(step: int) -> Batch:
        within = step * length + np.arange(length)
        real = (within < stream) & (position + within < targets)
        at = np.where(real, position + within, 0)
        return {
            "inputs": tokens[at],
            "targets": tokens[at + 1],
            "mask": real,
            "start": np.full(rows, step == 0),
        }

    return grain.MapDataset.range(-(-stream // length)).map(window)


def _batch(windows: np.ndarray, start: bool) -> Batch:
    inputs, targets = windows[:, :-1], windows[:, 1:]
    return {
        "inputs": np.ascontiguousarray(inputs),
        "targets": np.ascontiguousarray(targets),
        "mask": np.ones(inputs.shape, bool),
        "start": np.full(len(windows), start),
    }
