"""Checks on foreign weights: their names, shapes and dtypes, in messages of a bounded length."""

from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnets.ops.printable import printable

LIMIT = 10
LONGEST = 120  # characters of one item in a message


def listed(items: Iterable[Any], separator: str = ", ") -> str:
    """At most ten items and the number of the others: ``"a, b, ... and 312 more"``."""
    items = list(items)
    more = [f"... and {len(items) - LIMIT} more"] if len(items) > LIMIT else []
    return separator.join([printable(item, LONGEST) for item in items[:LIMIT]] + more)


def as_array(value: Any, name: str) -> np.ndarray:
    """A parameter as a new numpy array in float32, or in float64 where it has that.

    float16, bfloat16 and the kinds of float8 become float32, which holds all their values.

    Args:
        value: An array of numpy or JAX, a tensor of torch, a variable of Keras, or nested lists of numbers. Neither
            torch nor Keras need be installed.
        name: The parameter's name, for errors.

    Raises:
        ValueError: The value is not an array of floating-point numbers: integers, complex numbers, quantized, sparse
            and packed tensors, tensors without data, other objects. The message has the name and the dtype.
    """
    inner = getattr(value, "value", None)  # of a variable of Keras, whose own conversion refuses some dtypes
    value = inner if hasattr(inner, "dtype") else value
    array = _of_torch(value, name) if hasattr(value, "detach") else _of_numpy(value, name)
    if not jnp.issubdtype(array.dtype, jnp.floating) or array.dtype.itemsize > 8:
        raise ValueError(f"{name} must be an array of floating-point numbers, got {array.dtype}")
    return array.astype(np.float64 if array.dtype.itemsize == 8 else np.float32)


def with_shapes(items: Mapping[str, Any]) -> dict[str, Any]:
    """The items, nested lists of numbers among them as arrays."""
    return {
        name: _of_numpy(value, name) if isinstance(value, (list, tuple)) else value for name, value in items.items()
    }


def _of_numpy(value: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array, got {type(value).__name__}: {error}") from error


def _of_torch(value: Any, name: str) -> np.ndarray:
    kinds = {"meta": value.is_meta, "sparse": str(value.layout) != "torch.strided", "quantized": value.is_quantized}
    odd = [kind for kind, holds in kinds.items() if holds]
    if odd or not value.is_floating_point():
        given = " ".join([*odd, "tensor"])
        raise ValueError(f"{name} must be a dense tensor of floating-point numbers, got a {given} of {value.dtype}")
    try:
        value = value.detach().cpu()
        return (value if value.dtype.itemsize >= 4 else value.float()).resolve_neg().numpy()
    except NotImplementedError as error:  # packed kinds, such as float4_e2m1fn_x2
        raise ValueError(f"{name} must be convertible to float32, got a tensor of {value.dtype}") from error


def compare(found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]], source: str, hint: str = "") -> None:
    """Compares names and shapes.

    Args:
        found: Arrays, or anything that has a shape.
        expected: The shapes.
        source: Where ``found`` is from, the beginning of the message.
        hint: The end of the message.

    Raises:
        ValueError: Keys are missing, extra or misshapen: at most ten of them, some of every kind, and a count.
    """
    missing = [f"missing {name} {shape}" for name, shape in expected.items() if name not in found]
    extra = [f"extra {name} {_shape(value)}" for name, value in found.items() if name not in expected]
    misshapen = [
        f"{name} has shape {_shape(found[name])}, {shape} expected"
        for name, shape in expected.items()
        if name in found and _shape(found[name]) != shape
    ]
    kinds = (sorted(missing), sorted(extra), sorted(misshapen))
    # Taken from the kinds in turn, so that a long list of missing keys does not hide what stands in their place.
    wrong = [text for row in zip_longest(*kinds) for text in row if text is not None]
    if wrong:
        shown = [text for kind in kinds for text in kind if text in wrong[:LIMIT]]
        raise ValueError(f"{source}: {listed(shown + wrong[LIMIT:], '; ')}{hint}")


def _shape(value: Any) -> Any:
    """The shape of an array, or the type of an object without one."""
    return tuple(value.shape) if hasattr(value, "shape") else f"({type(value).__name__})"


def renamed(items: Mapping[str, Any], rename: Callable[[str], str], source: str) -> dict[str, Any]:
    """The items under new names.

    Raises:
        ValueError: Two items would get one name; both are named.
    """
    result: dict[str, Any] = {}
    before: dict[str, str] = {}
    for name, value in items.items():
        new = rename(name)
        if new in result:
            pair, both = " and ".join(printable(each, LONGEST) for each in (before[new], name)), printable(new, LONGEST)
            raise ValueError(f"{source}: {pair} are both named {both}")
        result[new], before[new] = value, name
    return result
