"""The parameters of recurrent cells that other libraries have as well, told from those of all other cells."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxnets.weights.check import as_array, listed

# By the names of its arrays: the kind of a cell, and how many blocks of H columns its input kernel has. The first has
# two kinds, whose numbers of blocks differ.
INPUT = ("input/bias", "input/kernel")
KINDS: dict[tuple[str, ...], dict[int, str]] = {
    (*INPUT, "recurrent/kernel"): {1: "elman", 4: "lstm"},
    (*INPUT, "recurrent/kernel", "recurrent/projection"): {4: "lstm_projection"},
    (*INPUT, "recurrent/kernel", "recurrent_bias"): {3: "gru_after"},
    (*INPUT, "recurrent/candidate", "recurrent/gates"): {3: "gru_before"},
}


def read_layers(params: Mapping[str, Any], source: str) -> list[dict[str, Mapping[str, Any]]]:
    """The cells of every layer of ``recurrent.StackedRNN``, under ``cell``, or ``forward`` and ``backward``.

    Raises:
        ValueError: The parameters are not those of such a network.
    """
    if not isinstance(params, Mapping):
        raise ValueError(f"{source}: parameters must be a nested dict of arrays, got {type(params).__name__}")
    names = [f"layer_{number}" for number in range(len(params))]
    sides = ({"cell"}, {"forward", "backward"})
    layers = [params.get(name) for name in names]
    if not names or not all(isinstance(layer, Mapping) and set(layer) in sides for layer in layers):
        given = [f"{name} with {listed(each)}" if isinstance(each, Mapping) else name for name, each in params.items()]
        hints = {
            "params": 'pass variables["params"]',
            "cell": 'pass {"layer_0": params}',
            "forward": 'pass {"layer_0": params}',
        }
        hint = next((f"; {hints[name]}" for name in params if name in hints), "")
        raise ValueError(
            f"{source}: parameters must be those of recurrent.StackedRNN, layer_0, layer_1, ..., each with cell, "
            f"or with forward and backward; got {listed(given) or 'none'}{hint}"
        )
    return [dict(params[name]) for name in names]


def read_cell(cell: Mapping[str, Any], source: str) -> tuple[str, dict[str, np.ndarray]]:
    """The kind of a cell, one of those of ``KINDS``, and its arrays by their paths, such as ``input/kernel``.

    Raises:
        ValueError: It is another cell, or its arrays do not fit together.
    """
    if not isinstance(cell, Mapping):
        raise ValueError(f"{source}: the cell must be a nested dict of arrays, got {type(cell).__name__}")
    found = {name: as_array(leaf, f"{source}: {name}") for name, leaf in _flat(cell)}
    blocks = KINDS.get(tuple(sorted(found)), {})
    for count, kind in blocks.items():
        shapes = _shapes(kind, count, found)
        if all(found[name].shape == shape for name, shape in shapes.items()):
            return kind, found
    arrays = listed(f"{name} {array.shape}" for name, array in sorted(found.items()))
    raise ValueError(f"{source}: the cell must be elman(H), gru(H) or lstm(H), got one with {arrays}")


def _flat(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    leaves = []
    for name, value in tree.items():
        leaves += _flat(value, f"{above}{name}/") if isinstance(value, Mapping) else [(f"{above}{name}", value)]
    return leaves


def _shapes(kind: str, blocks: int, found: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    features = found["input/kernel"].shape[0] if found["input/kernel"].ndim else 0
    columns = found["input/kernel"].shape[-1] if found["input/kernel"].ndim else 0
    hidden = columns // blocks
    shapes: dict[str, tuple[int, ...]] = {"input/kernel": (features, blocks * hidden), "input/bias": (blocks * hidden,)}
    if kind == "gru_before":
        return {**shapes, "recurrent/gates": (hidden, 2 * hidden), "recurrent/candidate": (hidden, hidden)}
    if kind == "gru_after":
        shapes["recurrent_bias"] = (blocks * hidden,)
    width = hidden
    if kind == "lstm_projection":
        width = found["recurrent/projection"].shape[-1] if found["recurrent/projection"].ndim else 0
        shapes["recurrent/projection"] = (hidden, width)
    return {**shapes, "recurrent/kernel": (width, blocks * hidden)}
