"""Flat dicts of settings, with keys such as ``model.hidden_size``."""

import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxnets.training.errors import UsageError


def flatten(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Flattens a nested config: ``{"model.hidden_size": 256, ...}``.

    Lists of dicts are flattened by index: ``optimizer.args.0.max_norm``.
    """
    flat = {}
    for key, value in config.items():
        if isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
            value = {str(index): each for index, each in enumerate(value)}
        if isinstance(value, ConfigDict | Mapping):
            flat.update({f"{key}.{inner}": leaf for inner, leaf in flatten(value).items()})
        else:
            flat[key] = value
    return flat


def check_numbers(key: str, value: Any) -> None:
    """Raises a ``UsageError`` if a number in a setting is not finite, or too large for JSON parsers."""
    if isinstance(value, list | tuple | Mapping):
        for each in value.values() if isinstance(value, Mapping) else value:
            check_numbers(key, each)
    if (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, int) and abs(value) >= 2**63):
        raise UsageError(f"{key} must be finite and of at most 63 bits, got {value}")
