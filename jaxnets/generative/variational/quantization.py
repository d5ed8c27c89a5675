"""Vector quantization with a straight-through gradient."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float, Int
from jaxnets.ops.dtypes import at_least_float32


class Quantized(NamedTuple):
    """Vectors replaced by their nearest codes.

    Attributes:
        codes: The nearest codes, with the gradient of the vectors, ``[..., D]``.
        indices: Their rows in the codebook, int32 ``[...]``.
        codebook_loss: Squared distance, with a gradient in the codebook only, ``[...]``.
        commitment_loss: Squared distance, with a gradient in the vectors only, ``[...]``.
    """

    codes: Float[Array, "*batch D"]
    indices: Int[Array, "*batch"]
    codebook_loss: Float[Array, "*batch"]
    commitment_loss: Float[Array, "*batch"]


def vector_quantize(xs: Float[Array, "*batch D"], codebook: Float[Array, "K D"]) -> Quantized:
    r"""Replaces vectors by the nearest rows of a codebook (van den Oord et al. 2017, arXiv:1711.00937).

    .. math::
        i = \mathrm{argmin}_k |x - e_k|^2, \quad y = x + \mathrm{sg}(e_i - x), \quad
        L_\text{codebook} = |\mathrm{sg}(x) - e_i|^2, \quad L_\text{commitment} = |x - \mathrm{sg}(e_i)|^2

    sg stops the gradient. Training minimizes the codebook loss plus 0.25 times the commitment loss. Both are sums over
    D; the authors' code averages them.

    Args:
        xs: x, ``[..., D]``.
        codebook: e, ``[K, D]``.

    Returns:
        The codes, in the dtype of ``xs``, and the losses, float32 at least. Of equally near codes the first is taken.

    Raises:
        ValueError: The codebook has another size of vectors, or no rows.
    """
    if codebook.ndim != 2 or codebook.shape[-1] != xs.shape[-1] or not len(codebook):
        raise ValueError(f"`codebook` must have the shape [K, {xs.shape[-1]}], K at least 1, got {codebook.shape}")
    dtype = at_least_float32(xs.dtype, codebook.dtype)
    vectors, table = jnp.asarray(xs, dtype).reshape(-1, xs.shape[-1]), jnp.asarray(codebook, dtype)
    products = jnp.matmul(vectors, table.T, precision="highest")
    indices = jnp.argmin(jnp.sum(table**2, axis=-1)[None] - 2 * products, axis=-1).astype(jnp.int32)
    chosen = table[indices]
    squared = lambda differences: jnp.sum(differences**2, axis=-1).reshape(xs.shape[:-1])
    stop = jax.lax.stop_gradient
    codes = (vectors + stop(chosen - vectors)).reshape(xs.shape).astype(xs.dtype)
    return Quantized(
        codes, indices.reshape(xs.shape[:-1]), squared(stop(vectors) - chosen), squared(vectors - stop(chosen))
    )
