"""Linen's dense layers with leading axes, whose gradients are as fast on a CPU as those of a plain matrix product.

The gradient of a kernel ``[D, F]`` contracts every leading axis of ``[B, T, D]`` at once. XLA's CPU backend writes a
transposed copy of an operand for that, which takes up to as long as the rest of the layer's gradient. Where the leading
axes are joined first there is one to contract. Elsewhere they stay apart: they may be sharded over devices one by one.
"""

import functools
import math
from typing import Any

import jax
from flax import linen as nn
from jax import lax

from jaxnets.ops.meshes import explicit_mesh


def dot_general(lhs: jax.Array, rhs: jax.Array, dimension_numbers: Any, *args: Any, **options: Any) -> jax.Array:
    """``lax.dot_general``; a CPU joins the axes of a product of last axes of ``lhs`` with first ones of ``rhs``."""
    (left, right), batch = dimension_numbers
    leading = lhs.ndim - len(left)
    inner = tuple(left) == tuple(range(leading, lhs.ndim)) and tuple(right) == tuple(range(len(right)))
    explicit = explicit_mesh((lhs, rhs)) is not None  # on which JAX joins no divided axes
    if jax.default_backend() != "cpu" or leading < 2 or any(map(len, batch)) or not inner or explicit:
        return lax.dot_general(lhs, rhs, dimension_numbers, *args, **options)
    before, width, after = lhs.shape[:leading], math.prod(lhs.shape[leading:]), rhs.shape[len(right) :]
    rows, table = lhs.reshape(math.prod(before), width), rhs.reshape(width, math.prod(after))
    product = lax.dot_general(rows, table, (((1,), (0,)), ((), ())), *args, **options)
    return product.reshape(*before, *after)


def matmul(xs: jax.Array, kernel: jax.Array, **options: Any) -> jax.Array:
    """``xs [..., D]`` times ``kernel [D, F]``; ``options`` as of ``lax.dot_general``."""
    return dot_general(xs, kernel, (((xs.ndim - 1,), (0,)), ((), ())), **options)


Dense = functools.partial(nn.Dense, dot_general=dot_general)
DenseGeneral = functools.partial(nn.DenseGeneral, dot_general=dot_general)
