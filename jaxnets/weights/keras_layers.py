"""Layers of Keras: their arrays under plain names, and checks of their options. Keras need not be installed."""

from collections.abc import Mapping
from typing import Any

from jaxnets.weights.check import compare, listed, renamed, with_shapes

Layer = Any  # a dict of arrays, or a layer of Keras

# The options that change the function a layer computes, and the values that have a counterpart here. The others, such
# as ``implementation``, ``unroll``, ``unit_forget_bias`` and ``dropout``, do not change what a trained layer computes.
TANH, SIGMOID = {"activation": ("tanh",)}, {"recurrent_activation": ("sigmoid",)}
FORWARD: dict[str, tuple[Any, ...]] = {"go_backwards": (False,)}
OPTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "SimpleRNN": {},  # recurrent.elman takes any activation
    "GRU": {**TANH, **SIGMOID},
    "LSTM": {**TANH, **SIGMOID},
}
MERGED = ("concat", "sum", "ave")


def sides_of(layer: Layer, source: str) -> dict[str, Layer]:
    """A layer under ``cell``, or those of both directions under ``forward`` and ``backward``.

    Raises:
        ValueError: It is neither arrays nor a layer, or has an option without a counterpart here.
    """
    if isinstance(layer, Mapping):
        if "forward" not in layer and "backward" not in layer:
            return {"cell": layer}
        none = dict.fromkeys(("forward", "backward"), ())
        compare({key: _Side() if key in none else value for key, value in layer.items()}, none, source)
        return {side: layer[side] for side in none}
    kind = type(layer).__name__
    if kind != "Bidirectional":
        _check_is_layer(layer, source)
        _check_options(layer.get_config(), FORWARD, f"{source}: {kind}")
        return {"cell": layer}
    _check_options(layer.get_config(), {"merge_mode": MERGED}, f"{source}: {kind}")
    forward, backward = layer.forward_layer, layer.backward_layer
    _check_options(forward.get_config(), FORWARD, f"{source}: forward_layer")
    _check_options(backward.get_config(), {"go_backwards": (True,)}, f"{source}: backward_layer")
    return {"forward": forward, "backward": backward}


def options_of(layer: Layer, source: str) -> dict[str, Any]:
    """The options of a layer, checked; none of one that is given as arrays.

    Raises:
        ValueError: The layer is of a kind, or has an option, without a counterpart here.
    """
    if isinstance(layer, Mapping):
        return {}
    _check_is_layer(layer, source)
    kind, config = type(layer).__name__, layer.get_config()
    cell = config.get("cell")
    if kind == "RNN" and isinstance(cell, Mapping):  # a layer around a cell
        kind, config = str(cell.get("class_name")), cell["config"]
    kind = kind.removesuffix("Cell")
    if kind not in OPTIONS:
        kinds = ", ".join(OPTIONS)
        raise ValueError(f"{source}: layers must be {kinds}, or Bidirectional ones of these, got {kind}")
    _check_options(config, OPTIONS[kind], f"{source}: {kind}")
    return config


def plain_names(layer: Layer, source: str) -> dict[str, Any]:
    """The arrays of a layer under ``kernel``, ``recurrent_kernel`` and ``bias``.

    Names may be paths, and end in the number that TensorFlow gives them: ``lstm/lstm_cell/kernel:0``.
    """
    arrays = layer if isinstance(layer, Mapping) else {weight.name: weight for weight in layer.weights}
    if not arrays:
        raise ValueError(f"{source}: a layer must have weights, got none; Keras makes them when it is first called")
    odd = [repr(key) for key in arrays if not isinstance(key, str)]
    if odd:
        raise ValueError(f"{source}: names of arrays must be strings, got {listed(odd)}")
    return renamed(with_shapes(arrays), lambda name: name.rsplit("/", 1)[-1].split(":")[0], source)


def _check_is_layer(layer: Layer, source: str) -> None:
    if not hasattr(layer, "get_config") or not hasattr(layer, "weights"):
        raise ValueError(f"{source}: must be a dict of arrays or a layer of Keras, got {type(layer).__name__}")


def _check_options(config: Mapping[str, Any], allowed: Mapping[str, tuple[Any, ...]], source: str) -> None:
    for option, values in allowed.items():
        if option in config and config[option] not in values:
            options = " or ".join(map(repr, values))
            raise ValueError(f"{source}: {option} must be {options}, got {config[option]!r}")


class _Side:
    """Stands for the arrays of one direction where names are compared."""

    shape = ()
