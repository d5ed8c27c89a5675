"""Checks that the families share of what a user gives."""

import operator
from typing import Any

MOST_LAYERS = 1000


def check_depth(**counts: Any) -> None:
    """Raises where a model would have more layers than anybody trains.

    Every layer is traced and compiled, so that a million of them would take hours and all memory before any array is
    allocated. A config may come from somebody else.

    Args:
        **counts: Numbers of layers, levels or blocks, by the names of the attributes that hold them.

    Raises:
        ValueError: One is not an integer, or is above ``MOST_LAYERS``.
    """
    for name, count in counts.items():
        try:
            fits = operator.index(count) <= MOST_LAYERS
        except TypeError:
            fits = False
        if not fits:
            raise ValueError(f"{name} must be an integer of at most {MOST_LAYERS}, got {count!r}")


def check_depths(**counts: Any) -> None:
    """Raises as ``check_depth`` does where sequences of numbers of layers have a sum above the limit, or are long."""
    for name, sequence in counts.items():
        check_depth(**{f"the length of {name}": _length(name, sequence)})
        for count in sequence:
            check_depth(**{f"each of {name}": count})
        check_depth(**{f"the sum of {name}": sum(map(operator.index, sequence))})


def check_lengths(**sequences: Any) -> None:
    """Raises as ``check_depth`` does where sequences, one entry a layer, are longer than the limit."""
    for name, sequence in sequences.items():
        check_depth(**{f"the length of {name}": _length(name, sequence)})


def _length(name: str, sequence: Any) -> int:
    if isinstance(sequence, str) or not hasattr(sequence, "__len__"):
        raise ValueError(f"{name} must be a sequence, got {sequence!r}")
    return len(sequence)
