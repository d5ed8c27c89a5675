"""Arrays that are given to an exported model, checked against what it reads."""

from collections.abc import Mapping, Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NUMBERS = (jnp.bool_, jnp.integer, jnp.floating)

# What float32 "inputs" leave of raw numbers that are to be standardized: two more float32 of each.
REST = "inputs_rest"


def array_of(value: Any) -> Any:
    return value if isinstance(value, jax.Array) else np.asarray(value)


def raw_arrays(
    given: Mapping[str, Any],
    about: Mapping[str, Any] | None,
    expected: Mapping[str, Any],
    limits: Mapping[str, int],
) -> dict[str, Any]:
    """The arrays that a function reads, of raw ones as they are in the data's files.

    Args:
        given: ``inputs``, and others that the function reads; ``lengths`` and ``valid`` are all that there are where
            they are left out.
        about: What becomes of raw inputs, as ``model.json`` describes it; None: nothing.
        expected: By name, the ``shape`` and ``dtype`` of what the function reads.
        limits: Largest sizes of named axes.

    Raises:
        ValueError: Inputs are not numbers, or of another shape.
    """
    if about is None:
        return dict(given)
    inputs, shape = array_of(given["inputs"]), expected["inputs"]["shape"]
    if not any(jnp.issubdtype(inputs.dtype, kind) for kind in NUMBERS):
        raise ValueError(f"inputs must be numbers, got {inputs.dtype}")
    if inputs.ndim + 1 == len(shape) and shape[-1] == 1:  # one feature, or one channel
        inputs = inputs[..., None]
    if about["kind"] == "Images":
        return {**given, "inputs": inputs}
    if about["kind"] == "Pixels":
        width = about["width"]
        if width is not None and inputs.ndim == 3 and inputs.shape[2] == 1 != width and not inputs.shape[1] % width:
            inputs = inputs.reshape(len(inputs), -1, width)  # an image's pixels in one row
        return {**given, "inputs": inputs.astype(np.float32)}
    if inputs.ndim != len(shape):
        check_array("inputs", inputs.astype(np.float32), expected["inputs"], limits, {})  # an error
    rows, steps = inputs.shape[:2]
    whole = {"lengths": np.full(rows, steps), "valid": np.ones((rows, steps), bool)}
    given = {**{name: array for name, array in whole.items() if name in expected}, **given}
    check_names(given, expected.keys() - {REST})
    return {**given, **in_float32(inputs)} if REST in expected else {**given, "inputs": inputs.astype(np.float32)}


def in_float32(numbers: Any) -> dict[str, Any]:
    """Numbers as three float32 whose sum they are; two of them are the rest."""
    if numbers.dtype == bool:
        numbers = numbers.astype(np.uint8)
    if jnp.issubdtype(numbers.dtype, jnp.integer):
        width = (8 * numbers.dtype.itemsize + 2) // 3  # bits of each: at most 22, a float32 holds 24
        groups = numbers >> 2 * width, numbers >> width & 2**width - 1, numbers & 2**width - 1
        parts = [
            group.astype(np.float32) * 2.0**shift for group, shift in zip(groups, (2 * width, width, 0), strict=True)
        ]
    else:
        parts, rest = [], numbers
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(3):
                parts.append(rest.astype(np.float32))
                rest = rest - parts[-1].astype(rest.dtype)
        if isinstance(numbers, np.ndarray) and np.any(np.isinf(parts[0]) & ~np.isinf(numbers)):
            raise ValueError(f"inputs must be numbers up to {np.finfo(np.float32).max:g}, the largest float32")
    stack = jnp.stack if isinstance(numbers, jax.Array) else np.stack
    return {"inputs": parts[0], REST: stack(parts[1:], axis=-1)}


def check_names(given: Mapping[str, Any], expected: Set[str], of: str = "") -> None:
    if given.keys() != expected:
        raise ValueError(
            f"{of}arrays {', '.join(sorted(expected)) or 'none'} expected; given {', '.join(sorted(given))}"
        )


def checked(
    given: Mapping[str, Any],
    expected: Mapping[str, Any],
    limits: Mapping[str, int],
    known: dict[str, int],
    of: str = "",
) -> dict[str, jax.Array]:
    """The arrays as they are read; ``known`` sizes of named axes must agree, and new ones are added to it."""
    check_names(given, expected.keys(), of)
    return {name: check_array(of + name, given[name], like, limits, known) for name, like in expected.items()}


def check_array(
    name: str, value: Any, like: Mapping[str, Any], limits: Mapping[str, int], known: dict[str, int]
) -> jax.Array:
    array = array_of(value)
    shape, dtype = like["shape"], jnp.dtype(like["dtype"])
    size = lambda axis: f"{axis} <= {limits[axis]}" if axis in limits else str(axis)
    wanted = f"{name}: {dtype} [{', '.join(map(size, shape))}] expected; given {array.dtype} {list(array.shape)}"
    if array.ndim != len(shape) or not any(all(jnp.issubdtype(d, k) for d in (array.dtype, dtype)) for k in NUMBERS):
        raise ValueError(wanted)
    for axis, length in zip(shape, array.shape, strict=True):
        if isinstance(axis, int) and axis != length:
            raise ValueError(wanted)
        if isinstance(axis, str) and axis.isidentifier():
            if not 1 <= length <= limits.get(axis, length):
                raise ValueError(wanted if length else f"{wanted}, where {axis} must be at least 1")
            if known.setdefault(axis, length) != length:
                raise ValueError(f"{wanted}, where {axis} is {known[axis]}")
    if jnp.issubdtype(dtype, jnp.integer) and array.dtype != dtype:
        limit = jnp.iinfo(dtype)
        if array.size and not limit.min <= array.min() <= array.max() <= limit.max:
            wrong = array.min() if array.min() < limit.min else array.max()
            raise ValueError(f"{name}: numbers from {limit.min} to {limit.max} expected; given {wrong}")
    return jnp.asarray(array, dtype)
