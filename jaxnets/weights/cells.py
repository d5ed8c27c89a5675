"""Identification of recurrent cells by the names and shapes of their parameters."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxnets.weights.check import as_array, listed

# {names of a cell's arrays: {gates of its input kernel: kind of the cell}}. Elman cells and LSTMs have the same names.
INPUT = ("input/bias", "input/kernel")
KINDS: dict[tuple[str, ...], dict[int, str]] = {
    (*INPUT, "recurrent/kernel"): {1: "elman", 4: "lstm"},
    (*INPUT, "recurrent/kernel", "recurrent/projection"): {4: "lstm_projection"},
    (*INPUT, "recurrent/kernel", "recurrent_bias"): {3: "gru_after"},
    (*INPUT, "recurrent/candidate", "recurrent/gates"): {3: "gru_before"},
}


def split_layers(params: Mapping[str, Any], source: str) -> list[dict[str, Mapping[str, Any]]]:
    """Splits the parameters of ``recurrent.StackedRNN`` into cells.

    Args:
        params: The parameters of the network.
        source: Start of error messages.

    Returns:
        For each layer, the parameters of its cell under ``cell``, or of its cells under ``forward`` and ``backward``.

    Raises:
        ValueError: If the parameters are not those of ``recurrent.StackedRNN``.
    """
    if not isinstance(params, Mapping):
        raise ValueError(f"{source}: parameters must be a nested dict of arrays, got {type(params).__name__}")
    names = [f"layer_{i}" for i in range(len(params))]
    directions = ({"cell"}, {"forward", "backward"})
    layers = [params.get(name) for name in names]
    if not names or not all(isinstance(layer, Mapping) and set(layer) in directions for layer in layers):
        given = [
            f"{name} with {listed(layer)}" if isinstance(layer, Mapping) else name for name, layer in params.items()
        ]
        hints = {
            "params": 'pass variables["params"]',
            "cell": 'pass {"layer_0": params}',
            "forward": 'pass {"layer_0": params}',
        }
        hint = next((f"; {hints[name]}" for name in params if name in hints), "")
        raise ValueError(
            f"{source}: parameters must have the structure of recurrent.StackedRNN (layer_0, layer_1, ..., each with "
            f"cell, or with forward and backward), got {listed(given) or 'none'}{hint}"
        )
    return [dict(params[name]) for name in names]


def identify_cell(cell: Mapping[str, Any], source: str) -> tuple[str, dict[str, np.ndarray]]:
    """Identifies a cell by its parameters.

    Args:
        cell: The parameters of the cell.
        source: Start of error messages.

    Returns:
        The kind of the cell, a name in ``KINDS``, and its arrays by path, such as ``input/kernel``.

    Raises:
        ValueError: If the cell is of no such kind, or if the shapes of its arrays do not match.
    """
    if not isinstance(cell, Mapping):
        raise ValueError(f"{source}: the cell must be a nested dict of arrays, got {type(cell).__name__}")
    arrays = {name: as_array(leaf, f"{source}: {name}") for name, leaf in _flatten(cell)}
    kinds = KINDS.get(tuple(sorted(arrays)), {})
    for gates, kind in kinds.items():
        shapes = _shapes(kind, gates, arrays)
        if all(arrays[name].shape == shape for name, shape in shapes.items()):
            return kind, arrays
    given = listed(f"{name} {array.shape}" for name, array in sorted(arrays.items()))
    raise ValueError(f"{source}: the cell must be elman(H), gru(H) or lstm(H), got one with {given}")


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves = []
    for name, value in tree.items():
        path = f"{prefix}{name}"
        leaves += _flatten(value, f"{path}/") if isinstance(value, Mapping) else [(path, value)]
    return leaves


def _shapes(kind: str, gates: int, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    kernel = arrays["input/kernel"]
    features, columns = (kernel.shape[0], kernel.shape[-1]) if kernel.ndim else (0, 0)
    hidden = columns // gates
    shapes: dict[str, tuple[int, ...]] = {"input/kernel": (features, gates * hidden), "input/bias": (gates * hidden,)}
    if kind == "gru_before":
        return {**shapes, "recurrent/gates": (hidden, 2 * hidden), "recurrent/candidate": (hidden, hidden)}
    if kind == "gru_after":
        shapes["recurrent_bias"] = (gates * hidden,)
    output = hidden
    if kind == "lstm_projection":
        output = arrays["recurrent/projection"].shape[-1] if arrays["recurrent/projection"].ndim else 0
        shapes["recurrent/projection"] = (hidden, output)
    return {**shapes, "recurrent/kernel": (output, gates * hidden)}
