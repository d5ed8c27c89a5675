"""Functions whose shardings the compiler chooses, on meshes whose axes are explicit."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from jaxnets.ops.set_reductions import Segments

F = TypeVar("F", bound=Callable[..., jax.Array])


def explicit_mesh(tree: Any) -> AbstractMesh | None:
    """The mesh with explicit axes that arrays are on, or that is set; None if there is none.

    On an explicit mesh shardings are part of an array's type, and JAX refuses operations, such as a reshape that joins
    divided axes, whose result it cannot type. Such meshes are what ``jax.make_mesh`` makes by default.
    """
    context = jax.sharding.get_abstract_mesh()
    for mesh in (*(jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(tree)), context):
        if AxisType.Explicit in mesh.axis_types:
            return mesh
    return None


def spec_of(a: jax.Array) -> tuple[Any, ...]:
    """What each axis of an array is divided over, None where it is whole."""
    spec = tuple(jax.typeof(a).sharding.spec)
    return spec + (None,) * (jnp.ndim(a) - len(spec))


def automatic(f: Callable, specs: Any, *arguments: Any) -> Any:
    """``f(*arguments)``; on an explicit mesh the compiler chooses how the work inside is divided.

    Args:
        f: A function of trees of arrays.
        specs: The ``PartitionSpec`` of each result, or a function from their shapes to that, which traces ``f`` once
            more. Used on an explicit mesh only.
        *arguments: Of ``f``; None where there is no array.
    """
    mesh = explicit_mesh(arguments)
    if mesh is None:
        return f(*arguments)
    axes = tuple(name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == AxisType.Explicit)
    run = functools.partial(jax.sharding.auto_axes, f, axes=axes)
    arguments = jax.tree.map(jnp.asarray, arguments)
    if callable(specs):
        specs = specs(jax.eval_shape(run(out_sharding=NamedSharding(mesh, PartitionSpec())), *arguments))
    return run(out_sharding=jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs))(*arguments)


def auto_sharded(kept: Callable[[tuple, tuple], tuple]) -> Callable[[F], F]:
    """Lets XLA shard the inside of a function of ``xs`` and ``valid`` where a mesh has explicit axes.

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
            batch = (None,) if isinstance(given.get("valid"), Segments) else axes[:-2]

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
