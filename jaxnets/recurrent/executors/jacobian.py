"""Jacobians of one step of a cell, whole or their diagonal, and linear recurrences with them, all steps at once."""

import functools
import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.recurrent.cell import Carry, Cell, Params, along, plain_dot

PIECE = 16  # steps of a linear recurrence that are taken one after the other, all pieces at once


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
        return z, jnp.concatenate([dh] * (z.shape[-1] // width), axis=-1).astype(z.dtype) * along(
            diagonals.astype(z.dtype), z
        )

    return dot


def dense_jacobian(one: Callable, rank: int, carry: Carry, *inputs: Any) -> tuple[Carry, jax.Array]:
    """The next carry, and the step's Jacobian ``[*batch, S, S]``."""
    new, push = jax.linearize(lambda carry: one(carry, *inputs)[0], carry)
    joint = _joined(carry, rank)
    chex.assert_rank(joint, rank + 1)
    column = lambda row: _joined(push(_split(jnp.broadcast_to(row, joint.shape), carry, rank)), rank)
    return new, jax.vmap(column, out_axes=-1)(jnp.eye(joint.shape[-1], dtype=joint.dtype))


def dense_recurrence(jacobian: jax.Array, residual: Carry, reverse: bool) -> Carry:
    """``d_t = J_t d_{t-1} + r_t`` from 0; J ``[T, *batch, S, S]``."""
    rank = jacobian.ndim - 2
    chex.assert_equal_shape_prefix([jacobian, *jax.tree.leaves(residual)], rank)
    applied = lambda b, x: (b @ x[..., None])[..., 0]
    vectors = _recurrence(jnp.matmul, applied, jacobian, _joined(residual, rank), reverse)
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
    """As ``dense_recurrence``, for every element of every group by itself; each J ``[T, k, k, *shape]``."""
    total = functools.partial(functools.reduce, jnp.add)
    product = lambda b, a: total([b[:, :, j, None] * a[:, None, j] for j in range(a.shape[1])])
    applied = lambda b, x: total([b[:, :, j] * x[:, None, j] for j in range(x.shape[1])])
    leaves, tree = jax.tree.flatten(residual)
    solved = list(leaves)
    for group, a in zip(_groups(leaves), jacobian, strict=True):
        x = _recurrence(product, applied, a, jnp.stack([leaves[i] for i in group], axis=1), reverse)
        for at, i in enumerate(group):
            solved[i] = x[:, at]
    return jax.tree.unflatten(tree, solved)


def _recurrence(product: Callable, applied: Callable, a: jax.Array, x: jax.Array, reverse: bool) -> jax.Array:
    """``d_t = a_t d_{t-1} + x_t`` from 0, in three passes: what pieces of 16 steps do, where each begins, its steps.

    Half the products of ``jax.lax.associative_scan``, since only the pieces are composed in a tree, and three small
    loops to compile where that unrolls its tree.

    Args:
        product, applied: Of two matrices, and of a matrix with a vector, with one axis before them.
        a, x: Matrices and vectors, time first.
        reverse: Whether ``d_t = a_t d_{t+1} + x_t``.
    """
    length = len(x)
    size = min(PIECE, length)
    count = -(-length // size)

    def pieces(v):
        v = jnp.flip(v, 0) if reverse else v
        return jnp.pad(v, [(0, count * size - length)] + [(0, 0)] * (v.ndim - 1)).reshape(count, size, *v.shape[1:])

    a, x = pieces(a), pieces(x)
    at = lambda v, t: lax.dynamic_index_in_dim(v, t, 1, keepdims=False)

    def compose(first, second):
        return product(second[0], first[0]), applied(second[0], first[1]) + second[1]

    whole = lax.fori_loop(1, size, lambda t, sofar: compose(sofar, (at(a, t), at(x, t))), (a[:, 0], x[:, 0]))

    def double(i, sofar):
        """Every piece with the 2^i pieces before it, which already are with theirs."""
        shift = 2**i
        composed = compose(jax.tree.map(lambda v: jnp.roll(v, shift, 0), sofar), sofar)
        there = jnp.arange(count) >= shift
        return jax.tree.map(lambda v, old: jnp.where(there.reshape(-1, *(1,) * (v.ndim - 1)), v, old), composed, sofar)

    ends = lax.fori_loop(0, math.ceil(math.log2(count)), double, whole)[1]
    begins = jnp.concatenate([jnp.zeros_like(ends[:1]), ends[:-1]])

    def step(d, t):
        d = applied(at(a, t), d) + at(x, t)
        return d, d

    d = lax.scan(step, begins, jnp.arange(size))[1]
    d = jnp.moveaxis(d, 0, 1).reshape(count * size, *d.shape[2:])[:length]
    return jnp.flip(d, 0) if reverse else d


def _groups(leaves: list[jax.Array]) -> list[list[int]]:
    """The leaves of each shape."""
    shapes = list(dict.fromkeys(a.shape for a in leaves))
    return [[i for i, a in enumerate(leaves) if a.shape == shape] for shape in shapes]


def _joined(carry: Carry, rank: int) -> jax.Array:
    """A carry as one vector per row: ``[*batch, S]``, with ``rank`` axes before the features."""
    rows = [a.reshape(*a.shape[:rank], math.prod(a.shape[rank:])) for a in jax.tree.leaves(carry)]
    return jnp.concatenate(rows, axis=-1)


def _split(vector: jax.Array, like: Carry, rank: int) -> Carry:
    """The inverse of ``_joined``."""
    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([math.prod(a.shape[rank:]) for a in leaves])
    parts = jnp.split(vector, ends[:-1], axis=-1)
    return jax.tree.unflatten(tree, [part.reshape(a.shape) for part, a in zip(parts, leaves, strict=True)])
