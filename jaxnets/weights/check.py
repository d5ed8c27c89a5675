"""Checks of the names, shapes and dtypes of weights, with error messages of bounded length."""

from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnets.ops.host.printable import printable

MAX_LISTED = 10
MAX_ITEM_LENGTH = 120  # characters of one item in a message


def listed(items: Iterable[Any], separator: str = ", ") -> str:
    """Formats at most ten items and a count of the others, as in ``"a, b, ... and 312 more"``."""
    items = list(items)
    more = [f"... and {len(items) - MAX_LISTED} more"] if len(items) > MAX_LISTED else []
    return separator.join([printable(item, MAX_ITEM_LENGTH) for item in items[:MAX_LISTED]] + more)


def as_array(value: Any, name: str) -> np.ndarray:
    """Copies a parameter to a NumPy array.

    Args:
        value: A NumPy or JAX array, a torch tensor, a Keras variable, or nested lists of numbers. Neither torch nor
            Keras must be installed.
        name: Name of the parameter in error messages.

    Returns:
        A new array: float64 for float64 values; float32 for float32, float16, bfloat16 and float8 values.

    Raises:
        ValueError: If the value is not an array of floating-point numbers: integers, complex numbers, quantized, sparse
            and packed tensors, tensors without data, and other objects. The message names the parameter and the dtype.
    """
    data = getattr(value, "value", None)  # the data of a Keras variable; np.asarray(variable) fails for some dtypes
    value = data if hasattr(data, "dtype") else value
    array = _from_torch(value, name) if hasattr(value, "detach") else _from_numpy(value, name)
    if not jnp.issubdtype(array.dtype, jnp.floating) or array.dtype.itemsize > 8:
        raise ValueError(f"{name} must be an array of floating-point numbers, got {array.dtype}")
    return array.astype(np.float64 if array.dtype.itemsize == 8 else np.float32)


def lists_to_arrays(items: Mapping[str, Any]) -> dict[str, Any]:
    """Converts nested lists of numbers to arrays; other values are unchanged."""
    return {
        name: _from_numpy(value, name) if isinstance(value, (list, tuple)) else value for name, value in items.items()
    }


def _from_numpy(value: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array, got {type(value).__name__}: {error}") from error


def _from_torch(value: Any, name: str) -> np.ndarray:
    kinds = {"meta": value.is_meta, "sparse": str(value.layout) != "torch.strided", "quantized": value.is_quantized}
    unsupported = [kind for kind, holds in kinds.items() if holds]
    if unsupported or not value.is_floating_point():
        given = " ".join([*unsupported, "tensor"])
        raise ValueError(f"{name} must be a dense tensor of floating-point numbers, got a {given} of {value.dtype}")
    try:
        value = value.detach().cpu()
        return (value if value.dtype.itemsize >= 4 else value.float()).resolve_neg().numpy()
    except NotImplementedError as error:  # packed dtypes, such as float4_e2m1fn_x2
        raise ValueError(f"{name} must be convertible to float32, got a tensor of {value.dtype}") from error


def compare(found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]], source: str, hint: str = "") -> None:
    """Compares the names and shapes of arrays with the expected ones.

    Args:
        found: Arrays, or other objects with a shape.
        expected: The expected shapes.
        source: Start of the error message: the origin of ``found``.
        hint: End of the error message.

    Raises:
        ValueError: If keys are missing or extra, or if shapes are wrong. The message lists at most ten of them, some of
            each kind, and a count of the others.
    """
    missing = [f"missing {name} {shape}" for name, shape in expected.items() if name not in found]
    extra = [f"extra {name} {_shape(value)}" for name, value in found.items() if name not in expected]
    wrong_shape = [
        f"{name} must have shape {shape}, got {_shape(found[name])}"
        for name, shape in expected.items()
        if name in found and _shape(found[name]) != shape
    ]
    kinds = (sorted(missing), sorted(extra), sorted(wrong_shape))
    # Alternate between the kinds, so that a long list of missing keys does not hide the extra ones.
    errors = [text for row in zip_longest(*kinds) for text in row if text is not None]
    if errors:
        shown = [text for kind in kinds for text in kind if text in errors[:MAX_LISTED]]
        raise ValueError(f"{source}: {listed(shown + errors[MAX_LISTED:], '; ')}{hint}")


def _shape(value: Any) -> Any:
    """Returns the shape of an array, or the type of another object."""
    return tuple(value.shape) if hasattr(value, "shape") else f"({type(value).__name__})"


def rename_keys(items: Mapping[str, Any], rename: Callable[[str], str], source: str) -> dict[str, Any]:
    """Returns the items with new names.

    Args:
        items: The items by name.
        rename: A function from the old name to the new name.
        source: Start of the error message.

    Raises:
        ValueError: If two items get the same new name.
    """
    result: dict[str, Any] = {}
    old_names: dict[str, str] = {}
    for name, value in items.items():
        new_name = rename(name)
        if new_name in result:
            first, second, both = (printable(each, MAX_ITEM_LENGTH) for each in (old_names[new_name], name, new_name))
            raise ValueError(f"{source}: {first} and {second} are both named {both}")
        result[new_name], old_names[new_name] = value, name
    return result
