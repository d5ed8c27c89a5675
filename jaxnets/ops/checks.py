"""Checks of arguments: thin functions that raise a ``ValueError`` which names the argument and what it must be."""

import operator
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.array_types import Array, Int

MOST_LAYERS = 1000
LONGEST = 80  # characters of a value in a message


def described(value: Any) -> str:
    """A value in a message: an array by dtype and shape, anything else as it prints, cut where that is long."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def check_integer(name: str, value: Any, least: int = 1) -> None:
    """Raises a ValueError unless ``value`` is an integer of at least ``least``; truth values are not integers."""
    if isinstance(value, bool) or not _holds(lambda value: operator.index(value) >= least, value):
        raise ValueError(f"`{name}` must be an integer of at least {least}, got {described(value)}")


def check_rate(name: str, value: Any) -> None:
    """Raises a ValueError unless ``value`` is a number from 0 to below 1, such as the probability of dropout."""
    if not _holds(lambda value: 0 <= value < 1, value):
        raise ValueError(f"`{name}` must be a number from 0 to below 1, got {described(value)}")


def check_part(name: str, value: Any) -> None:
    """Raises a ValueError unless ``value`` is a number between 0 and 1, neither of which it is."""
    if not _holds(lambda value: 0 < value < 1, value):
        raise ValueError(f"`{name}` must be a number between 0 and 1, got {described(value)}")


def check_number(name: str, value: Any, least: float = 0) -> None:
    """Raises a ValueError unless ``value`` is a number of at least ``least``."""
    if not _holds(lambda value: value >= least, value):
        raise ValueError(f"`{name}` must be a number of at least {least}, got {described(value)}")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raises a ValueError unless ``value`` is one of a few names."""
    names = tuple(choices)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"`{name}` must be one of {', '.join(names)}, got {described(value)}")


def check_divisor(name: str, value: Any, of: str, whole: int) -> None:
    """Raises a ValueError unless ``value`` is a divisor, at least 1, of the size ``whole`` that ``of`` names."""
    check_integer(name, value)
    if whole % value:
        raise ValueError(f"`{name}` must be a divisor of {of}, {whole}, got {value}")


def check_floating(name: str, array: Any, axes: str, least_rank: int) -> None:
    """Raises a ValueError unless ``array`` is a floating point array of at least so many axes.

    Args:
        name: Of the argument.
        array: An array, or its shape and dtype.
        axes: The axes, for the message, as ``"[*batch, T, D]"``.
        least_rank: How many there must be.
    """
    fits = hasattr(array, "dtype") and hasattr(array, "ndim")
    if not fits or array.ndim < least_rank or not jnp.issubdtype(array.dtype, jnp.floating):
        given = described(array) if fits else type(array).__name__
        raise ValueError(f"`{name}` must be a floating point array {axes}, got {given}")


def checked_integers(name: str, given: Any, batch: tuple[int, ...], largest: int | None = None) -> Int[Array, "..."]:
    """An argument that is one integer or ``[*batch]``, as int32 ``[*batch]``; not above ``largest``, if there is one.

    Raises:
        ValueError: It has another dtype or shape, or, where values are known, is not in 0 ... ``largest``.
    """
    array = given if isinstance(given, jax.Array) else np.asarray(given)
    if not jnp.issubdtype(array.dtype, jnp.integer) or array.shape not in ((), batch):
        raise ValueError(f"`{name}` must be integers of shape {batch}, got {described(array)}")
    # Within jit, and on other processes' devices, the values are not known.
    known = not isinstance(array, jax.core.Tracer) and getattr(array, "is_fully_addressable", True)
    if largest is not None and known:
        wrong = [int(n) for n in np.ravel(array) if not 0 <= n <= largest]
        if wrong:
            raise ValueError(f"`{name}` must be from 0 to {largest}, got {wrong[0]}")
    array = jnp.asarray(array, jnp.int32)
    return jnp.broadcast_to(array if largest is None else jnp.minimum(array, largest), batch)


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
        _check_count(f"`{name}`", count)


def check_depths(**counts: Any) -> None:
    """Raises as ``check_depth`` does where sequences of numbers of layers have a sum above the limit, or are long."""
    check_lengths(**counts)
    for name, sequence in counts.items():
        for count in sequence:
            _check_count(f"each of `{name}`", count)
        _check_count(f"the sum of `{name}`", sum(map(operator.index, sequence)))


def check_lengths(**sequences: Any) -> None:
    """Raises as ``check_depth`` does where sequences, one entry a layer, are longer than the limit."""
    for name, sequence in sequences.items():
        if isinstance(sequence, str) or not hasattr(sequence, "__len__"):
            raise ValueError(f"`{name}` must be a sequence, got {described(sequence)}")
        _check_count(f"the length of `{name}`", len(sequence))


def _check_count(what: str, count: Any) -> None:
    if not _holds(lambda count: operator.index(count) <= MOST_LAYERS, count):
        raise ValueError(f"{what} must be an integer of at most {MOST_LAYERS}, got {described(count)}")


def _holds(condition: Callable[[Any], Any], value: Any) -> bool:
    """Whether a condition holds of a value; not of one, such as a text, that it cannot be asked of."""
    try:
        return getattr(value, "ndim", 0) == 0 and bool(condition(value))
    except (TypeError, ValueError):
        return False
