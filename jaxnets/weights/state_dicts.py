"""State dicts of torch: normalization of their keys, and extraction from checkpoints."""

import re
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

from jaxnets.weights.check import listed, lists_to_arrays, rename_keys
from jaxnets.weights.files import read_flat

# Names of wrapper modules of DataParallel, torch.compile, FSDP and activation checkpointing.
WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Counters of batch norms and of torch.optim.swa_utils.
COUNTERS = re.compile(r"(?:^|\.)(?:num_batches_tracked|n_averaged)$")

# Keys that replace a weight under torch's weight_norm, spectral_norm and pruning.
PARAMETRIZED = re.compile(r"(?:^|\.)parametrizations\.|weight\w*_(?:g|v|orig|mask)$")


def read_state_dict(state_dict: Mapping[str, Any] | str | PathLike[str]) -> dict[str, Any]:
    """Reads a state dict, without the names of wrappers (such as ``module.`` of DataParallel) and without counters.

    Args:
        state_dict: A state dict, a checkpoint with exactly one state dict, such as ``{"state_dict": ..., "epoch": 3}``,
            or the path of a safetensors file.

    Returns:
        The entries of the state dict by their names without wrappers.

    Raises:
        ValueError: If ``state_dict`` is none of these, the file cannot be read, a checkpoint has several state dicts,
            or two keys are equal without the names of wrappers.
    """
    if isinstance(state_dict, (str, PathLike)):
        state: Mapping[str, Any] = read_flat(state_dict)
    elif isinstance(state_dict, Mapping):
        state = _extract_state_dict(state_dict)
    else:
        given = type(state_dict).__name__
        hint = "; pass its state_dict()" if hasattr(state_dict, "state_dict") else ""
        raise ValueError(f"`state_dict` must be a state dict or the path of a safetensors file, got {given}{hint}")
    not_strings = [repr(key) for key in state if not isinstance(key, str)]
    if not_strings:
        raise ValueError(f"keys of `state_dict` must be strings, got {listed(not_strings)}")
    weights = {name: value for name, value in state.items() if not COUNTERS.search(name)}
    return rename_keys(lists_to_arrays(weights), _without_wrappers, "state dict")


def select_prefix(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Returns the entries of the module at ``prefix``, such as ``"encoder.rnn."``, by their names in that module."""
    if not isinstance(prefix, str):
        raise ValueError(f'`prefix` must be a string, such as "encoder.rnn.", got {prefix!r}')
    prefix = _without_wrappers(prefix)
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def missing_hint(state: Mapping[str, Any], names: Iterable[str]) -> str:
    """Returns the end of an error message about missing keys: prefixes with which all of ``names`` are present."""
    first, *rest = names
    prefixes = [key.removesuffix(first) for key in state if key.endswith(f".{first}")]
    valid = [f"prefix={prefix!r}" for prefix in prefixes if all(prefix + name in state for name in rest)]
    hints = [f"pass {listed(valid, ' or ')}"] if valid else []
    parametrized = [name for name in state if PARAMETRIZED.search(name)]
    if parametrized:
        hints.append(f"remove the weight normalization or other parametrization that has {listed(parametrized)}")
    return "".join(f"; {hint}" for hint in hints)


def _without_wrappers(name: str) -> str:
    return WRAPPERS.sub("", name)


def _extract_state_dict(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the only entry that is a state dict, or the argument if no entry is one."""
    inner = {key: value for key, value in state.items() if isinstance(value, Mapping) and _is_state_dict(value)}
    arrays = [key for key, value in state.items() if _is_array(value)]
    if len(inner) > 1 or (inner and arrays):
        raise ValueError(
            f"`state_dict` must be one state dict, got a dict with {listed(map(repr, [*inner, *arrays]))}; "
            f"pass one of its entries, such as checkpoint[{next(iter(inner))!r}]"
        )
    modules = [key for key, value in state.items() if hasattr(value, "state_dict") and hasattr(value, "parameters")]
    if modules and not inner:
        entries = listed(f"checkpoint[{key!r}]" for key in modules)
        raise ValueError(f"`state_dict` must be a state dict, got a dict with modules; pass state_dict() of {entries}")
    return next(iter(inner.values()), state)


def _is_state_dict(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in value) and any(_is_array(entry) for entry in value.values())


def _is_array(value: Any) -> bool:
    """Returns whether the value is an array with an axis; the step count of a checkpoint may be a scalar array."""
    return bool(getattr(value, "shape", ()))
