"""State dicts of torch in the forms in which they are passed around."""

import re
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

from jaxnets.weights.check import listed, renamed, with_shapes
from jaxnets.weights.files import read_flat

# Names of modules that only wrap another one: DataParallel's, torch.compile's, FSDP's, activation checkpointing's.
WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Counts that are part of a state dict and belong to no parameter: a batch norm's, torch.optim.swa_utils'.
COUNTERS = re.compile(r"(?:^|\.)(?:num_batches_tracked|n_averaged)$")

# What torch's weight_norm, spectral_norm and pruning keep in place of a weight.
PARAMETRIZED = re.compile(r"(?:^|\.)parametrizations\.|weight\w*_(?:g|v|orig|mask)$")


def read_state(state_dict: Mapping[str, Any] | str | PathLike[str]) -> dict[str, Any]:
    """The entries of a state dict under their plain names.

    A checkpoint of which one entry is a state dict, such as ``{"state_dict": ..., "epoch": 3}``, stands for it. The
    names of wrappers, such as DataParallel's ``module.``, are left out, and so are counters.

    Args:
        state_dict: The dict, or the path of a safetensors file.

    Raises:
        ValueError: It is neither, the file cannot be read, it is not clear which entry is the state dict, or two keys
            differ in the names of wrappers alone.
    """
    if isinstance(state_dict, (str, PathLike)):
        state: Mapping[str, Any] = read_flat(state_dict)
    elif isinstance(state_dict, Mapping):
        state = _unwrapped(state_dict)
    else:
        given = type(state_dict).__name__
        hint = "; pass its state_dict()" if hasattr(state_dict, "state_dict") else ""
        raise ValueError(f"a state dict or the path of a safetensors file expected; given {given}{hint}")
    odd = [repr(key) for key in state if not isinstance(key, str)]
    if odd:
        raise ValueError(f"keys of a state dict must be strings, got {listed(odd)}")
    kept = {name: value for name, value in state.items() if not COUNTERS.search(name)}
    return renamed(with_shapes(kept), _plain, "state dict")


def at_prefix(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries of the module at ``prefix``, such as ``"encoder.rnn."``, under their names in that module."""
    if not isinstance(prefix, str):
        raise ValueError(f'prefix must be a string, such as "encoder.rnn.", got {prefix!r}')
    prefix = _plain(prefix)
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def missing_hint(state: Mapping[str, Any], names: Iterable[str]) -> str:
    """The end of a message about missing keys: how to get keys of all these names."""
    first, *rest = names
    prefixes = [key.removesuffix(first) for key in state if key.endswith(f".{first}")]
    fitting = [f"prefix={prefix!r}" for prefix in prefixes if all(prefix + name in state for name in rest)]
    hints = [f"pass {listed(fitting, ' or ')}"] if fitting else []
    parts = [name for name in state if PARAMETRIZED.search(name)]
    if parts:
        hints.append(f"remove the weight normalization or other parametrization that has {listed(parts)}")
    return "".join(f"; {hint}" for hint in hints)


def _plain(name: str) -> str:
    return WRAPPERS.sub("", name)


def _unwrapped(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict itself, or the one entry that is a state dict."""
    inner = {key: value for key, value in state.items() if isinstance(value, Mapping) and _is_state(value)}
    beside = [key for key, value in state.items() if _is_array(value)]
    if len(inner) > 1 or (inner and beside):
        raise ValueError(
            f"a state dict must be given, got a dict with {listed(map(repr, [*inner, *beside]))}; "
            f"pass one of its entries, such as checkpoint[{next(iter(inner))!r}]"
        )
    modules = [key for key, value in state.items() if hasattr(value, "state_dict") and hasattr(value, "parameters")]
    if modules and not inner:
        some = listed(f"checkpoint[{key!r}]" for key in modules)
        raise ValueError(f"a state dict must be given, got a dict with modules; pass the state_dict() of {some}")
    return next(iter(inner.values()), state)


def _is_state(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in value) and any(_is_array(entry) for entry in value.values())


def _is_array(value: Any) -> bool:
    """Whether it is an array with axes: a checkpoint's count of steps may be one without."""
    return bool(getattr(value, "shape", ()))
