"""Arrays and options of Keras layers, without importing Keras."""

from collections.abc import Mapping
from typing import Any

from jaxnets.weights.check import compare, listed, lists_to_arrays, rename_keys

Layer = Any  # a dict of arrays, or a Keras layer

# Options that change the function of a trained layer, and their supported values. Other options, such as
# ``implementation``, ``unroll``, ``unit_forget_bias`` and ``dropout``, do not change it.
TANH, SIGMOID = {"activation": ("tanh",)}, {"recurrent_activation": ("sigmoid",)}
FORWARD: dict[str, tuple[Any, ...]] = {"go_backwards": (False,)}
OPTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "SimpleRNN": {},  # recurrent.elman takes any activation
    "GRU": {**TANH, **SIGMOID},
    "LSTM": {**TANH, **SIGMOID},
}
MERGE_MODES = ("concat", "sum", "ave")


def split_directions(layer: Layer, source: str) -> dict[str, Layer]:
    """Splits a bidirectional layer.

    Args:
        layer: A dict of arrays, or a Keras layer.
        source: Start of error messages.

    Returns:
        The layers of both directions under ``forward`` and ``backward``, or a unidirectional layer under ``cell``.

    Raises:
        ValueError: If ``layer`` is neither a dict of arrays nor a Keras layer, or has an unsupported option.
    """
    if isinstance(layer, Mapping):
        if "forward" not in layer and "backward" not in layer:
            return {"cell": layer}
        expected = dict.fromkeys(("forward", "backward"), ())
        compare({key: _Direction() if key in expected else value for key, value in layer.items()}, expected, source)
        return {direction: layer[direction] for direction in expected}
    kind = type(layer).__name__
    if kind != "Bidirectional":
        _check_is_layer(layer, source)
        _check_options(layer.get_config(), FORWARD, f"{source}: {kind}")
        return {"cell": layer}
    _check_options(layer.get_config(), {"merge_mode": MERGE_MODES}, f"{source}: {kind}")
    forward, backward = layer.forward_layer, layer.backward_layer
    _check_options(forward.get_config(), FORWARD, f"{source}: forward_layer")
    _check_options(backward.get_config(), {"go_backwards": (True,)}, f"{source}: backward_layer")
    return {"forward": forward, "backward": backward}


def checked_options(layer: Layer, source: str) -> dict[str, Any]:
    """Returns the options of a Keras layer, and none for a dict of arrays.

    Args:
        layer: A dict of arrays, or a Keras layer.
        source: Start of error messages.

    Raises:
        ValueError: If the class of the layer or an option is not supported.
    """
    if isinstance(layer, Mapping):
        return {}
    _check_is_layer(layer, source)
    kind, config = type(layer).__name__, layer.get_config()
    cell = config.get("cell")
    if kind == "RNN" and isinstance(cell, Mapping):  # keras.layers.RNN, which wraps a cell
        kind, config = str(cell.get("class_name")), cell["config"]
    kind = kind.removesuffix("Cell")
    if kind not in OPTIONS:
        kinds = ", ".join(OPTIONS)
        raise ValueError(f"{source}: the layer must be one of {kinds}, or Bidirectional with one of these, got {kind}")
    _check_options(config, OPTIONS[kind], f"{source}: {kind}")
    return config


def arrays_by_name(layer: Layer, source: str) -> dict[str, Any]:
    """Returns the arrays of a layer by the names ``kernel``, ``recurrent_kernel`` and ``bias``.

    The names in ``layer`` may be paths with the suffix of TensorFlow, such as ``lstm/lstm_cell/kernel:0``.
    """
    arrays = layer if isinstance(layer, Mapping) else {weight.name: weight for weight in layer.weights}
    if not arrays:
        raise ValueError(f"{source}: the layer must have weights, got none; Keras creates them at the first call")
    not_strings = [repr(key) for key in arrays if not isinstance(key, str)]
    if not_strings:
        raise ValueError(f"{source}: names of arrays must be strings, got {listed(not_strings)}")
    return rename_keys(lists_to_arrays(arrays), lambda name: name.rsplit("/", 1)[-1].split(":")[0], source)


def _check_is_layer(layer: Layer, source: str) -> None:
    if not hasattr(layer, "get_config") or not hasattr(layer, "weights"):
        raise ValueError(f"{source}: the layer must be a dict of arrays or a Keras layer, got {type(layer).__name__}")


def _check_options(config: Mapping[str, Any], allowed: Mapping[str, tuple[Any, ...]], source: str) -> None:
    for option, values in allowed.items():
        if option in config and config[option] not in values:
            options = " or ".join(map(repr, values))
            raise ValueError(f"{source}: {option} must be {options}, got {config[option]!r}")


class _Direction:
    """Placeholder for the arrays of a direction, for the comparison of names."""

    shape = ()
