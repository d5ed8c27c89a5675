"""Recurrent weights from and to ``torch.nn.RNN``, ``GRU`` and ``LSTM``: all layers, directions and projections.

torch has a weight ``[gates * H, D]`` and two biases per layer and direction. Its gates stand in the order i, f, g, o
(LSTM) and r, z, n (GRU); its GRU keeps ``z`` of the old state where ours takes ``z`` of the candidate, so the block z
changes its sign. Ours is ``recurrent.gru(H, "after")``.
"""

import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from jaxnets.weights.cells import read_cell, read_layers
from jaxnets.weights.check import as_array, compare, listed
from jaxnets.weights.state_dicts import at_prefix, missing_hint, read_state

Arrays = dict[str, np.ndarray]
GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
SOURCE = "weights of torch"


def from_torch(state_dict: Mapping[str, Any] | str | PathLike[str], prefix: str = "") -> dict[str, Any]:
    """The parameters of ``recurrent.StackedRNN`` for the weights of a torch recurrent module.

    The cell is ``elman``, ``gru(H, "after")`` or ``lstm(H, projection=P)``, by the shapes. Two options of a module
    are not in its weights: ``nonlinearity="relu"`` is ``elman(H, jax.nn.relu)``, and a network here takes
    ``[B, T, D]`` whatever ``batch_first`` is, or ``[T, B, D]`` where it is ``time_major``. ``bias=False`` is a bias of
    zeros.

    Args:
        state_dict: Of ``torch.nn.RNN``, ``GRU``, ``LSTM`` or their cells, which become one layer: tensors or arrays,
            also as an entry of a checkpoint, and with the ``module.`` of DataParallel or the ``_orig_mod.`` of
            torch.compile in the keys; or the path of a safetensors file.
        prefix: Where the module stands in a larger one, such as ``"encoder.rnn."``; keys elsewhere are not looked at.

    Returns:
        ``{"layer_0": {"cell": ...}, ...}``, or ``{"layer_0": {"forward": ..., "backward": ...}, ...}`` if the module
        is bidirectional: float32, or float64 where the weights have that. Half precision becomes float32 before
        anything is computed.

    Raises:
        ValueError: Keys are missing, extra or misshapen (at most ten are listed), a weight does not hold
            floating-point numbers, or the file cannot be read.
    """
    state = read_state(state_dict)
    found = at_prefix(state, prefix)
    layers = _layers(state, found, prefix)
    _check(found, layers)
    arrays = {key: as_array(value, key) for key, value in found.items()}
    result: dict[str, Any] = {}
    for number, suffixes in enumerate(layers):
        sides = ("forward", "backward") if len(suffixes) == 2 else ("cell",)
        result[f"layer_{number}"] = {
            side: _to_ours(arrays, suffix) for side, suffix in zip(sides, suffixes, strict=True)
        }
    return result


def to_torch(params: Mapping[str, Any], prefix: str = "") -> Arrays:
    """The state dict of the torch module with these parameters, as numpy arrays: the inverse of ``from_torch``.

    An LSTM's one bias becomes torch's ``bias_ih``, and ``bias_hh`` zero: the same function. The activation of
    ``elman`` is not among its parameters: where it is relu, the module needs ``nonlinearity="relu"``.

    Raises:
        ValueError: The parameters are not those of ``recurrent.StackedRNN`` with a cell that torch has, or its layers
            do not fit into one module.
    """
    state: Arrays = {}
    directions = {"cell": "", "forward": "", "backward": "_reverse"}
    for number, layer in enumerate(read_layers(params, "to_torch")):
        for direction, cell in layer.items():
            for key, value in _to_theirs(cell, f"to_torch: layer_{number}, {direction}").items():
                state[f"{key}_l{number}{directions[direction]}"] = value
    _check(state, _layers(state, state, ""), "to_torch")
    return {f"{prefix}{key}": value for key, value in state.items()}


def _layers(state: Mapping[str, Any], found: Mapping[str, Any], prefix: str) -> list[list[str]]:
    """The ends of the keys of every layer, such as ``_l0`` and ``_l0_reverse``; a cell's keys have none."""
    cell = "weight_ih" in found and "weight_hh" in found
    if cell and "weight_ih_l0" not in found:
        return [[""]]
    if "weight_ih_l0" not in found or "weight_hh_l0" not in found:
        ends = [end for end in ("_l0", "") if any(key.endswith(f".weight_ih{end}") for key in state)] or ["_l0"]
        hint = "".join(missing_hint(state, (f"weight_ih{end}", f"weight_hh{end}")) for end in ends)
        there = listed(sorted(state)) or "no keys"
        raise ValueError(f"{SOURCE}: no {prefix}weight_ih_l0 and {prefix}weight_hh_l0 among {there}{hint}")
    matches = [re.fullmatch(r"(?:weight_(?:ih|hh|hr)|bias_(?:ih|hh))_l(\d{1,4})(_reverse)?", key) for key in found]
    # A number larger than that of all keys is not one of a layer; its key will be listed as extra.
    layers = 1 + max(int(end[1]) for end in matches if end and int(end[1]) < len(found))
    backward = any(end[2] for end in matches if end)
    return [[f"_l{layer}", f"_l{layer}_reverse"][: 1 + backward] for layer in range(layers)]


