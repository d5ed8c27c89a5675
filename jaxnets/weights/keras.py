"""Recurrent weights from and to Keras: ``SimpleRNN``, ``GRU`` (both places of the reset) and ``LSTM``.

A layer is a dict of its arrays by Keras' names, ``kernel [D, gates * H]``, ``recurrent_kernel [H, gates * H]`` and
``bias``; a ``Bidirectional`` one is ``{"forward": ..., "backward": ...}`` of two such dicts. Gates stand in the order
i, f, c, o (LSTM, as ours) and z, r, h (GRU); its GRU keeps ``z`` of the old state where ours takes ``z`` of the
candidate, so the block z changes its sign.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxnets.weights.check import as_array, compare


def from_keras(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The parameters of ``recurrent.StackedRNN`` for Keras layers, the first one first.

    Args:
        layers: One dict per layer, as above.

    Returns:
        ``{"layer_0": {"cell": ...}, ...}``, or with ``"forward"`` and ``"backward"`` in a layer that has them. A GRU
        with a bias ``[2, 3 H]`` is ``gru(H, "after")``, one with ``[3 H]`` is ``gru(H, "before")``.

    Raises:
        ValueError: Keys are missing, extra or misshapen; all are listed.
    """
    result: dict[str, Any] = {}
    for number, layer in enumerate(layers):
        name = f"layer_{number}"
        if "forward" in layer or "backward" in layer:
            compare({k: np.zeros(0) for k in layer}, {"forward": (0,), "backward": (0,)}, f"weights of Keras, {name}")
            result[name] = {side: _to_ours(layer[side], f"{name}, {side}") for side in ("forward", "backward")}
        else:
            result[name] = {"cell": _to_ours(layer, name)}
    return result


def to_keras(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The Keras layers with these parameters: the inverse of ``from_keras``."""
    layers: list[dict[str, Any]] = []
    for number in range(len(params)):
        layer = params[f"layer_{number}"]
        if "cell" in layer:
            layers.append(_to_theirs(layer["cell"]))
        else:
            layers.append({side: _to_theirs(layer[side]) for side in ("forward", "backward")})
    return layers


def _to_ours(layer: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = {key: as_array(value) for key, value in layer.items()}
    state = found.get("recurrent_kernel", np.zeros((0, 0)))
    hidden, columns = state.shape
    features = found["kernel"].shape[0] if "kernel" in found else 0
    after = columns == 3 * hidden and found.get("bias", np.zeros(0)).ndim == 2
    expected: dict[str, tuple[int, ...]] = {"kernel": (features, columns), "recurrent_kernel": (hidden, columns)}
    if "bias" in found:  # use_bias=False has none
        expected["bias"] = (2, columns) if after else (columns,)
    compare(found, expected, f"weights of Keras, {name}")
    bias = found.get("bias", np.zeros(columns, state.dtype))
    if columns != 3 * hidden:
        return {"input": {"kernel": found["kernel"], "bias": bias}, "recurrent": {"kernel": state}}
    kernel, state, bias = (_negate_z(a) for a in (found["kernel"], state, bias))
    if after:
        return {
            "input": {"kernel": kernel, "bias": bias[0]},
            "recurrent": {"kernel": state},
            "recurrent_bias": bias[1],
        }
    gates = {"gates": state[:, : 2 * hidden], "candidate": state[:, 2 * hidden :]}
    return {"input": {"kernel": kernel, "bias": bias}, "recurrent": gates}


def _to_theirs(cell: Mapping[str, Any]) -> dict[str, np.ndarray]:
    kernel, bias = (np.asarray(cell["input"][name]) for name in ("kernel", "bias"))
    recurrent = {name: np.asarray(value) for name, value in cell["recurrent"].items()}
    if "projection" in recurrent:
        raise ValueError("to_keras: Keras has no LSTM with a projection")
    if "recurrent_bias" in cell:
        bias = _negate_z(np.stack([bias, np.asarray(cell["recurrent_bias"])]))
        return {"kernel": _negate_z(kernel), "recurrent_kernel": _negate_z(recurrent["kernel"]), "bias": bias}
    if "gates" in recurrent:
        state = np.concatenate([recurrent["gates"], recurrent["candidate"]], axis=-1)
        return {"kernel": _negate_z(kernel), "recurrent_kernel": _negate_z(state), "bias": _negate_z(bias)}
    return {"kernel": kernel, "recurrent_kernel": recurrent["kernel"], "bias": bias}


def _negate_z(a: np.ndarray) -> np.ndarray:
    z, rest = np.split(a, [a.shape[-1] // 3], axis=-1)
    return np.concatenate([-z, rest], axis=-1)
