"""Argument checks that raise a ``ValueError`` with the name of the argument, the requirement and the value."""

import operator
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.array_types import Array, Int

MAX_LAYERS = 1000
MAX_SHOWN = 80  # characters of a value in a message


def describe_value(value: Any) -> str:
    """Formats a value for a message: dtype and shape of an array, else its truncated ``repr``."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def check_integer(name: str, value: Any, minimum: int = 1) -> None:
    """Raises a ValueError unless ``value`` is an integer of at least ``minimum``. A bool is not an integer."""
    if isinstance(value, bool) or not _holds(lambda value: operator.index(value) >= minimum, value):
        raise ValueError(f"`{name}` must be an integer of at least {minimum}, got {describe_value(value)}")


def check_probability(name: str, value: Any) -> None:
    """Raises a ValueError unless ``value`` is a number in [0, 1), such as a dropout probability."""
    if not _holds(lambda value: 0 <= value < 1, value):
        raise ValueError(f"`{name}` must be a number in [0, 1), got {describe_value(value)}")


def check_fraction(name: str, value: Any) -> None:
    """Raises a ValueError unless ``value`` is a number in (0, 1), such as the fraction of a split."""
    if not _holds(lambda value: 0 < value < 1, value):
        raise ValueError(f"`{name}` must be a number between 0 and 1, got {describe_value(value)}")


def check_number(name: str, value: Any, minimum: float = 0) -> None:
    """Raises a ValueError unless ``value`` is a number of at least ``minimum``."""
    if not _holds(lambda value: value >= minimum, value):
        raise ValueError(f"`{name}` must be a number of at least {minimum}, got {describe_value(value)}")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raises a ValueError unless ``value`` is one of the strings ``choices``."""
    names = tuple(choices)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"`{name}` must be one of {', '.join(names)}, got {describe_value(value)}")


def check_divisor(name: str, value: Any, total_name: str, total: int) -> None:
    """Raises a ValueError unless ``value`` is a positive divisor of ``total``, the value of ``total_name``."""
    check_integer(name, value)
    if total % value:
        raise ValueError(f"`{name}` must be a divisor of `{total_name}`, {total}, got {value}")


def check_floating(name: str, array: Any, axes: str, min_rank: int) -> None:
    """Raises a ValueError unless ``array`` is a floating point array with at least ``min_rank`` axes.

    Args:
        name: Name of the argument.
        array: An array, or its shape and dtype.
        axes: The expected axes for the message, such as ``"[*batch, T, D]"``.
        min_rank: Minimum number of axes.
    """
    is_array = hasattr(array, "dtype") and hasattr(array, "ndim")
    if not is_array or array.ndim < min_rank or not jnp.issubdtype(array.dtype, jnp.floating):
        given = describe_value(array) if is_array else type(array).__name__
        raise ValueError(f"`{name}` must be a floating point array {axes}, got {given}")


def checked_integers(name: str, value: Any, batch: tuple[int, ...], maximum: int | None = None) -> Int[Array, "..."]:
    """Checks an argument that is one integer or integers ``[*batch]``, and broadcasts it.

    Args:
        name: Name of the argument.
        value: An integer or an array of integers ``[*batch]``.
        batch: Shape of the result.
        maximum: Largest allowed value; None: unbounded.

    Returns:
        int32 ``[*batch]``, clipped to ``maximum``.

    Raises:
        ValueError: The dtype or the shape is wrong, or a concrete value is not in 0 ... ``maximum``.
    """
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.integer) or array.shape not in ((), batch):
        raise ValueError(f"`{name}` must be integers of shape {batch}, got {describe_value(array)}")
    # Values are unknown within jit and on the devices of other processes.
    is_concrete = not isinstance(array, jax.core.Tracer) and getattr(array, "is_fully_addressable", True)
    if maximum is not None and is_concrete:
        wrong = [int(n) for n in np.ravel(array) if not 0 <= n <= maximum]
        if wrong:
            raise ValueError(f"`{name}` must be from 0 to {maximum}, got {wrong[0]}")
    array = jnp.asarray(array, jnp.int32)
    return jnp.broadcast_to(array if maximum is None else jnp.minimum(array, maximum), batch)


def check_depth(**counts: Any) -> None:
    """Raises a ValueError if a model has more than ``MAX_LAYERS`` layers.

    Every layer is traced and compiled. A million layers, perhaps from an untrusted config, would exhaust time and
    memory before any array is allocated.

    Args:
        **counts: Counts of layers, levels or blocks, by attribute name.

    Raises:
        ValueError: A count is not an integer or exceeds ``MAX_LAYERS``.
    """
    for name, count in counts.items():
        _check_count(f"`{name}`", count)


def check_depths(**counts: Any) -> None:
    """Raises a ValueError if a sequence of layer counts is too long or its sum exceeds ``MAX_LAYERS``."""
    check_layer_sizes(**counts)
    for name, sequence in counts.items():
        for count in sequence:
            _check_count(f"each of `{name}`", count)
        _check_count(f"the sum of `{name}`", sum(map(operator.index, sequence)))


def check_layer_sizes(**sequences: Any) -> None:
    """Raises a ValueError unless each argument is a sequence of at most ``MAX_LAYERS`` entries, one per layer."""
    for name, sequence in sequences.items():
        if isinstance(sequence, str) or not hasattr(sequence, "__len__"):
            raise ValueError(f"`{name}` must be a sequence, got {describe_value(sequence)}")
        _check_count(f"the length of `{name}`", len(sequence))


def _check_count(subject: str, count: Any) -> None:
    if not _holds(lambda count: operator.index(count) <= MAX_LAYERS, count):
        raise ValueError(f"{subject} must be an integer of at most {MAX_LAYERS}, got {describe_value(count)}")


def _holds(condition: Callable[[Any], Any], value: Any) -> bool:
    """Evaluates a condition on a scalar; False if the type of the value does not support it."""
    try:
        return getattr(value, "ndim", 0) == 0 and bool(condition(value))
    except (TypeError, ValueError):
        return False
