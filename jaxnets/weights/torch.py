"""Recurrent weights from and to ``torch.nn.RNN``, ``GRU`` and ``LSTM``, with all layers, directions and projections.

torch has a weight ``[gates * H, D]`` and two biases for each layer and direction. Its gate order is i, f, g, o for the
LSTM and r, z, n for the GRU. The update gate z weights the old state in torch, and the candidate in jaxnets, so the
conversion negates the weights of z. The GRU of torch is ``recurrent.gru(H, "after")``.
"""

import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from jaxnets.weights.cells import identify_cell, split_layers
from jaxnets.weights.check import as_array, compare, listed
from jaxnets.weights.state_dicts import missing_hint, read_state_dict, select_prefix

Arrays = dict[str, np.ndarray]
GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
SOURCE = "weights of torch"


def from_torch(state_dict: Mapping[str, Any] | str | PathLike[str], prefix: str = "") -> dict[str, Any]:
    """Converts the weights of a torch recurrent module to parameters of ``recurrent.StackedRNN``.

    The shapes determine the cell: ``elman(H)``, ``gru(H, "after")`` or ``lstm(H, proj_size=P)``. Two options of the
    module are not part of its weights: ``nonlinearity="relu"`` corresponds to ``elman(H, jax.nn.relu)``, and
    ``batch_first`` to the axis order of the input, which is ``[B, T, D]`` in jaxnets, or ``[T, B, D]`` with
    ``time_major=True``. ``bias=False`` becomes a bias of zeros.

    Args:
        state_dict: State dict of ``torch.nn.RNN``, ``GRU``, ``LSTM`` or one of their cells (which becomes one layer),
            with tensors or arrays; a checkpoint that contains it; or the path of a safetensors file. Keys may contain
            ``module.`` of DataParallel or ``_orig_mod.`` of torch.compile.
        prefix: Prefix of the module's keys in the state dict of a larger module, such as ``"encoder.rnn."``. Other keys
            are ignored.

    Returns:
        ``{"layer_0": {"cell": ...}, ...}``, or ``{"layer_0": {"forward": ..., "backward": ...}, ...}`` if the module
        is bidirectional; float64 for float64 weights, and float32 otherwise. Half precision is converted to float32
        before any computation.

    Raises:
        ValueError: If keys are missing or extra or shapes are wrong (the message lists at most ten), a weight is not
            floating point, or the file cannot be read.
    """
    state = read_state_dict(state_dict)
    found = select_prefix(state, prefix)
    layers = _layer_suffixes(state, found, prefix)
    _check(found, layers)
    arrays = {key: as_array(value, key) for key, value in found.items()}
    result: dict[str, Any] = {}
    for i, suffixes in enumerate(layers):
        directions = ("forward", "backward") if len(suffixes) == 2 else ("cell",)
        result[f"layer_{i}"] = {
            direction: _cell_from_torch(arrays, suffix) for direction, suffix in zip(directions, suffixes, strict=True)
        }
    return result


def to_torch(params: Mapping[str, Any], prefix: str = "") -> Arrays:
    """Converts parameters of ``recurrent.StackedRNN`` to a torch state dict, the inverse of ``from_torch``.

    The bias of an LSTM becomes ``bias_ih``, and ``bias_hh`` is zero, which is the same function. The activation of
    ``elman`` is not part of its parameters: for relu, the torch module must have ``nonlinearity="relu"``.

    Args:
        params: Parameters of ``recurrent.StackedRNN``.
        prefix: Prefix of the keys, such as ``"encoder.rnn."``.

    Returns:
        The state dict, with NumPy arrays.

    Raises:
        ValueError: If the parameters are not those of ``recurrent.StackedRNN`` with a cell that torch has, or if its
            layers cannot be in one torch module.
    """
    state: Arrays = {}
    suffixes = {"cell": "", "forward": "", "backward": "_reverse"}
    for i, layer in enumerate(split_layers(params, "to_torch")):
        for direction, cell in layer.items():
            for key, value in _cell_to_torch(cell, f"to_torch: layer_{i}, {direction}").items():
                state[f"{key}_l{i}{suffixes[direction]}"] = value
    _check(state, _layer_suffixes(state, state, ""), "to_torch")
    return {f"{prefix}{key}": value for key, value in state.items()}


