"""Preprocessing of raw inputs as in training, from its saved description."""

from collections.abc import Collection, Mapping

import numpy as np

from jaxnets.data import statistics
from jaxnets.data.inputs import Columns, Inputs, Pixels, Rows, Windows


def preprocess(
    inputs: Inputs | None, raw: Mapping[str, np.ndarray], arrays: Collection[str] = ("inputs",)
) -> dict[str, np.ndarray]:
    """Converts raw arrays, such as those of ``read_inputs``, to the arrays of a batch.

    Args:
        inputs: Description of the preprocessing, such as ``dataset.inputs``; None for none.
        raw: Raw ``inputs`` with one row per example; other arrays are returned unchanged.
        arrays: Names of the arrays of a training batch. ``lengths``, ``valid`` and ``width`` are added if they are
            among them.

    Returns:
        The arrays of a batch: ``inputs`` in float32, or in uint8 for images.

    Raises:
        ValueError: A number is not finite in float32.
    """
    if isinstance(inputs, Windows):
        return _windows(inputs, raw, arrays)
    given = {**raw}
    values = raw["inputs"]
    if isinstance(inputs, Columns):
        given["inputs"] = standardized_features(values, inputs.statistics)
    elif isinstance(inputs, Rows):
        lengths = lengths_of(values)
        valid = np.arange(values.shape[1]) < lengths[:, None]
        given["inputs"] = statistics.standardized(values.copy(), valid, inputs.statistics)
        given |= {name: array for name, array in (("lengths", lengths), ("valid", valid)) if name in arrays}
    elif isinstance(inputs, Pixels):
        divisor = np.full(len(values), inputs.divisor, np.float32)
        if inputs.either:
            divisor[values.max(axis=tuple(range(1, values.ndim)), initial=0) <= 1] = 1
        given["inputs"] = values.astype(np.float32) / divisor.reshape(-1, *[1] * (values.ndim - 1))
        if inputs.width is not None:
            given["inputs"] = given["inputs"].reshape(len(values), -1, 1)
            if "width" in arrays:
                given["width"] = np.full(len(values), inputs.width, np.int32)
    result = given["inputs"]
    if result.dtype.kind == "f" and not np.isfinite(result).all():
        row, *index = np.argwhere(~np.isfinite(result))[0].tolist()
        where = ", ".join(map(str, index))
        raise ValueError(f"row {row} must be finite in float32, got {result[(row, *index)]} at position {where}")
    return given


def _windows(inputs: Windows, raw: Mapping[str, np.ndarray], arrays: Collection[str]) -> dict[str, np.ndarray]:
    """Standardizes windows and their covariates; missing values become 0, and ``observed`` their mask if needed."""
    given = {**raw}
    for name, here in inputs.columns.items():
        if name not in raw:
            continue
        values = np.asarray(raw[name], np.float64)
        values = values[:, None] if name == "static" else values
        fitted = inputs.statistics
        own = None if fitted is None else statistics.Statistics(*(moment[here] for moment in fitted))
        scaled = statistics.standardized(values, np.ones(values.shape[:2], bool), own)
        scaled = np.where(np.isnan(values), np.float32(0), scaled)
        given[name] = scaled[:, 0] if name == "static" else scaled
    missing = np.isnan(np.asarray(raw["inputs"], np.float64))
    if "observed" in arrays:
        given["observed"] = ~missing
    elif missing.any():
        row, step, channel = np.argwhere(missing)[0]
        raise ValueError(
            f"row {row} must have all values, as the training data, got none at step {step} of channel "
            f"{inputs.targets[channel]!r}"
        )
    return given


def standardized_features(values: np.ndarray, fitted: statistics.Statistics | None) -> np.ndarray:
    """Returns features ``[N, D]`` as ``(values - mean) / std`` in float32."""
    valid = np.ones((len(values), 1), bool)
    return statistics.standardized(values[:, None].copy(), valid, fitted)[:, 0]


def lengths_of(values: np.ndarray) -> np.ndarray:
    """Returns the lengths int32 ``[N]`` of rows ``[N, T, D]`` without trailing NaNs."""
    if not values.shape[1]:
        return np.zeros(len(values), np.int32)
    known = np.ones(values.shape[:2], bool)
    if values.dtype.kind == "f":
        for here in statistics.blocks(values.shape):
            known[here] = ~np.isnan(values[here]).all(axis=-1)
    return np.where(known.any(axis=1), values.shape[1] - np.argmax(known[:, ::-1], axis=1), 0).astype(np.int32)
