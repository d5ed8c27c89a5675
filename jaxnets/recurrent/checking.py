"""Checks of what a user passes to the functions of this family; each error names what was passed and the fix."""

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Carry, Cell, Params

MOST = 10  # differences that a message lists


def check_cell(cell: Any, name: str = "cell") -> None:
    """Raises a ValueError unless ``cell`` is a cell."""
    if isinstance(cell, Cell):
        return
    if callable(cell):
        function = getattr(cell, "__name__", repr(cell))
        raise ValueError(
            f"{name} must be a Cell, got the function {function}: call it with its number of hidden features, "
            f"as in recurrent.gru(128)"
        )
    raise ValueError(f"{name} must be a Cell, such as recurrent.gru(128), got {described(cell)}")


def cached(make: Callable[..., Cell]) -> Callable[..., Cell]:
    """``functools.cache`` of what makes a cell, so that the same arguments give the same cell.

    Raises:
        ValueError: An argument cannot be looked up, such as a list.
    """
    made = functools.cache(make)

    @functools.wraps(make)
    def lookup(*arguments, **options):
        for value in (*arguments, *options.values()):
            if not isinstance(value, Hashable):
                raise ValueError(
                    f"{make.__name__}: arguments must be numbers, strings, functions or tuples, got {described(value)}"
                )
        return made(*arguments, **options)

    return lookup


def described(value: Any) -> str:
    """A value in an error: an array by dtype and shape, a tree of them by its arrays, anything else as it prints."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    if isinstance(value, (dict, tuple, list)):
        return _listed([f"{name}: {described(leaf)}" for name, leaf in _paths(value).items()]) or repr(value)
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def arrays(name: str, tree: Any) -> Any:
    """A tree whose leaves are JAX arrays.

    Raises:
        ValueError: One of them is something else than an array or a number.
    """

    def array(leaf):
        if isinstance(leaf, str):  # of which NumPy would make a dtype
            raise ValueError(f"{name} must be arrays, got {described(leaf)}")
        try:
            return jnp.asarray(leaf)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be arrays, got {described(leaf)}") from error

    return jax.tree.map(array, tree)


def one_array(name: str, value: Any) -> jax.Array | None:
    """One array, which may be given as a list of numbers; None stays None.

    Raises:
        ValueError: It is something else.
    """
    if value is None:
        return None
    found = arrays(name, np.asarray(value) if isinstance(value, (list, tuple)) else value)
    if not isinstance(found, jax.Array):
        raise ValueError(f"{name} must be one array, got {described(value)}")
    return found


def check_params(params: Any) -> None:
    """Raises a ValueError unless ``params`` are divided as a cell's are."""
    if not isinstance(params, Mapping):
        raise ValueError(f"params must be a dict, as cell.init makes it, got {described(params)}")
    if not {"input", "recurrent"} <= set(params):
        hint = '; of a Linen module\'s variables take variables["params"]["cell"]' if "params" in params else ""
        raise ValueError(
            f'params: "input" and "recurrent" expected, as cell.init makes them; given {sorted(params, key=str)}{hint}'
        )


def check_made_by(cell: Cell, params: Params, features: int, cause: Exception) -> None:
    """Raises a ValueError if the parameters are not of the names and shapes that the cell's ``init`` makes.

    For what has already failed with ``cause``: a cell may be given other parameters than its ``init`` makes, by a
    ``product`` or ``project`` of its own.
    """
    try:
        made = jax.eval_shape(lambda key: cell.init(key, features), jax.random.key(0))
    except Exception:  # a cell's own function, which may do anything: then the cause is all that is known
        return
    expected, given = (
        {name: tuple(np.shape(leaf)) for name, leaf in _paths(tree).items()} for tree in (made, dict(params))
    )
    wrong = [
        f"{name} {shape}, got {given.get(name, 'none')}" for name, shape in expected.items() if given.get(name) != shape
    ]
    extra = [f"{name} {shape}" for name, shape in given.items() if name not in expected]
    if wrong:
        also = f"; given beside them: {_listed(extra)}" if extra else ""
        raise ValueError(
            f"params must be of this cell, as cell.init makes them: {_listed(wrong)}{also}. Were they made by another "
            "cell, or by one of another size?"
        ) from cause


