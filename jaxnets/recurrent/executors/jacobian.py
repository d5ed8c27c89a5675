"""Dense and diagonal Jacobians of one step of a cell, and parallel linear recurrences with them."""

import functools
import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.recurrent.cell import Carry, Cell, Params, match_rank, plain_dot

SEGMENT_LENGTH = 16  # sequential steps of a linear recurrence; all segments run in parallel


def dot_with_jacobian(cell: Cell, weights: Params, dtype: Any, dense: bool) -> Callable:
    """Returns a ``dot`` with an exact or a diagonal derivative.

    The derivative of a product is its matrix if ``dense``, else the diagonals of the square blocks of its matrix.
    Products without such blocks, and convolutions, have a derivative of 0 if not ``dense``.
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
        return z, jnp.concatenate([dh] * (z.shape[-1] // width), axis=-1).astype(z.dtype) * match_rank(
            diagonals.astype(z.dtype), z
        )

    return dot


def dense_jacobian(step: Callable, rank: int, carry: Carry, *inputs: Any) -> tuple[Carry, jax.Array]:
    """Returns the next carry and the Jacobian ``[*batch, S, S]`` of a step."""
    new, jvp = jax.linearize(lambda carry: step(carry, *inputs)[0], carry)
    vector = _concatenate(carry, rank)
    chex.assert_rank(vector, rank + 1)
    column = lambda row: _concatenate(jvp(_split(jnp.broadcast_to(row, vector.shape), carry, rank)), rank)
    return new, jax.vmap(column, out_axes=-1)(jnp.eye(vector.shape[-1], dtype=vector.dtype))


def dense_recurrence(jacobian: jax.Array, residual: Carry, reverse: bool) -> Carry:
    """Solves ``d_t = J_t d_{t-1} + r_t`` from 0 for dense Jacobians ``[T, *batch, S, S]``."""
    rank = jacobian.ndim - 2
    chex.assert_equal_shape_prefix([jacobian, *jax.tree.leaves(residual)], rank)
    apply = lambda b, x: (b @ x[..., None])[..., 0]
    vectors = _recurrence(jnp.matmul, apply, jacobian, _concatenate(residual, rank), reverse)
    return _split(vectors, residual, rank)


def diagonal_jacobian(step: Callable, rank: int, carry: Carry, *inputs: Any) -> tuple[Carry, list[jax.Array]]:
    """Returns the next carry and the diagonal Jacobian of a step.

    Leaves of equal shape form a group. The diagonal Jacobian of a group of k leaves contains the derivatives of each
    element of a leaf by the elements at the same position in the k leaves.

    Returns:
        The carry, and for each group an array ``[k, k, *shape]``: output leaf, input leaf, position.
    """
    new, jvp = jax.linearize(lambda carry: step(carry, *inputs)[0], carry)
    leaves, tree = jax.tree.flatten(carry)

    def column(j):
        """Returns the derivatives of all leaves by leaf j."""
        ones = [jnp.ones_like(a) if i == j else jnp.zeros_like(a) for i, a in enumerate(leaves)]
        return jax.tree.leaves(jvp(jax.tree.unflatten(tree, ones)))

    columns = [column(j) for j in range(len(leaves))]
    stack = lambda group: jnp.stack([jnp.stack([columns[j][i] for j in group]) for i in group])
    return new, [stack(group) for group in _groups(leaves)]


def diagonal_recurrence(jacobian: list[jax.Array], residual: Carry, reverse: bool) -> Carry:
    """Solves ``d_t = J_t d_{t-1} + r_t`` from 0 for the diagonal Jacobians ``[T, k, k, *shape]`` of each group."""
    total = functools.partial(functools.reduce, jnp.add)
    product = lambda b, a: total([b[:, :, j, None] * a[:, None, j] for j in range(a.shape[1])])
    apply = lambda b, x: total([b[:, :, j] * x[:, None, j] for j in range(x.shape[1])])
    leaves, tree = jax.tree.flatten(residual)
    solved = list(leaves)
    for group, a in zip(_groups(leaves), jacobian, strict=True):
        x = _recurrence(product, apply, a, jnp.stack([leaves[i] for i in group], axis=1), reverse)
        for at_step, i in enumerate(group):
            solved[i] = x[:, at_step]
    return jax.tree.unflatten(tree, solved)


def _recurrence(product: Callable, apply: Callable, a: jax.Array, x: jax.Array, reverse: bool) -> jax.Array:
    """Solves ``d_t = a_t d_{t-1} + x_t`` from 0.

    Three passes compose the 16 steps of each segment, the segments in a tree, and the steps of each segment from its
    first value. This takes half the products of ``jax.lax.associative_scan``, and XLA compiles three small loops
    instead of an unrolled tree.

    Args:
        product: Multiplies two matrices with one leading axis.
        apply: Multiplies a matrix with a vector, with one leading axis.
        a, x: Matrices and vectors, time first.
        reverse: Whether to solve ``d_t = a_t d_{t+1} + x_t``.
    """
    length = len(x)
    size = min(SEGMENT_LENGTH, length)
    count = -(-length // size)

    def segments(v):
        v = jnp.flip(v, 0) if reverse else v
        return jnp.pad(v, [(0, count * size - length)] + [(0, 0)] * (v.ndim - 1)).reshape(count, size, *v.shape[1:])

    a, x = segments(a), segments(x)
    at_step = lambda v, t: lax.dynamic_index_in_dim(v, t, 1, keepdims=False)

    def compose(first, second):
        return product(second[0], first[0]), apply(second[0], first[1]) + second[1]

    segment_totals = lax.fori_loop(
        1, size, lambda t, total: compose(total, (at_step(a, t), at_step(x, t))), (a[:, 0], x[:, 0])
    )

    def compose_with_previous(i, total):
        """Composes every segment with the 2^i segments before it, which are composed with theirs."""
        shift = 2**i
        composed = compose(jax.tree.map(lambda v: jnp.roll(v, shift, 0), total), total)
        has_previous = jnp.arange(count) >= shift
        return jax.tree.map(
            lambda v, old: jnp.where(has_previous.reshape(-1, *(1,) * (v.ndim - 1)), v, old), composed, total
        )

    segment_ends = lax.fori_loop(0, math.ceil(math.log2(count)), compose_with_previous, segment_totals)[1]
    segment_starts = jnp.concatenate([jnp.zeros_like(segment_ends[:1]), segment_ends[:-1]])

    def step(d, t):
        d = apply(at_step(a, t), d) + at_step(x, t)
        return d, d

    d = lax.scan(step, segment_starts, jnp.arange(size))[1]
    d = jnp.moveaxis(d, 0, 1).reshape(count * size, *d.shape[2:])[:length]
    return jnp.flip(d, 0) if reverse else d


def _groups(leaves: list[jax.Array]) -> list[list[int]]:
    """Returns the indices of the leaves of each shape."""
    shapes = list(dict.fromkeys(a.shape for a in leaves))
    return [[i for i, a in enumerate(leaves) if a.shape == shape] for shape in shapes]


def _concatenate(carry: Carry, rank: int) -> jax.Array:
    """Concatenates a carry to one vector per row, ``[*batch, S]``, where ``rank`` is the number of batch axes."""
    rows = [a.reshape(*a.shape[:rank], math.prod(a.shape[rank:])) for a in jax.tree.leaves(carry)]
    return jnp.concatenate(rows, axis=-1)


def _split(vector: jax.Array, like: Carry, rank: int) -> Carry:
    """Inverts ``_concatenate``."""
    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([math.prod(a.shape[rank:]) for a in leaves])
    vectors = jnp.split(vector, ends[:-1], axis=-1)
    return jax.tree.unflatten(tree, [v.reshape(a.shape) for v, a in zip(vectors, leaves, strict=True)])
