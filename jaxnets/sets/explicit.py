"""Functions of sets on meshes with explicit axes, the default of ``jax.make_mesh``."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import PartitionSpec

from jaxnets.ops.meshes import automatic, explicit_mesh, spec_of
from jaxnets.sets.members import Segments

F = TypeVar("F", bound=Callable[..., jax.Array])


def auto_sharded(kept: Callable[[tuple, tuple], tuple]) -> Callable[[F], F]:
    """Lets XLA shard the inside of a function of ``xs`` and ``members`` where a mesh has explicit axes.

    Sorts, scatters and loops over elements have no sharding rule of their own, or none for elements that are divided.

    Args:
        kept: From the axes of the mesh that divide the sets, and those that divide ``xs``, to those that divide the
            result, such as ``per_feature``.
    """

    def decorate(f: F) -> F:
        parameters = inspect.signature(f)

        @functools.wraps(f)
        def function(*args: Any, **options: Any) -> jax.Array:
            leaves, tree = jax.tree.flatten((args, options))
            arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
            if explicit_mesh(arrays) is None:
                return f(*args, **options)
            given = parameters.bind(*args, **options).arguments
            axes = spec_of(given["xs"])
            batch = (None,) if isinstance(given.get("members"), Segments) else axes[:-2]

            def of_arrays(*arrays):
                rest = iter(arrays)
                whole = [next(rest) if isinstance(leaf, jax.Array) else leaf for leaf in leaves]
                args, options = jax.tree.unflatten(tree, whole)
                return f(*args, **options)

            return automatic(of_arrays, lambda shape: PartitionSpec(*kept(batch, axes)), *arrays)

        return function  # type: ignore[return-value]

    return decorate


def per_feature(batch: tuple, axes: tuple) -> tuple:
    """Axes of a result ``[*batch, D, ...]`` or ``[S, D, ...]``."""
    return (*batch, *axes[-1:])


def per_set(batch: tuple, axes: tuple) -> tuple:
    """Axes of a result ``[*batch, ...]`` or ``[S, ...]``."""
    return batch


def per_element(batch: tuple, axes: tuple) -> tuple:
    """Axes of a result like ``xs``."""
    return axes