def _paths(tree: Any) -> dict[str, Any]:
    names = lambda path: "/".join(str(getattr(k, "key", getattr(k, "idx", k))) for k in path)
    return {names(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - MOST} more" if len(items) > MOST else ""
    return ", ".join(items[:MOST]) + more


def time_axis(cell: Cell, leaf: jax.Array, time_major: bool) -> int:
    """Which axis of xs is time."""
    if leaf.ndim < 1 + cell.axes:
        names = {1: "D", 2: "W, C", 3: "H, W, C"}.get(cell.axes, f"{cell.axes} axes of one input")
        raise ValueError(f"xs: at least the axes [T, {names}] expected; given shape {leaf.shape}")
    return 0 if time_major else leaf.ndim - 1 - cell.axes


def one_input(xs: Any, axis: int) -> Any:
    """Zeros like the input of one step."""
    return jax.tree.map(lambda x: jnp.zeros((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype), xs)


def check_inputs(cell: Cell, params: Params, xs: Any, leaf: jax.Array, name: str = "xs") -> None:
    """Raises a ValueError unless the arrays of ``xs`` begin with the same axes and have the parameters' features."""
    prefix = leaf.shape[: leaf.ndim - cell.axes]
    for other in jax.tree.leaves(xs):
        if other.shape[: len(prefix)] != prefix:
            raise ValueError(f"{name}: all of its arrays must begin with the axes {prefix}; given shape {other.shape}")
    kernel = params["input"].get("kernel") if isinstance(params["input"], Mapping) else None
    if kernel is not None and jnp.ndim(kernel) > 1 and kernel.shape[-2] != leaf.shape[-1]:
        raise ValueError(f"{name}: the parameters were made for {kernel.shape[-2]} features; given shape {leaf.shape}")


def first_carry(cell: Cell, params: Params, one: Any, carry: Carry | None, dtype: Any) -> Carry:
    """The cell's initial carry, or the one given in the dtypes of the cell's own.

    What is floating point is float32, or float64 for inputs of float64.
    """
    to = at_least_float32(dtype)
    own = lambda like: to if jnp.issubdtype(like.dtype, jnp.floating) else like.dtype
    if carry is None:
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, own(leaf)), cell.carry(params, one))
    expected = jax.eval_shape(cell.carry, params, one)
    shapes = lambda tree: jax.tree.map(lambda a: tuple(jnp.shape(a)), tree)
    different = jax.tree.structure(expected) != jax.tree.structure(carry)  # type: ignore[operator]
    if different or jax.tree.leaves(shapes(expected)) != jax.tree.leaves(shapes(carry)):
        raise ValueError(
            f"carry: shapes {shapes(expected)} expected for this batch; given {shapes(carry)} "
            "(None starts from the cell's initial carry)"
        )
    for leaf, like in zip(jax.tree.leaves(carry), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating) and not jnp.issubdtype(like.dtype, jnp.complexfloating):
            raise ValueError(f"carry must be of {own(like)}, got {described(leaf)}")
    return jax.tree.map(lambda leaf, like: leaf.astype(own(like)), carry, expected)


def checked_lengths(lengths: Any, length: int, batch: tuple[int, ...]) -> jax.Array:
    """Lengths as int32, if they are integers ``[*batch]`` from 0 to ``length``; else a ``ValueError``."""
    given = one_array("lengths", lengths)
    if given is None or not jnp.issubdtype(given.dtype, jnp.integer) or given.shape != batch:
        raise ValueError(f"lengths: integers of shape {batch} expected; given {described(given)}")
    # Within jit, and on other processes' devices, the values are not known.
    if not isinstance(given, jax.core.Tracer) and given.is_fully_addressable:
        wrong = [int(n) for n in np.ravel(given) if not 0 <= n <= length]
        if wrong:
            raise ValueError(f"lengths: from 0 to T = {length} expected; given {wrong[0]}")
    return given.astype(jnp.int32)
