"""Checks of the arguments of recurrent functions; each error states the requirement and the value."""

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.checks import describe_value
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Carry, Cell, Params

MAX_LISTED = 10  # items in an error message


def check_cell(cell: Any, name: str = "cell") -> None:
    """Raises a ValueError unless ``cell`` is a ``Cell``."""
    if isinstance(cell, Cell):
        return
    if callable(cell):
        function = getattr(cell, "__name__", repr(cell))
        raise ValueError(
            f"`{name}` must be a Cell, got the function {function}; call it with the number of hidden units, as in "
            "recurrent.gru(128)"
        )
    raise ValueError(f"`{name}` must be a Cell, such as recurrent.gru(128), got {described(cell)}")


def cached(make: Callable[..., Cell]) -> Callable[..., Cell]:
    """Caches a function that makes cells, so that equal arguments return the same cell.

    JAX compiles once per cell object. The returned function raises a ValueError for arguments that are not hashable.
    """
    cached_make = functools.cache(make)

    @functools.wraps(make)
    def lookup(*arguments, **options):
        for value in (*arguments, *options.values()):
            if not isinstance(value, Hashable):
                raise ValueError(
                    f"arguments of {make.__name__} must be numbers, strings, functions or tuples, got "
                    f"{described(value)}"
                )
        return cached_make(*arguments, **options)

    return lookup


def described(value: Any) -> str:
    """Describes a value for an error message: dtype and shape of an array or of each array of a tree, else its repr."""
    if isinstance(value, (dict, tuple, list)):
        return _listed([f"{name}: {describe_value(leaf)}" for name, leaf in _paths(value).items()]) or repr(value)
    return describe_value(value)


def as_arrays(name: str, tree: Any) -> Any:
    """Converts the leaves of a tree to JAX arrays.

    Raises:
        ValueError: A leaf is not an array or a number.
    """

    def array(leaf):
        if isinstance(leaf, str):  # jnp.asarray would take it for a dtype
            raise ValueError(f"`{name}` must be an array or a tree of arrays, got {described(leaf)}")
        try:
            return jnp.asarray(leaf)
        except (TypeError, ValueError) as error:
            raise ValueError(f"`{name}` must be an array or a tree of arrays, got {described(leaf)}") from error

    return jax.tree.map(array, tree)


def as_array(name: str, value: Any) -> jax.Array | None:
    """Converts an array or a list of numbers to a JAX array; None stays None.

    Raises:
        ValueError: The value is not an array, a number or a list of numbers.
    """
    if value is None:
        return None
    array = as_arrays(name, np.asarray(value) if isinstance(value, (list, tuple)) else value)
    if not isinstance(array, jax.Array):
        raise ValueError(f"`{name}` must be one array, got {described(value)}")
    return array


def check_params(params: Any) -> None:
    """Raises a ValueError unless ``params`` is a dict with the keys ``"input"`` and ``"recurrent"``."""
    if not isinstance(params, Mapping):
        raise ValueError(f"`params` must be a dict, as returned by cell.init, got {described(params)}")
    if not {"input", "recurrent"} <= set(params):
        hint = '; from the variables of an RNN module, pass variables["params"]["cell"]' if "params" in params else ""
        raise ValueError(
            '`params` must have the keys "input" and "recurrent", as returned by cell.init, got '
            f"{sorted(params, key=str)}{hint}"
        )


def check_params_match(cell: Cell, params: Params, features: int, cause: Exception) -> None:
    """Raises a ValueError from ``cause`` if the parameters lack names or shapes of those that ``cell.init`` returns.

    This check explains an error that has already occurred. It is not done beforehand, because a cell with a custom
    ``product`` or ``project`` may accept other parameters.
    """
    try:
        init_params = jax.eval_shape(lambda key: cell.init(key, features), jax.random.key(0))
    except Exception:  # a custom init may raise anything; the caller then raises the cause
        return
    expected, given = (
        {name: tuple(np.shape(leaf)) for name, leaf in _paths(tree).items()} for tree in (init_params, dict(params))
    )
    wrong = [
        f"{name} {shape}, got {given.get(name, 'none')}" for name, shape in expected.items() if given.get(name) != shape
    ]
    extra = [f"{name} {shape}" for name, shape in given.items() if name not in expected]
    if wrong:
        also = f"; unexpected: {_listed(extra)}" if extra else ""
        raise ValueError(
            f"`params` must have the arrays that cell.init returns: {_listed(wrong)}{also}; they may belong to another "
            "cell or to one of another size"
        ) from cause


