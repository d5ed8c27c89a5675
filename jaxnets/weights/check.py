"""Strictness: what a foreign file lacks, has too much of, or has in another shape is listed, all at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def as_array(value: Any) -> np.ndarray:
    """A numpy array of an array, or of a tensor of torch (which need not be installed)."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    value = value.detach().cpu()
    return (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()


def compare(found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Raises a ``ValueError`` that lists the missing, extra and misshapen keys of ``found``."""
    wrong = [f"missing {name} {shape}" for name, shape in expected.items() if name not in found]
    wrong += [f"extra {name} {tuple(value.shape)}" for name, value in found.items() if name not in expected]
    wrong += [
        f"{name} has shape {tuple(found[name].shape)}, {shape} expected"
        for name, shape in expected.items()
        if name in found and tuple(found[name].shape) != shape
    ]
    if wrong:
        raise ValueError(f"{source}: " + "; ".join(wrong))