def _layer_suffixes(state: Mapping[str, Any], found: Mapping[str, Any], prefix: str) -> list[list[str]]:
    """Returns the key suffixes of each layer, such as ``_l0`` and ``_l0_reverse``; keys of a cell have no suffix."""
    is_cell = "weight_ih" in found and "weight_hh" in found
    if is_cell and "weight_ih_l0" not in found:
        return [[""]]
    if "weight_ih_l0" not in found or "weight_hh_l0" not in found:
        ends = [end for end in ("_l0", "") if any(key.endswith(f".weight_ih{end}") for key in state)] or ["_l0"]
        hint = "".join(missing_hint(state, (f"weight_ih{end}", f"weight_hh{end}")) for end in ends)
        keys = listed(sorted(state)) or "no keys"
        raise ValueError(f"{SOURCE}: keys must include {prefix}weight_ih_l0 and {prefix}weight_hh_l0, got {keys}{hint}")
    matches = [re.fullmatch(r"(?:weight_(?:ih|hh|hr)|bias_(?:ih|hh))_l(\d{1,4})(_reverse)?", key) for key in found]
    # An index of at least the number of keys cannot be that of a layer; its key is reported as extra.
    num_layers = 1 + max(int(match[1]) for match in matches if match and int(match[1]) < len(found))
    bidirectional = any(match[2] for match in matches if match)
    return [[f"_l{layer}", f"_l{layer}_reverse"][: 1 + bidirectional] for layer in range(num_layers)]


def _check(found: Mapping[str, Any], layers: list[list[str]], source: str = SOURCE) -> None:
    first = layers[0][0]
    hidden_key = f"weight_hr{first}" if f"weight_hr{first}" in found else f"weight_hh{first}"
    shapes = {key: tuple(getattr(found[key], "shape", ())) for key in (f"weight_ih{first}", hidden_key)}
    wrong = [f"{key} {shape}" for key, shape in shapes.items() if len(shape) != 2]
    if wrong:
        raise ValueError(f"{source}: weights must be matrices, got {', '.join(wrong)}")
    (rows, features), (_, hidden) = shapes.values()
    projection = hidden_key.startswith("weight_hr")
    gates = rows // hidden if hidden and rows % hidden == 0 else 0
    if gates not in ((4,) if projection else GATES):
        expected_rows = (
            "4 H for an LSTM with proj_size" if projection else "H for an RNN, 3 H for a GRU, 4 H for an LSTM"
        )
        raise ValueError(
            f"{source}: the rows of weight_ih{first} must be {expected_rows}, got {rows} for {hidden} hidden units"
        )
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


def _cell_from_torch(arrays: Arrays, suffix: str) -> dict[str, Any]:
    kernel, recurrent_kernel = arrays[f"weight_ih{suffix}"].T, arrays[f"weight_hh{suffix}"].T
    zeros = np.zeros(kernel.shape[1], kernel.dtype)
    bias, recurrent_bias = arrays.get(f"bias_ih{suffix}", zeros), arrays.get(f"bias_hh{suffix}", zeros)
    projection = arrays.get(f"weight_hr{suffix}")
    hidden = recurrent_kernel.shape[0] if projection is None else projection.shape[1]
    if GATES[kernel.shape[1] // hidden] == "GRU":
        kernel, recurrent_kernel, bias, recurrent_bias = (
            _gru_from_torch(a) for a in (kernel, recurrent_kernel, bias, recurrent_bias)
        )
        return {
            "input": {"kernel": kernel, "bias": bias},
            "recurrent": {"kernel": recurrent_kernel},
            "recurrent_bias": recurrent_bias,
        }
    recurrent = {"kernel": recurrent_kernel}
    if projection is not None:
        recurrent["projection"] = projection.T
    return {"input": {"kernel": kernel, "bias": bias + recurrent_bias}, "recurrent": recurrent}


def _cell_to_torch(cell: Mapping[str, Any], source: str) -> Arrays:
    kind, arrays = identify_cell(cell, source)
    if kind == "gru_before":
        raise ValueError('to_torch: the GRU must be gru(H, "after"), as in torch, got gru(H, "before")')
    kernel, bias, recurrent_kernel = (arrays[name] for name in ("input/kernel", "input/bias", "recurrent/kernel"))
    recurrent_bias = arrays.get("recurrent_bias", np.zeros_like(bias))
    if kind == "gru_after":
        kernel, recurrent_kernel, bias, recurrent_bias = (
            _gru_to_torch(a) for a in (kernel, recurrent_kernel, bias, recurrent_bias)
        )
    result = {"weight_ih": kernel.T, "weight_hh": recurrent_kernel.T, "bias_ih": bias, "bias_hh": recurrent_bias}
    if kind == "lstm_projection":
        hidden, projected = arrays["recurrent/projection"].shape
        if projected >= hidden:
            raise ValueError(f"{source}: proj_size of torch must be below hidden_size {hidden}, got {projected}")
        result["weight_hr"] = arrays["recurrent/projection"].T
    return {name: np.ascontiguousarray(value) for name, value in result.items()}


def _gru_from_torch(a: np.ndarray) -> np.ndarray:
    """Converts the gate blocks r, z, n to -z, r, n."""
    r, z, n = np.split(a, 3, axis=-1)
    return np.concatenate([-z, r, n], axis=-1)


def _gru_to_torch(a: np.ndarray) -> np.ndarray:
    """Converts the gate blocks z, r, n to r, -z, n."""
    z, r, n = np.split(a, 3, axis=-1)
    return np.concatenate([r, -z, n], axis=-1)
