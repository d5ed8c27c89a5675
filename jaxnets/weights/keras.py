"""Recurrent weights from and to Keras: ``SimpleRNN``, ``GRU`` (with both values of ``reset_after``) and ``LSTM``.

A layer is a dict of arrays with the names of Keras: ``kernel [D, gates * H]``, ``recurrent_kernel [H, gates * H]`` and
``bias``. A ``Bidirectional`` layer is ``{"forward": ..., "backward": ...}`` with two such dicts. The gate order is
i, f, c, o for the LSTM, as in jaxnets, and z, r, h for the GRU. The update gate z weights the old state in Keras, and
the candidate in jaxnets, so the conversion negates the weights of z.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from jaxnets.weights.cells import identify_cell, split_layers
from jaxnets.weights.check import as_array, compare
from jaxnets.weights.keras_layers import Layer, arrays_by_name, checked_options, split_directions

GATES = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}


def from_keras(layers: Sequence[Layer], reset_after: bool | None = None) -> dict[str, Any]:
    """Converts the weights of Keras layers to parameters of ``recurrent.StackedRNN``.

    The cell is ``elman(H)``, ``lstm(H)``, ``gru(H, "after")`` for ``reset_after=True`` (the default of Keras), or
    ``gru(H, "before")``. ``use_bias=False`` becomes a bias of zeros. Other options are not part of the arrays:
    ``activation`` must be tanh (for a SimpleRNN, the activation of ``elman``), and ``recurrent_activation`` must be
    sigmoid. ``merge_mode`` corresponds to ``merge`` of ``StackedRNN``. ``go_backwards=True`` corresponds to
    ``recurrent.RNN(cell, reverse=True)``, except that the outputs of the latter are in the order of time.

    Args:
        layers: One dict of arrays for each layer, from input to output, or the Keras layers themselves, so that their
            options are checked.
        reset_after: The option of the GRUs; required for arrays without a bias.

    Returns:
        ``{"layer_0": {"cell": ...}, ...}``, with ``"forward"`` and ``"backward"`` instead of ``"cell"`` in a
        bidirectional layer; float64 for float64 weights, and float32 otherwise.

    Raises:
        ValueError: If keys are missing or extra or shapes are wrong (the message lists at most ten), a weight is not
            floating point, a layer or an option is not supported, or ``reset_after`` is missing or contradicts a bias.
    """
    if not isinstance(layers, (list, tuple)):
        given = type(layers).__name__
        if isinstance(layers, (str, PathLike)):
            given = f"the path {str(layers)!r}; pass keras.saving.load_model(path).layers"
        elif hasattr(layers, "layers"):
            given = f"a {given}; pass its layers"
        raise ValueError(f"`layers` must be a list of layers or of dicts of arrays, got {given}")
    result: dict[str, Any] = {}
    for i, layer in enumerate(layers):
        name = f"layer_{i}"
        directions = split_directions(layer, f"weights of Keras, {name}")
        result[name] = {
            direction: _cell_from_keras(part, name if direction == "cell" else f"{name}, {direction}", reset_after)
            for direction, part in directions.items()
        }
    return result


def to_keras(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Converts parameters of ``recurrent.StackedRNN`` to weights of Keras layers, the inverse of ``from_keras``.

    Each layer has a bias. A ``SimpleRNN`` must have the activation of ``elman``, which is not part of the parameters.

    Args:
        params: Parameters of ``recurrent.StackedRNN``.

    Returns:
        One dict of arrays for each layer, from input to output.

    Raises:
        ValueError: If the parameters are not those of ``recurrent.StackedRNN`` with a cell that Keras has.
    """
    layers: list[dict[str, Any]] = []
    for i, layer in enumerate(split_layers(params, "to_keras")):
        arrays = {
            direction: _cell_to_keras(cell, f"to_keras: layer_{i}, {direction}") for direction, cell in layer.items()
        }
        layers.append(arrays.get("cell", arrays))
    return layers


