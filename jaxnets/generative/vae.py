"""``VAE``: the variational autoencoder of Kingma and Welling 2013 (arXiv:1312.6114), with dense layers."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn


class VAE(nn.Module):
    r"""A Gaussian encoder and a Bernoulli decoder with hidden layers of tanh.

    .. math:: q(z|x) = \mathcal{N}(\mu(x), \mathrm{diag}\,\sigma^2(x)), \quad
        p(x|z) = \prod_i \mathrm{Bern}(x_i; \mathrm{sigmoid}(l_i(z)))

    Attributes:
        features: D, numbers of an input.
        latent: Z, numbers of a code.
        hidden_sizes: Units of the encoder's layers; the decoder has them in reverse.
    """

    features: int
    latent: int = 20
    hidden_sizes: Sequence[int] = (400,)

    def setup(self):
        self.encoder = [nn.Dense(size) for size in self.hidden_sizes]
        self.code = nn.Dense(2 * self.latent)
        self.decoder = [nn.Dense(size) for size in reversed(self.hidden_sizes)]
        self.output = nn.Dense(self.features)

    def __call__(self, xs: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Logits ``[B, D]`` of a code drawn with ``noise [B, Z]``, and mean and log variance ``[B, Z]`` of codes."""
        mean, log_variance = self.encode(xs)
        return self.decode(mean + jnp.exp(0.5 * log_variance) * noise), mean, log_variance

    def encode(self, xs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log variance ``[B, Z]`` of the codes of ``xs [B, D]``."""
        for layer in self.encoder:
            xs = jnp.tanh(layer(xs))
        mean, log_variance = jnp.split(self.code(xs), 2, axis=-1)
        return mean, log_variance

    def decode(self, codes: jax.Array) -> jax.Array:
        """Logits ``[B, D]`` of ``codes [B, Z]``."""
        for layer in self.decoder:
            codes = jnp.tanh(layer(codes))
        return self.output(codes)