def _paths(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by path, such as ``"input/kernel"``."""
    names = lambda path: "/".join(str(getattr(k, "key", getattr(k, "idx", k))) for k in path)
    return {names(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else ""
    return ", ".join(items[:MAX_LISTED]) + more


def time_axis(cell: Cell, leaf: jax.Array, time_major: bool) -> int:
    """Returns the index of the time axis of ``xs``."""
    if leaf.ndim < 1 + cell.axes:
        names = {1: "D", 2: "W, C", 3: "H, W, C"}.get(cell.axes, f"{cell.axes} axes of one input")
        raise ValueError(f"`xs` must have at least the axes [T, {names}], got shape {leaf.shape}")
    return 0 if time_major else leaf.ndim - 1 - cell.axes


def zeros_for_step(xs: Any, axis: int) -> Any:
    """Returns zeros with the shape of one step of ``xs``."""
    return jax.tree.map(lambda x: jnp.zeros((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype), xs)


def check_inputs(cell: Cell, params: Params, xs: Any, leaf: jax.Array, name: str = "xs") -> None:
    """Raises a ValueError unless the arrays of ``xs`` share their leading axes and have the features of the kernel."""
    prefix = leaf.shape[: leaf.ndim - cell.axes]
    for other in jax.tree.leaves(xs):
        if other.shape[: len(prefix)] != prefix:
            raise ValueError(f"`{name}` must be arrays with the leading axes {prefix}, got shape {other.shape}")
    kernel = params["input"].get("kernel") if isinstance(params["input"], Mapping) else None
    if kernel is not None and jnp.ndim(kernel) > 1 and kernel.shape[-2] != leaf.shape[-1]:
        raise ValueError(f"`{name}` must have {kernel.shape[-2]} features, as the parameters, got shape {leaf.shape}")


def resolve_carry(cell: Cell, params: Params, one: Any, carry: Carry | None, dtype: Any) -> Carry:
    """Returns the cell's initial carry if ``carry`` is None, else ``carry`` with the dtypes of the initial one.

    Floating point carries are float32, or float64 for inputs in float64.

    Raises:
        ValueError: ``carry`` has another structure, other shapes, or complex numbers instead of real ones.
    """
    wide = at_least_float32(dtype)
    dtype_like = lambda like: wide if jnp.issubdtype(like.dtype, jnp.floating) else like.dtype
    if carry is None:
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype_like(leaf)), cell.carry(params, one))
    expected = jax.eval_shape(cell.carry, params, one)
    shapes = lambda tree: jax.tree.map(lambda a: tuple(jnp.shape(a)), tree)
    different = jax.tree.structure(expected) != jax.tree.structure(carry)  # type: ignore[operator]
    if different or jax.tree.leaves(shapes(expected)) != jax.tree.leaves(shapes(carry)):
        raise ValueError(
            f"`carry` must have the shapes {shapes(expected)} for this batch, got {shapes(carry)}; None is the initial "
            "carry of the cell"
        )
    for leaf, like in zip(jax.tree.leaves(carry), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating) and not jnp.issubdtype(like.dtype, jnp.complexfloating):
            raise ValueError(f"`carry` must be {dtype_like(like)}, got {described(leaf)}")
    return jax.tree.map(lambda leaf, like: leaf.astype(dtype_like(like)), carry, expected)


def checked_lengths(lengths: Any, length: int, batch: tuple[int, ...]) -> jax.Array:
    """Returns lengths as int32 ``[*batch]``.

    Raises:
        ValueError: They are not integers ``[*batch]``, or a known value is not in 0, ..., ``length``.
    """
    array = as_array("lengths", lengths)
    if array is None or not jnp.issubdtype(array.dtype, jnp.integer) or array.shape != batch:
        raise ValueError(f"`lengths` must be integers of shape {batch}, got {described(array)}")
    # Values are unknown under jit and on the devices of other processes.
    if not isinstance(array, jax.core.Tracer) and array.is_fully_addressable:
        wrong = [int(n) for n in np.ravel(array) if not 0 <= n <= length]
        if wrong:
            raise ValueError(f"`lengths` must be from 0 to T = {length}, got {wrong[0]}")
    return array.astype(jnp.int32)
