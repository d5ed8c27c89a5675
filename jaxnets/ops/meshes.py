"""Functions whose shardings the compiler chooses, on meshes whose axes are explicit."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec


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


def automatic(f: Callable, specs: Callable[[Any], Any], *arguments: Any) -> Any:
    """``f(*arguments)``; on an explicit mesh the compiler chooses how the work inside is divided.

    Args:
        f: A function of trees of arrays.
        specs: From the shapes of the results to the ``PartitionSpec`` of each. Called on an explicit mesh only.
        *arguments: Of ``f``; None where there is no array.
    """
    mesh = explicit_mesh(arguments)
    if mesh is None:
        return f(*arguments)
    axes = tuple(name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == AxisType.Explicit)
    run = functools.partial(jax.sharding.auto_axes, f, axes=axes)
    arguments = jax.tree.map(jnp.asarray, arguments)
    shapes = jax.eval_shape(run(out_sharding=NamedSharding(mesh, PartitionSpec())), *arguments)
    return run(out_sharding=jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs(shapes)))(*arguments)
