"""Arguments of an exported model: conversion of raw arrays, and checks of shapes and dtypes."""

from collections.abc import Mapping, Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NUMBERS = (jnp.bool_, jnp.integer, jnp.floating)

# Name of the argument with the rounding errors of float32 inputs: two more float32 per number (see ``split_float32``).
REST = "inputs_rest"


def array_of(value: Any) -> Any:
    return value if isinstance(value, jax.Array) else np.asarray(value)


def convert_raw_arrays(
    arrays: Mapping[str, Any],
    about: Mapping[str, Any] | None,
    expected: Mapping[str, Any],
    limits: Mapping[str, int],
) -> dict[str, Any]:
    """Converts raw arrays, with numbers as in the data files, to the arguments of an exported function.

    Args:
        arrays: ``inputs`` and the other arguments of the function. Without ``lengths`` or ``valid``, all steps or
            elements are valid.
        about: The description of raw inputs in ``model.json``, or None if inputs are not preprocessed.
        expected: The ``shape`` and ``dtype`` of each argument of the function.
        limits: The maximum sizes of named axes.

    Raises:
        ValueError: ``inputs`` are not numeric or have a wrong shape.
    """
    if about is None:
        return dict(arrays)
    inputs, shape = array_of(arrays["inputs"]), expected["inputs"]["shape"]
    if about["kind"] == "Texts":  # token ids
        full = {"lengths": np.full(inputs.shape[:1], inputs.shape[-1], np.int32)} if "lengths" in expected else {}
        return {**full, **arrays}
    if not any(jnp.issubdtype(inputs.dtype, kind) for kind in NUMBERS):
        raise ValueError(f"`inputs` must be numeric, got {inputs.dtype}")
    if inputs.ndim + 1 == len(shape) and shape[-1] == 1:  # a single feature or channel
        inputs = inputs[..., None]
    if about["kind"] == "Images":
        return {**arrays, "inputs": inputs}
    if about["kind"] == "Pixels":
        width = about["width"]
        if width is not None and inputs.ndim == 3 and inputs.shape[2] == 1 != width and not inputs.shape[1] % width:
            inputs = inputs.reshape(len(inputs), -1, width)  # images in rows of pixels
        return {**arrays, "inputs": inputs.astype(np.float32)}
    if inputs.ndim != len(shape):
        check_array("inputs", inputs.astype(np.float32), expected["inputs"], limits, {})  # raises
    rows, steps = inputs.shape[:2]
    defaults = {"lengths": np.full(rows, steps), "valid": np.ones((rows, steps), bool)}
    arrays = {**{name: array for name, array in defaults.items() if name in expected}, **arrays}
    check_names(arrays, expected.keys() - {REST})
    return {**arrays, **split_float32(inputs)} if REST in expected else {**arrays, "inputs": inputs.astype(np.float32)}


def split_float32(numbers: Any) -> dict[str, Any]:
    """Splits every number into three float32 whose sum equals it: ``inputs`` and the two of ``REST``."""
    if numbers.dtype == bool:
        numbers = numbers.astype(np.uint8)
    if jnp.issubdtype(numbers.dtype, jnp.integer):
        width = (8 * numbers.dtype.itemsize + 2) // 3  # bits per float32: at most 22 of its 24
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
            raise ValueError(
                f"`inputs` must be at most {np.finfo(np.float32).max:g}, the maximum of float32, got larger numbers"
            )
    stack = jnp.stack if isinstance(numbers, jax.Array) else np.stack
    return {"inputs": parts[0], REST: stack(parts[1:], axis=-1)}


def check_names(arrays: Mapping[str, Any], expected: Set[str], prefix: str = "") -> None:
    if arrays.keys() != expected:
        raise ValueError(
            f"{prefix}arrays must be {', '.join(sorted(expected)) or 'none'}, got {', '.join(sorted(arrays)) or 'none'}"
        )


def checked(
    arrays: Mapping[str, Any],
    expected: Mapping[str, Any],
    limits: Mapping[str, int],
    known: dict[str, int],
    prefix: str = "",
) -> dict[str, jax.Array]:
    """Checks arrays and casts them to the expected dtypes.

    Sizes of named axes must agree with those in ``known``; new sizes are added to it.
    """
    check_names(arrays, expected.keys(), prefix)
    return {name: check_array(prefix + name, arrays[name], like, limits, known) for name, like in expected.items()}


def check_array(
    name: str, value: Any, like: Mapping[str, Any], limits: Mapping[str, int], known: dict[str, int]
) -> jax.Array:
    array = array_of(value)
    shape, dtype = like["shape"], jnp.dtype(like["dtype"])
    size = lambda axis: f"{axis} <= {limits[axis]}" if axis in limits else str(axis)
    message = f"{name} must be {dtype} [{', '.join(map(size, shape))}], got {array.dtype} {list(array.shape)}"
    if array.ndim != len(shape) or not any(all(jnp.issubdtype(d, k) for d in (array.dtype, dtype)) for k in NUMBERS):
        raise ValueError(message)
    for axis, length in zip(shape, array.shape, strict=True):
        if isinstance(axis, int) and axis != length:
            raise ValueError(message)
        if isinstance(axis, str) and axis.isidentifier():
            if not 1 <= length <= limits.get(axis, length):
                raise ValueError(message if length else f"{message}, where {axis} must be at least 1")
            if known.setdefault(axis, length) != length:
                raise ValueError(f"{message}, where {axis} is {known[axis]}")
    if jnp.issubdtype(dtype, jnp.integer) and array.dtype != dtype:
        limit = jnp.iinfo(dtype)
        if array.size and not limit.min <= array.min() <= array.max() <= limit.max:
            wrong = array.min() if array.min() < limit.min else array.max()
            raise ValueError(f"{name} must be from {limit.min} to {limit.max}, got {wrong}")
    return jnp.asarray(array, dtype)