def _check(found: Mapping[str, Any], layers: list[list[str]], source: str = SOURCE) -> None:
    first = layers[0][0]
    hidden_key = f"weight_hr{first}" if f"weight_hr{first}" in found else f"weight_hh{first}"
    shapes = {key: tuple(getattr(found[key], "shape", ())) for key in (f"weight_ih{first}", hidden_key)}
    odd = [f"{key} {shape}" for key, shape in shapes.items() if len(shape) != 2]
    if odd:
        raise ValueError(f"{source}: weights must be matrices, got {', '.join(odd)}")
    (rows, features), (_, hidden) = shapes.values()
    projection = hidden_key.startswith("weight_hr")
    gates = rows // hidden if hidden and rows % hidden == 0 else 0
    if gates not in ((4,) if projection else GATES):
        kinds = "an LSTM with proj_size has 4 H" if projection else "an RNN has H, a GRU 3 H, an LSTM 4 H"
        raise ValueError(f"{source}: weight_ih{first} has {rows} rows for {hidden} hidden features; {kinds}")
    output = shapes[hidden_key][0] if projection else hidden
    bias = any(key.startswith(("bias_ih", "bias_hh")) for key in found)
    expected: dict[str, tuple[int, ...]] = {}
    for layer, suffixes in enumerate(layers):
        for suffix in suffixes:
            width = features if layer == 0 else output * len(suffixes)
            expected |= {f"weight_ih{suffix}": (rows, width), f"weight_hh{suffix}": (rows, output)}
            if bias:
                expected |= {f"bias_ih{suffix}": (rows,), f"bias_hh{suffix}": (rows,)}
            if projection:
                expected[f"weight_hr{suffix}"] = (output, hidden)
    compare(found, expected, source)


def _to_ours(found: Arrays, suffix: str) -> dict[str, Any]:
    weight, state = found[f"weight_ih{suffix}"].T, found[f"weight_hh{suffix}"].T
    nothing = np.zeros(weight.shape[1], weight.dtype)
    bias, state_bias = found.get(f"bias_ih{suffix}", nothing), found.get(f"bias_hh{suffix}", nothing)
    projection = found.get(f"weight_hr{suffix}")
    hidden = state.shape[0] if projection is None else projection.shape[1]
    if GATES[weight.shape[1] // hidden] == "GRU":
        weight, state, bias, state_bias = (_gru_to_ours(a) for a in (weight, state, bias, state_bias))
        return {
            "input": {"kernel": weight, "bias": bias},
            "recurrent": {"kernel": state},
            "recurrent_bias": state_bias,
        }
    recurrent = {"kernel": state} if projection is None else {"kernel": state, "projection": projection.T}
    return {"input": {"kernel": weight, "bias": bias + state_bias}, "recurrent": recurrent}


def _to_theirs(cell: Mapping[str, Any], source: str) -> Arrays:
    kind, found = read_cell(cell, source)
    if kind == "gru_before":
        raise ValueError('to_torch: a GRU of torch is gru(H, "after"); this one has its reset before the product')
    weight, bias, state = (found[name] for name in ("input/kernel", "input/bias", "recurrent/kernel"))
    state_bias = found.get("recurrent_bias", np.zeros_like(bias))
    if kind == "gru_after":
        weight, state, bias, state_bias = (_gru_to_theirs(a) for a in (weight, state, bias, state_bias))
    result = {"weight_ih": weight.T, "weight_hh": state.T, "bias_ih": bias, "bias_hh": state_bias}
    if kind == "lstm_projection":
        hidden, projected = found["recurrent/projection"].shape
        if projected >= hidden:
            raise ValueError(f"{source}: proj_size of torch must be below hidden_size {hidden}, got {projected}")
        result["weight_hr"] = found["recurrent/projection"].T
    return {name: np.ascontiguousarray(value) for name, value in result.items()}


def _gru_to_ours(a: np.ndarray) -> np.ndarray:
    """Blocks r, z, n to -z, r, n."""
    r, z, n = np.split(a, 3, axis=-1)
    return np.concatenate([-z, r, n], axis=-1)


def _gru_to_theirs(a: np.ndarray) -> np.ndarray:
    """Blocks z, r, n to r, -z, n."""
    z, r, n = np.split(a, 3, axis=-1)
    return np.concatenate([r, -z, n], axis=-1)
