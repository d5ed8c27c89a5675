"""npz files, among them those of labelled rows of several lengths: ``x_train``, ``y_train``, ``x_test``, ``y_test``."""

from pathlib import Path

import numpy as np

from jaxnets.data.examples import Examples


def ragged_parts(path: str, standardise: bool) -> tuple[Examples, Examples]:
    """What to learn from and what to test on, with the lengths of the rows.

    Args:
        path: The file. ``x`` is ``[N, T]`` or ``[N, T, D]``; a row that ends in NaN is that much shorter. ``y`` is
            ``[N]``, numbers or text.
        standardise: Whether every feature is shifted and scaled to mean 0 and deviation 1 over the training part.

    Raises:
        ValueError: The file cannot be read or lacks something.
    """
    arrays = read_arrays(path, ("x_train", "y_train", "x_test", "y_test"))
    train, test = (_ragged(path, arrays[f"x_{part}"], arrays[f"y_{part}"], part) for part in ("train", "test"))
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        raise ValueError(f"{path}: x_train has rows of {train.inputs.shape[1:]}, x_test of {test.inputs.shape[1:]}")
    if standardise:
        known = train.inputs[in_row(train)]
        known = np.where(np.isfinite(known), known, np.nan)  # infinite ones are told later, by their place
        mean, deviation = np.nanmean(known, 0), np.maximum(np.nanstd(known, 0), 1e-6)
        train, test = (
            part._replace(inputs=(part.inputs - mean) / deviation * in_row(part)[..., None]) for part in (train, test)
        )
    return train, test


def in_row(examples: Examples) -> np.ndarray:
    """Which steps or elements of each row are real, ``[N, T]``."""
    length = examples.inputs.shape[1]
    lengths = np.full(len(examples.labels), length) if examples.lengths is None else examples.lengths
    return np.arange(length) < lengths[:, None]


def read_arrays(path: str, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Arrays of an npz file by their names; nothing is unpickled.

    Args:
        path: The file.
        names: What it must have.
        optional: What it may have beside.

    Raises:
        ValueError: It cannot be read, or lacks something.
    """
    if not Path(path).expanduser().is_file():
        raise ValueError(f"no file at {path}")
    try:
        with np.load(Path(path).expanduser(), allow_pickle=False) as file:
            found = list(file)
            arrays = {name: file[name] for name in (*names, *optional) if name in found}
    except Exception as error:  # NumPy lets the errors of zip, zlib and its own parser through
        raise ValueError(f"{path} is no npz file of plain arrays ({error})") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}; it has {', '.join(found)}")
    return arrays


def _ragged(path: str, x: np.ndarray, y: np.ndarray, part: str) -> Examples:
    """The rows with their own lengths: NaN at a row's end is padding, and becomes zero."""
    if x.ndim not in (2, 3) or not np.issubdtype(x.dtype, np.number) or y.shape != x.shape[:1]:
        raise ValueError(
            f"{path}: x_{part} as numbers [N, T] or [N, T, D] and y_{part} as [N] expected; "
            f"given {x.dtype} {x.shape} and {y.dtype} {y.shape}"
        )
    x = np.asarray(x, np.float32).reshape(*x.shape[:2], -1)
    known = np.any(~np.isnan(x), axis=-1)
    lengths = np.where(np.any(known, axis=1), x.shape[1] - np.argmax(known[:, ::-1], axis=1), 0)
    padded = Examples(x, y, lengths)
    return padded._replace(inputs=np.where(in_row(padded)[..., None], x, 0))
