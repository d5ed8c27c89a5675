"""Base class of normalizing flows."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.generative.flows.bijector import standard_normal_log_prob
from jaxnets.ops.array_types import Array, Float, Key
from jaxnets.ops.checks import describe_value
from jaxnets.ops.dtypes import at_least_float32


class FlowModel(nn.Module):
    """Base class of flows from examples to standard normal codes ``[B, latent]``.

    A subclass has the property ``example_shape`` and the method ``transform``, the bijector in both directions. The
    variables are initialized by ``model.init(key, xs)``, and depend on the batch: activation normalization then has
    zero mean and unit variance. Give it a whole batch, without padded rows.
    """

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of an example, such as ``(H, W, C)``."""
        raise NotImplementedError

    @property
    def latent(self) -> int:
        """Size of a code, that of an example."""
        return math.prod(self.example_shape)

    def transform(self, xs: Float[Array, "B ..."], inverse: bool) -> tuple[Float[Array, "B ..."], Float[Array, " B"]]:
        """Maps examples to codes, or codes to examples; also returns the log-determinant of the Jacobian."""
        raise NotImplementedError

    def __call__(self, xs: Float[Array, "B ..."]) -> Float[Array, " B"]:
        """Computes the log-likelihood of examples, the log-density in nats.

        Args:
            xs: ``[B, ...]``; discrete data must be dequantized, see ``dequantize`` and ``bits_per_dim``.

        Returns:
            ``[B]``, float32 at least.

        Raises:
            ValueError: The shape is another one, or the dtype is not floating point.
        """
        codes, log_det = self.encode(xs)
        return standard_normal_log_prob(codes) + log_det

    def encode(self, xs: Float[Array, "B ..."]) -> tuple[Float[Array, "B latent"], Float[Array, " B"]]:
        """Maps examples to codes.

        Args:
            xs: ``[B, ...]``.

        Returns:
            The codes, ``[B, latent]``, and the log-determinant of the Jacobian, ``[B]``, float32 at least.

        Raises:
            ValueError: As in ``__call__``.
        """
        _check("xs", xs, self.example_shape)
        return self.transform(xs.astype(at_least_float32(xs.dtype)), inverse=False)

    def decode(self, codes: Float[Array, "B latent"]) -> Float[Array, "B ..."]:
        """Maps codes ``[B, latent]`` to examples ``[B, ...]``, the inverse of ``encode``.

        Raises:
            ValueError: The codes have another shape, or their dtype is not floating point.
        """
        _check("codes", codes, (self.latent,))
        return self.transform(codes.astype(at_least_float32(codes.dtype)), inverse=True)[0]

    def sample(self, key: Key[Array, ""], count: int, temperature: float = 1.0) -> Float[Array, "B ..."]:
        """Samples examples.

        Args:
            key: A random key.
            count: B.
            temperature: Standard deviation of the codes; Glow's figures have 0.7.

        Returns:
            ``[B, ...]``, float32.
        """
        return self.decode(temperature * jax.random.normal(key, (count, self.latent), jnp.float32))


def _check(name: str, values: Any, shape: tuple[int, ...]) -> None:
    is_floating = hasattr(values, "dtype") and jnp.issubdtype(values.dtype, jnp.floating)
    if not is_floating or values.shape[1:] != shape or not values.ndim:
        sizes = ", ".join(map(str, shape))
        raise ValueError(
            f"`{name}` must be a floating point array of shape [B, {sizes}], got {describe_value(values)}"
            + ("" if is_floating else "; dequantize discrete data")
        )
