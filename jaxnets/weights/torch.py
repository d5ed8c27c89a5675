"""Recurrent weights from and to ``torch.nn.RNN``, ``GRU`` and ``LSTM``: all layers, directions and projections.

torch has a weight ``[gates * H, D]`` and two biases per layer and direction. Its gates stand in the order i, f, g, o
(LSTM) and r, z, n (GRU); its GRU keeps ``z`` of the old state where ours takes ``z`` of the candidate, so the block z
changes its sign. Ours is ``recurrent.gru(H, "after")``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets.weights.check import as_array, compare
from jaxnets.weights.files import read_state

Arrays = dict[str, np.ndarray]


def from_torch(state_dict: Mapping[str, Any] | str | Path, prefix: str = "") -> dict[str, Any]:
    """The parameters of ``recurrent.StackedRNN`` for the weights of a torch recurrent module.

    Args:
        state_dict: Of the module, as tensors or arrays, or the path of a safetensors file.
        prefix: Where the module stands in a larger one, such as ``"encoder.rnn."``; keys elsewhere are not looked at.

    Returns:
        ``{"layer_0": {"cell": ...}, ...}``, or ``{"layer_0": {"forward": ..., "backward": ...}, ...}`` if the module
        is bidirectional. The cell is ``elman``, ``gru(H, "after")`` or ``lstm(H)``, by the shapes.

    Raises:
        ValueError: Keys are missing, extra or misshapen (all are listed), or the file cannot be read.
    """
    source = read_state(state_dict)
    found = {key.removeprefix(prefix): as_array(value) for key, value in source.items() if key.startswith(prefix)}
    if "weight_ih_l0" not in found or "weight_hh_l0" not in found:
        raise ValueError(f"weights of torch: no {prefix}weight_ih_l0 and {prefix}weight_hh_l0 among {sorted(source)}")
    backward = "weight_ih_l0_reverse" in found
    layers = 1 + max(int(key.split("_l")[-1].split("_")[0]) for key in found if "_l" in key)
    _check(found, layers, backward)
    result: dict[str, Any] = {}
    for layer in range(layers):
        if backward:
            result[f"layer_{layer}"] = {
                "forward": _to_ours(found, f"_l{layer}"),
                "backward": _to_ours(found, f"_l{layer}_reverse"),
            }
        else:
            result[f"layer_{layer}"] = {"cell": _to_ours(found, f"_l{layer}")}
    return result


def to_torch(params: Mapping[str, Any], prefix: str = "") -> Arrays:
    """The state dict of the torch module with these parameters, as numpy arrays: the inverse of ``from_torch``.

    An LSTM's one bias becomes torch's ``bias_ih``, and ``bias_hh`` zero: the same function.
    """
    state: Arrays = {}
    for name, layer in params.items():
        number = name.removeprefix("layer_")
        directions = {"cell": "", "forward": "", "backward": "_reverse"}
        for direction, cell in layer.items():
            for key, value in _to_theirs(cell).items():
                state[f"{prefix}{key}_l{number}{directions[direction]}"] = value
    return state


def _check(found: Arrays, layers: int, backward: bool) -> None:
    projection = "weight_hr_l0" in found
    hidden = found["weight_hr_l0"].shape[1] if projection else found["weight_hh_l0"].shape[1]
    output = found["weight_hr_l0"].shape[0] if projection else hidden
    rows, features = found["weight_ih_l0"].shape
    if hidden == 0 or rows // hidden not in (1, 3, 4) or rows % hidden:
        raise ValueError(f"weights of torch: weight_ih_l0 has {rows} rows for {hidden} hidden features")
    expected: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: 1 + backward]:
            width = features if layer == 0 else output * (1 + backward)
            expected |= {f"weight_ih{suffix}": (rows, width), f"weight_hh{suffix}": (rows, output)}
            if "bias_ih_l0" in found:
                expected |= {f"bias_ih{suffix}": (rows,), f"bias_hh{suffix}": (rows,)}
            if projection:
                expected[f"weight_hr{suffix}"] = (output, hidden)
    compare(found, expected, "weights of torch")


def _to_ours(found: Arrays, suffix: str) -> dict[str, Any]:
    weight, state = found[f"weight_ih{suffix}"].T, found[f"weight_hh{suffix}"].T
    nothing = np.zeros(weight.shape[1], weight.dtype)
    bias, state_bias = found.get(f"bias_ih{suffix}", nothing), found.get(f"bias_hh{suffix}", nothing)
    projection = found.get(f"weight_hr{suffix}")
    hidden = state.shape[0] if projection is None else projection.shape[1]
    if weight.shape[1] == 3 * hidden:
        weight, state, bias, state_bias = (_gru_to_ours(a) for a in (weight, state, bias, state_bias))
        return {
            "input": {"kernel": weight, "bias": bias},
            "recurrent": {"kernel": state},
            "recurrent_bias": state_bias,
        }
    recurrent = {"kernel": state} if projection is None else {"kernel": state, "projection": projection.T}
    return {"input": {"kernel": weight, "bias": bias + state_bias}, "recurrent": recurrent}


def _to_theirs(cell: Mapping[str, Any]) -> Arrays:
    weight, bias = (np.asarray(cell["input"][name]) for name in ("kernel", "bias"))
    if "kernel" not in cell["recurrent"]:
        raise ValueError('to_torch: a GRU of torch is gru(H, "after"); this one has its reset before the product')
    state = np.asarray(cell["recurrent"]["kernel"])
    state_bias = np.asarray(cell.get("recurrent_bias", np.zeros_like(bias)))
    if "recurrent_bias" in cell:
        weight, state, bias, state_bias = (_gru_to_theirs(a) for a in (weight, state, bias, state_bias))
    result = {"weight_ih": weight.T, "weight_hh": state.T, "bias_ih": bias, "bias_hh": state_bias}
    if "projection" in cell["recurrent"]:
        result["weight_hr"] = np.asarray(cell["recurrent"]["projection"]).T
    return {name: np.ascontiguousarray(value) for name, value in result.items()}


def _gru_to_ours(a: np.ndarray) -> np.ndarray:
    """Blocks r, z, n to -z, r, n."""
    r, z, n = np.split(a, 3, axis=-1)
    return np.concatenate([-z, r, n], axis=-1)


def _gru_to_theirs(a: np.ndarray) -> np.ndarray:
    """Blocks z, r, n to r, -z, n."""
    z, r, n = np.split(a, 3, axis=-1)
    return np.concatenate([r, -z, n], axis=-1)
