"""Recurrent weights from and to Keras: ``SimpleRNN``, ``GRU`` (both places of the reset) and ``LSTM``.

A layer is a dict of its arrays by Keras' names, ``kernel [D, gates * H]``, ``recurrent_kernel [H, gates * H]`` and
``bias``; a ``Bidirectional`` one is ``{"forward": ..., "backward": ...}`` of two such dicts. Gates stand in the order
i, f, c, o (LSTM, as ours) and z, r, h (GRU); its GRU keeps ``z`` of the old state where ours takes ``z`` of the
candidate, so the block z changes its sign.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from jaxnets.weights.cells import read_cell, read_layers
from jaxnets.weights.check import as_array, compare
from jaxnets.weights.keras_layers import Layer, options_of, plain_names, sides_of

GATES = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}


def from_keras(layers: Sequence[Layer], reset_after: bool | None = None) -> dict[str, Any]:
    """The parameters of ``recurrent.StackedRNN`` for Keras layers, the first one first.

    The cell is ``elman(H)``, ``lstm(H)``, ``gru(H, "after")`` where Keras has ``reset_after=True`` (its default), else
    ``gru(H, "before")``. ``use_bias=False`` is a bias of zeros. These options are not in arrays: ``activation`` must
    be tanh (of a SimpleRNN: what ``elman`` is given) and ``recurrent_activation`` sigmoid; ``merge_mode`` is ``merge``
    of ``StackedRNN``; ``go_backwards=True`` is ``recurrent.RNN(cell, reverse=True)``, whose outputs are in the order
    of time.

    Args:
        layers: One dict per layer, as above, or the layers of Keras themselves, whose options are then checked.
        reset_after: That option of the GRUs; needed where they are given as arrays without a bias.

    Returns:
        ``{"layer_0": {"cell": ...}, ...}``, or with ``"forward"`` and ``"backward"`` in a layer that has them: float32,
        or float64 where the weights have that.

    Raises:
        ValueError: Keys are missing, extra or misshapen (at most ten are listed), a weight does not hold floating-point
            numbers, a layer is of another kind or has an option without a counterpart, or ``reset_after`` is missing
            or contradicts a bias.
    """
    if not isinstance(layers, (list, tuple)):
        given = type(layers).__name__
        if isinstance(layers, (str, PathLike)):
            given = f"the path {str(layers)!r}; pass keras.saving.load_model(path).layers"
        elif hasattr(layers, "layers"):
            given = f"a {given}; pass its layers"
        raise ValueError(f"layers must be a list of layers, or of dicts of their arrays, got {given}")
    result: dict[str, Any] = {}
    for number, layer in enumerate(layers):
        name = f"layer_{number}"
        sides = sides_of(layer, f"weights of Keras, {name}")
        result[name] = {
            side: _to_ours(each, name if side == "cell" else f"{name}, {side}", reset_after)
            for side, each in sides.items()
        }
    return result


def to_keras(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The Keras layers with these parameters: the inverse of ``from_keras``, with a bias in every layer.

    The activation of ``elman`` is not among its parameters: a ``SimpleRNN`` needs the same one.

    Raises:
        ValueError: The parameters are not those of ``recurrent.StackedRNN`` with a cell that Keras has.
    """
    layers: list[dict[str, Any]] = []
    for number, layer in enumerate(read_layers(params, "to_keras")):
        theirs = {side: _to_theirs(cell, f"to_keras: layer_{number}, {side}") for side, cell in layer.items()}
        layers.append(theirs.get("cell", theirs))
    return layers


def _to_ours(layer: Layer, name: str, reset_after: bool | None) -> dict[str, Any]:
    source = f"weights of Keras, {name}"
    reset_after = options_of(layer, source).get("reset_after", reset_after)
    found = plain_names(layer, source)
    shapes = {key: tuple(getattr(value, "shape", ())) for key, value in found.items()}
    odd = [f"{key} {shapes[key]}" for key in ("kernel", "recurrent_kernel") if key in shapes and len(shapes[key]) != 2]
    if odd:
        raise ValueError(f"{source}: kernels must be matrices, got {', '.join(odd)}")
    hidden, columns = (*shapes.get("recurrent_kernel", ()), 0, 0)[:2]
    features = (*shapes.get("kernel", ()), 0)[0]
    gates = columns // hidden if hidden else 0
    expected: dict[str, tuple[int, ...]] = {"kernel": (features, columns), "recurrent_kernel": (hidden, columns)}
    if "bias" in found:  # use_bias=False has none
        expected["bias"] = (2, columns) if gates == 3 and len(shapes["bias"]) == 2 else (columns,)
    compare(found, expected, source)
    if gates not in GATES or columns % hidden:
        kinds = "a SimpleRNN has H, a GRU 3 H, an LSTM 4 H"
        raise ValueError(f"{source}: recurrent_kernel has {columns} columns for {hidden} units; {kinds}")
    arrays = {key: as_array(value, f"{source}: {key}") for key, value in found.items()}
    kernel, state = arrays["kernel"], arrays["recurrent_kernel"]
    if GATES[gates] != "GRU":
        bias = arrays.get("bias", np.zeros(columns, state.dtype))
        return {"input": {"kernel": kernel, "bias": bias}, "recurrent": {"kernel": state}}
    after = _is_after(expected.get("bias"), reset_after, source)
    bias = arrays.get("bias", np.zeros((2, columns) if after else columns, state.dtype))
    kernel, state, bias = (_negate_z(a) for a in (kernel, state, bias))
    if after:
        return {
            "input": {"kernel": kernel, "bias": bias[0]},
            "recurrent": {"kernel": state},
            "recurrent_bias": bias[1],
        }
    blocks = {"gates": state[:, : 2 * hidden], "candidate": state[:, 2 * hidden :]}
    return {"input": {"kernel": kernel, "bias": bias}, "recurrent": blocks}


def _is_after(bias: tuple[int, ...] | None, reset_after: bool | None, source: str) -> bool:
    """Where a GRU's reset stands, by the shape of its bias, or as the caller says where there is none."""
    if bias is None and reset_after is None:
        raise ValueError(
            f"{source}: a GRU without bias has the same arrays with reset_after=True, the default of Keras, and "
            "reset_after=False; pass one of them"
        )
    by_shape = len(bias) == 2 if bias else None
    if by_shape is not None and reset_after is not None and by_shape != reset_after:
        raise ValueError(f"{source}: reset_after must be {by_shape} for a bias of shape {bias}, got {reset_after}")
    return bool(reset_after if by_shape is None else by_shape)


def _to_theirs(cell: Mapping[str, Any], source: str) -> dict[str, np.ndarray]:
    kind, found = read_cell(cell, source)
    if kind == "lstm_projection":
        raise ValueError("to_keras: Keras has no LSTM with a projection")
    kernel, bias = found["input/kernel"], found["input/bias"]
    if kind == "gru_after":
        bias = _negate_z(np.stack([bias, found["recurrent_bias"]]))
        return {"kernel": _negate_z(kernel), "recurrent_kernel": _negate_z(found["recurrent/kernel"]), "bias": bias}
    if kind == "gru_before":
        state = np.concatenate([found["recurrent/gates"], found["recurrent/candidate"]], axis=-1)
        return {"kernel": _negate_z(kernel), "recurrent_kernel": _negate_z(state), "bias": _negate_z(bias)}
    return {"kernel": kernel, "recurrent_kernel": found["recurrent/kernel"], "bias": bias}


def _negate_z(a: np.ndarray) -> np.ndarray:
    z, rest = np.split(a, [a.shape[-1] // 3], axis=-1)
    return np.concatenate([-z, rest], axis=-1)
