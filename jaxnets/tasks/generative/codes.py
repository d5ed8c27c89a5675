"""Latent codes of generative models: samples and interpolations."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float


def codes_of(keys: jax.Array, latent: int) -> Float[Array, "B latent"]:
    """Draws one standard normal code for each key, ``[B, Z]``, so that the rows of a batch are independent."""
    return jax.vmap(lambda key: jax.random.normal(key, (latent,), jnp.float32))(keys)


def requested_codes(inputs: Mapping[str, jax.Array], latent: int) -> Float[Array, "B latent"]:
    """Returns the codes for the inputs of ``generate``: of ``key``, or by ``weight`` between it and ``end_key``."""
    codes = codes_of(inputs["key"], latent)
    return between(codes, codes_of(inputs["end_key"], latent), inputs["weight"]) if "weight" in inputs else codes


def between(begin: Float[Array, "B latent"], end: Float[Array, "B latent"], weights: Float[Array, " B"]) -> jax.Array:
    r"""Interpolates codes: :math:`\cos(\pi w / 2) z_0 + \sin(\pi w / 2) z_1`, which is again standard normal."""
    angles = (weights * (math.pi / 2))[:, None]
    return jnp.cos(angles) * begin + jnp.sin(angles) * end
