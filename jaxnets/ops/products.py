"""Matrix products whose gradients are fast on a CPU.

The gradient of a kernel ``[D, F]`` contracts every leading axis of ``[B, T, D]`` at once. XLA's CPU backend writes a
transposed copy of an operand for that, which takes up to as long as the rest of the layer's gradient. Where the leading
axes are joined first there is one to contract. Elsewhere they stay apart: they may be sharded over devices one by one.
"""

import functools
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.array_types import Array, Inexact
from jaxnets.ops.meshes import explicit_mesh


def dot_general(
    lhs: Inexact[Array, "..."], rhs: Inexact[Array, "..."], dimension_numbers: Any, *args: Any, **options: Any
) -> Inexact[Array, "..."]:
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


def linear(xs: Inexact[Array, "*batch D"], kernel: Inexact[Array, "D F"], **options: Any) -> Inexact[Array, "*batch F"]:
    """``xs [..., D]`` times ``kernel [D, F]``, with the options and the gradient of ``lax.dot_general``."""
    chex.assert_rank(kernel, 2)
    return dot_general(xs, kernel, (((xs.ndim - 1,), (0,)), ((), ())), **options)


def matmul(
    weight: Inexact[Array, "hidden gates"], h: Inexact[Array, "*batch hidden"]
) -> Inexact[Array, "*batch gates"]:
    """``h @ weight``, computed in the dtype of ``h`` and accumulated in float32 at least.

    In half precision the gradients are computed in that dtype too, accumulated in float32, and the weight's arrives
    in the weight's own dtype; this is a custom reverse rule, so that forward-mode derivatives need float32.

    Args:
        weight: ``[H, G]``.
        h: ``[..., H]``.

    Returns:
        ``[..., G]``, float32 (float64 for float64 operands).
    """
    return _half_matmul(weight, h) if jnp.finfo(h.dtype).bits == 16 else h @ weight.astype(h.dtype)


_float32_matmul = functools.partial(jnp.matmul, preferred_element_type=jnp.float32)


@jax.custom_vjp
def _half_matmul(weight: jax.Array, h: jax.Array) -> jax.Array:
    return _float32_matmul(h, weight.astype(h.dtype))


def _half_matmul_bwd(operands, dz):
    # JAX's own rule would multiply the float32 cotangent with a half weight: a slow float32 product everywhere.
    weight, h = operands
    rows, dz = h.reshape(-1, h.shape[-1]), dz.reshape(-1, dz.shape[-1]).astype(h.dtype)
    # As (W dz^T)^T: XLA's CPU backend runs dz W^T in float32, four times slower where the CPU has bfloat16 products.
    dh = _float32_matmul(weight.astype(h.dtype), dz.T).T
    dw = _float32_matmul(rows.T, dz)
    return dw.astype(weight.dtype), dh.astype(h.dtype).reshape(h.shape)


_half_matmul.defvjp(lambda weight, h: (_half_matmul(weight, h), (weight, h)), _half_matmul_bwd)