def _cell_from_keras(layer: Layer, name: str, reset_after: bool | None) -> dict[str, Any]:
    source = f"weights of Keras, {name}"
    reset_after = checked_options(layer, source).get("reset_after", reset_after)
    found = arrays_by_name(layer, source)
    shapes = {key: tuple(getattr(value, "shape", ())) for key, value in found.items()}
    kernels = [key for key in ("kernel", "recurrent_kernel") if key in shapes]
    wrong = [f"{key} {shapes[key]}" for key in kernels if len(shapes[key]) != 2]
    if wrong:
        raise ValueError(f"{source}: kernels must be matrices, got {', '.join(wrong)}")
    hidden, columns = (*shapes.get("recurrent_kernel", ()), 0, 0)[:2]
    features = (*shapes.get("kernel", ()), 0)[0]
    gates = columns // hidden if hidden else 0
    expected: dict[str, tuple[int, ...]] = {"kernel": (features, columns), "recurrent_kernel": (hidden, columns)}
    if "bias" in found:  # absent with use_bias=False
        expected["bias"] = (2, columns) if gates == 3 and len(shapes["bias"]) == 2 else (columns,)
    compare(found, expected, source)
    if gates not in GATES or columns % hidden:
        expected_columns = "H for a SimpleRNN, 3 H for a GRU, 4 H for an LSTM"
        raise ValueError(
            f"{source}: the columns of recurrent_kernel must be {expected_columns}, got {columns} for {hidden} units"
        )
    arrays = {key: as_array(value, f"{source}: {key}") for key, value in found.items()}
    kernel, recurrent_kernel = arrays["kernel"], arrays["recurrent_kernel"]
    if GATES[gates] != "GRU":
        bias = arrays.get("bias", np.zeros(columns, recurrent_kernel.dtype))
        return {"input": {"kernel": kernel, "bias": bias}, "recurrent": {"kernel": recurrent_kernel}}
    after = _resolve_reset_after(expected.get("bias"), reset_after, source)
    bias = arrays.get("bias", np.zeros((2, columns) if after else columns, recurrent_kernel.dtype))
    kernel, recurrent_kernel, bias = (_negate_z(a) for a in (kernel, recurrent_kernel, bias))
    if after:
        return {
            "input": {"kernel": kernel, "bias": bias[0]},
            "recurrent": {"kernel": recurrent_kernel},
            "recurrent_bias": bias[1],
        }
    recurrent = {"gates": recurrent_kernel[:, : 2 * hidden], "candidate": recurrent_kernel[:, 2 * hidden :]}
    return {"input": {"kernel": kernel, "bias": bias}, "recurrent": recurrent}


def _resolve_reset_after(bias: tuple[int, ...] | None, reset_after: bool | None, source: str) -> bool:
    """Determines ``reset_after`` from the shape of the bias, or from the argument if there is no bias."""
    if bias is None and reset_after is None:
        raise ValueError(
            f"{source}: `reset_after` must be given for a GRU without bias, whose arrays are the same for True (the "
            "default of Keras) and False"
        )
    by_shape = len(bias) == 2 if bias else None
    if by_shape is not None and reset_after is not None and by_shape != reset_after:
        raise ValueError(f"{source}: `reset_after` must be {by_shape} for a bias of shape {bias}, got {reset_after}")
    return bool(reset_after if by_shape is None else by_shape)


def _cell_to_keras(cell: Mapping[str, Any], source: str) -> dict[str, np.ndarray]:
    kind, arrays = identify_cell(cell, source)
    if kind == "lstm_projection":
        raise ValueError("to_keras: Keras has no LSTM with a projection")
    kernel, bias = arrays["input/kernel"], arrays["input/bias"]
    if kind == "gru_after":
        bias = _negate_z(np.stack([bias, arrays["recurrent_bias"]]))
        return {"kernel": _negate_z(kernel), "recurrent_kernel": _negate_z(arrays["recurrent/kernel"]), "bias": bias}
    if kind == "gru_before":
        recurrent_kernel = np.concatenate([arrays["recurrent/gates"], arrays["recurrent/candidate"]], axis=-1)
        return {
            "kernel": _negate_z(kernel),
            "recurrent_kernel": _negate_z(recurrent_kernel),
            "bias": _negate_z(bias),
        }
    return {"kernel": kernel, "recurrent_kernel": arrays["recurrent/kernel"], "bias": bias}


def _negate_z(a: np.ndarray) -> np.ndarray:
    z, rest = np.split(a, [a.shape[-1] // 3], axis=-1)
    return np.concatenate([-z, rest], axis=-1)
