"""Meshes with explicit axes: functions within which the compiler chooses the shardings."""

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
    """Returns the mesh with explicit axes of some arrays, or of the context; None if there is none.

    On an explicit mesh, the sharding is part of an array's type. JAX refuses operations without a sharding rule, such
    as a reshape that joins sharded axes. ``jax.make_mesh`` makes explicit meshes by default.
    """
    context = jax.sharding.get_abstract_mesh()
    for mesh in (*(jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(tree)), context):
        if AxisType.Explicit in mesh.axis_types:
            return mesh
    return None


def spec_of(a: jax.Array) -> tuple[Any, ...]:
    """Returns the partition spec of an array with one entry per axis, None for a replicated axis."""
    spec = tuple(jax.typeof(a).sharding.spec)
    return spec + (None,) * (jnp.ndim(a) - len(spec))


def call_auto_sharded(f: Callable, specs: Any, *arguments: Any) -> Any:
    """Calls ``f(*arguments)``; on an explicit mesh, the compiler chooses the shardings inside ``f``.

    Args:
        f: A function of trees of arrays.
        specs: The ``PartitionSpec`` of each result, or a function from the shapes of the results to these, for which
            ``f`` is traced once more. Only used on an explicit mesh.
        *arguments: Arguments of ``f``, arrays or None.
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


def auto_sharded(out_spec: Callable[[tuple, tuple], tuple]) -> Callable[[F], F]:
    """Decorates a function of ``xs`` and ``valid`` such that XLA chooses its inner shardings on an explicit mesh.

    Sorts, scatters and loops over elements have no sharding rule, or none for sharded elements.

    Args:
        out_spec: A function from the spec of the sets and the spec of ``xs`` to the spec of the result, such as
            ``per_feature``.
    """

    def decorate(f: F) -> F:
        signature = inspect.signature(f)

        @functools.wraps(f)
        def wrapper(*args: Any, **options: Any) -> jax.Array:
            leaves, tree = jax.tree.flatten((args, options))
            arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
            if explicit_mesh(arrays) is None:
                return f(*args, **options)
            bound = signature.bind(*args, **options).arguments
            axes = spec_of(bound["xs"])
            batch = (None,) if isinstance(bound.get("valid"), Segments) else axes[:-2]

            def of_arrays(*arrays):
                remaining = iter(arrays)
                merged = [next(remaining) if isinstance(leaf, jax.Array) else leaf for leaf in leaves]
                args, options = jax.tree.unflatten(tree, merged)
                return f(*args, **options)

            return call_auto_sharded(of_arrays, lambda shape: PartitionSpec(*out_spec(batch, axes)), *arrays)

        return wrapper  # type: ignore[return-value]

    return decorate


def per_feature(batch: tuple, axes: tuple) -> tuple:
    """Spec of a result ``[*batch, D, ...]`` or ``[S, D, ...]``."""
    return (*batch, *axes[-1:])


def per_set(batch: tuple, axes: tuple) -> tuple:
    """Spec of a result ``[*batch, ...]`` or ``[S, ...]``."""
    return batch


def per_element(batch: tuple, axes: tuple) -> tuple:
    """Spec of a result of the shape of ``xs``."""
    return axes
