"""Normalization of the valid elements of sets."""

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import auto_sharded, per_element
from jaxnets.ops.norms import standardize
from jaxnets.ops.set_reductions import Validity, broadcast_to_elements, check_valid, set_sizes, set_sum, where_valid


@auto_sharded(per_element)
def set_norm(
    xs: Float[Array, "*batch N D"], scale: Float[Array, "..."], bias: Float[Array, "..."], valid: Validity = None
) -> Float[Array, "*batch N D"]:
    r"""Applies set norm: normalization over all features of all elements of a set.

    See Zhang et al. 2022 (arXiv:2206.11925).

    .. math:: \gamma_d \frac{x_{id} - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_d, \quad
        \mu = \frac{1}{n D} \sum_{id} x_{id}, \quad \sigma^2 = \frac{1}{n D} \sum_{id} (x_{id} - \mu)^2

    Unlike layer norm, it preserves the relative magnitudes of the elements of a set.

    Args:
        xs, valid: As in ``pooling``.
        scale, bias: ``[D]``.

    Returns:
        Elements in the shape of ``xs``, zeros where not valid.
    """
    valid = check_valid(xs, valid)
    elements = where_valid(xs, valid).astype(at_least_float32(xs.dtype))
    count = jnp.maximum(set_sizes(valid).astype(elements.dtype), 1) * max(xs.shape[-1], 1)
    mean = jnp.sum(set_sum(elements, valid), axis=-1, keepdims=True) / count
    centered = where_valid(elements - broadcast_to_elements(mean, valid), valid)
    variance = jnp.sum(set_sum(centered**2, valid), axis=-1, keepdims=True) / count
    return _apply_scale(
        centered * jax.lax.rsqrt(broadcast_to_elements(variance, valid) + 1e-5), scale, bias, valid, xs.dtype
    )


@auto_sharded(per_element)
def layer_norm(
    xs: Float[Array, "*batch N D"], scale: Float[Array, "..."], bias: Float[Array, "..."], valid: Validity = None
) -> Float[Array, "*batch N D"]:
    r"""Applies layer norm to each element (Ba et al. 2016, arXiv:1607.06450); arguments as in ``set_norm``."""
    valid = check_valid(xs, valid)
    return _apply_scale(standardize(where_valid(xs, valid), 1e-5), scale, bias, valid, xs.dtype)


def _apply_scale(normalized, scale, bias, valid, dtype):
    for name, array in (("scale", scale), ("bias", bias)):
        if array.shape not in ((), normalized.shape[-1:]):
            raise ValueError(
                f"`{name}` must have shape {normalized.shape[-1:]}, one value per feature, got {array.shape}"
            )
    exact = at_least_float32(normalized.dtype, scale.dtype, bias.dtype)
    scale, bias = (array.astype(exact).reshape((1,) * (normalized.ndim - 1) + (-1,)) for array in (scale, bias))
    return where_valid(normalized.astype(exact) * scale + bias, valid).astype(dtype)
