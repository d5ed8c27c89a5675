"""Matrix products whose gradients are fast on a CPU.

The gradient of a kernel ``[D, F]`` contracts all leading axes of ``[B, T, D]``. For several axes, XLA's CPU backend
writes a transposed copy of an operand, which can take as long as the rest of the layer's gradient. On a CPU, the
leading axes are therefore joined first. On other backends they are not, because each of them may be sharded over
devices.
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
    """Computes ``lax.dot_general``; on a CPU, leading axes are joined if ``lhs`` is contracted over its last axes."""
    (left, right), batch = dimension_numbers
    leading = lhs.ndim - len(left)
    inner = tuple(left) == tuple(range(leading, lhs.ndim)) and tuple(right) == tuple(range(len(right)))
    explicit = explicit_mesh((lhs, rhs)) is not None  # JAX does not join sharded axes there
    if jax.default_backend() != "cpu" or leading < 2 or any(map(len, batch)) or not inner or explicit:
        return lax.dot_general(lhs, rhs, dimension_numbers, *args, **options)
    batch_shape, contracted, out_shape = lhs.shape[:leading], math.prod(lhs.shape[leading:]), rhs.shape[len(right) :]
    rows, table = lhs.reshape(math.prod(batch_shape), contracted), rhs.reshape(contracted, math.prod(out_shape))
    product = lax.dot_general(rows, table, (((1,), (0,)), ((), ())), *args, **options)
    return product.reshape(*batch_shape, *out_shape)


def linear(xs: Inexact[Array, "*batch D"], kernel: Inexact[Array, "D F"], **options: Any) -> Inexact[Array, "*batch F"]:
    """Computes ``xs @ kernel`` for ``xs [..., D]`` and ``kernel [D, F]``; options as in ``lax.dot_general``."""
    chex.assert_rank(kernel, 2)
    return dot_general(xs, kernel, (((xs.ndim - 1,), (0,)), ((), ())), **options)


def matmul(
    weight: Inexact[Array, "hidden gates"], h: Inexact[Array, "*batch hidden"]
) -> Inexact[Array, "*batch gates"]:
    """Computes ``h @ weight`` in the dtype of ``h``, accumulated in float32 at least.

    In half precision, gradients are also computed in that dtype and accumulated in float32; the weight's gradient has
    the weight's dtype. This is a custom VJP, so forward-mode derivatives need float32.

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
    # JAX's default rule multiplies the float32 cotangent with the weight: a slow float32 product on every backend.
    weight, h = operands
    rows, dz = h.reshape(-1, h.shape[-1]), dz.reshape(-1, dz.shape[-1]).astype(h.dtype)
    # Computed as (W dz^T)^T: XLA's CPU backend runs dz W^T in float32, four times slower on CPUs with bfloat16
    # products.
    dh = _float32_matmul(weight.astype(h.dtype), dz.T).T
    dw = _float32_matmul(rows.T, dz)
    return dw.astype(weight.dtype), dh.astype(h.dtype).reshape(h.shape)


_half_matmul.defvjp(lambda weight, h: (_half_matmul(weight, h), (weight, h)), _half_matmul_bwd)
