"""Jacobians of one step of a cell, whole or their diagonal, and linear recurrences with them, all steps at once."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.recurrent.cell import Carry, Cell, Params, plain_dot


def dot_with_slope(cell: Cell, weights: Params, dtype: Any, dense: bool) -> Callable:
    """The plain ``dot``; its derivative is the product's matrix if dense, else the diagonals of that matrix's blocks.

    A product whose matrix would be too large, as that of a convolution, has a derivative of 0 if not dense.
    """
    plain = plain_dot(cell, weights, dtype)

    @functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
    def dot(name, h):
        return plain(name, h)

    @dot.defjvp
    def _(name, primals, tangents):
        z = plain(name, *primals)
        (dh,) = tangents
        width = dh.shape[-1]
        if cell.axes > 1:
            dz = jax.jvp(functools.partial(plain, name), primals, tangents)[1] if dense else jnp.zeros_like(z)
            return z, dz
        matrix = plain(name, jnp.eye(width, dtype=dh.dtype)).astype(z.dtype)
        if dense:
            return z, dh.astype(z.dtype) @ matrix
        if z.shape[-1] % width:
            return z, jnp.zeros_like(z)
        diagonals = jnp.concatenate([jnp.diagonal(block) for block in jnp.split(matrix, z.shape[-1] // width, axis=1)])
        return z, jnp.concatenate([dh] * (z.shape[-1] // width), axis=-1).astype(z.dtype) * diagonals

    return dot


def dense_jacobian(one: Callable, rank: int, carry: Carry, *inputs: Any) -> tuple[Carry, jax.Array]:
    """The next carry, and the step's Jacobian ``[*batch, S, S]``."""
    new, push = jax.linearize(lambda carry: one(carry, *inputs)[0], carry)
    joint = _joined(carry, rank)
    column = lambda row: _joined(push(_split(jnp.broadcast_to(row, joint.shape), carry, rank)), rank)
    return new, jax.vmap(column, out_axes=-1)(jnp.eye(joint.shape[-1], dtype=joint.dtype))


def dense_recurrence(jacobian: jax.Array, residual: Carry, reverse: bool) -> Carry:
    """``d_t = J_t d_{t-1} + r_t`` from 0."""

    def compose(first, second):
        (a, x), (b, y) = first, second
        return b @ a, (b @ x[..., None])[..., 0] + y

    rank = jacobian.ndim - 2
    vectors = lax.associative_scan(compose, (jacobian, _joined(residual, rank)), reverse=reverse)[1]
    return _split(vectors, residual, rank)


def diagonal_jacobian(one: Callable, rank: int, carry: Carry, *inputs: Any) -> tuple[Carry, list[jax.Array]]:
    """The next carry, and for each group of k leaves of one shape what an element does to that of the k leaves.

    Returns:
        The carry, and a list of ``[k, k, *shape]``, to and from.
    """
    new, push = jax.linearize(lambda carry: one(carry, *inputs)[0], carry)
    leaves, tree = jax.tree.flatten(carry)

    def column(j):
        """The derivatives of all leaves by the elements of leaf j."""
        ones = [jnp.ones_like(a) if i == j else jnp.zeros_like(a) for i, a in enumerate(leaves)]
        return jax.tree.leaves(push(jax.tree.unflatten(tree, ones)))

    columns = [column(j) for j in range(len(leaves))]
    stack = lambda group: jnp.stack([jnp.stack([columns[j][i] for j in group]) for i in group])
    return new, [stack(group) for group in _groups(leaves)]


def diagonal_recurrence(jacobian: list[jax.Array], residual: Carry, reverse: bool) -> Carry:
    """As ``dense_recurrence``, for every element of every group by itself."""

    def compose(first, second):
        (a, x), (b, y) = first, second
        inner = range(x.shape[1])
        a = functools.reduce(jnp.add, [b[:, :, j, None] * a[:, None, j] for j in inner])
        return a, functools.reduce(jnp.add, [b[:, :, j] * x[:, None, j] for j in inner]) + y

    leaves, tree = jax.tree.flatten(residual)
    solved = list(leaves)
    for group, a in zip(_groups(leaves), jacobian, strict=True):
        stacked = jnp.stack([leaves[i] for i in group], axis=1)
        x = lax.associative_scan(compose, (a, stacked), reverse=reverse)[1]
        for at, i in enumerate(group):
            solved[i] = x[:, at]
    return jax.tree.unflatten(tree, solved)


def _groups(leaves: list[jax.Array]) -> list[list[int]]:
    """The leaves of each shape."""
    shapes = list(dict.fromkeys(a.shape for a in leaves))
    return [[i for i, a in enumerate(leaves) if a.shape == shape] for shape in shapes]


def _joined(carry: Carry, rank: int) -> jax.Array:
    """A carry as one vector per row: ``[*batch, S]``, with ``rank`` axes before the features."""
    return jnp.concatenate([a.reshape(*a.shape[:rank], -1) for a in jax.tree.leaves(carry)], axis=-1)


def _split(vector: jax.Array, like: Carry, rank: int) -> Carry:
    """The inverse of ``_joined``."""
    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([math.prod(a.shape[rank:]) for a in leaves])
    parts = jnp.split(vector, ends[:-1], axis=-1)
    return jax.tree.unflatten(tree, [part.reshape(a.shape) for part, a in zip(parts, leaves, strict=True)])
