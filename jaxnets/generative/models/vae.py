"""The variational autoencoder of Kingma and Welling 2013 (arXiv:1312.6114) with dense layers."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from jaxnets.generative.variational.likelihoods import reparameterize
from jaxnets.ops.array_types import Array, Float


class VAE(nn.Module):
    r"""A variational autoencoder with a Gaussian encoder and a Bernoulli decoder, both dense networks with tanh.

    .. math:: q(z|x) = \mathcal{N}(\mu(x), \mathrm{diag}\,\sigma^2(x)), \quad
        p(x|z) = \prod_i \mathrm{Bern}(x_i; \mathrm{sigmoid}(l_i(z)))

    784-400-20 has 652,824 parameters. ``hidden_sizes=(200, 200)`` and ``latent=50`` is the network of IWAE with one
    stochastic layer, 425,284 parameters (Burda et al. 2016, arXiv:1509.00519).

    Attributes:
        features: D, features of an input.
        latent: Z, size of a latent code.
        hidden_sizes: Sizes of the hidden layers of the encoder; the decoder has them in reverse order.
    """

    features: int
    latent: int = 20
    hidden_sizes: Sequence[int] = (400,)

    def setup(self):
        self.encoder = [nn.Dense(size) for size in self.hidden_sizes]
        self.code = nn.Dense(2 * self.latent)
        self.decoder = [nn.Dense(size) for size in reversed(self.hidden_sizes)]
        self.output = nn.Dense(self.features)

    def __call__(
        self, xs: Float[Array, "B D"], noise: Float[Array, "*samples B latent"]
    ) -> tuple[Float[Array, "*samples B D"], Float[Array, "B latent"], Float[Array, "B latent"]]:
        """Encodes and decodes inputs, with one or more samples of the latent code.

        Args:
            xs: ``[B, D]``.
            noise: Standard normal noise of the reparameterized samples, ``[B, Z]``, or ``[K, B, Z]`` for K samples.

        Returns:
            The logits ``[B, D]`` or ``[K, B, D]`` of the decoder, and the mean and log variance ``[B, Z]`` of the
            encoder.
        """
        mean, log_variance = self.encode(xs)
        return self.decode(reparameterize(mean, log_variance, noise)), mean, log_variance

    def encode(
        self, xs: Float[Array, "*batch D"]
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """Returns the mean and log variance ``[B, Z]`` of the latent codes of ``xs`` ``[B, D]``."""
        for layer in self.encoder:
            xs = jnp.tanh(layer(xs))
        mean, log_variance = jnp.split(self.code(xs), 2, axis=-1)
        return mean, log_variance

    def decode(self, codes: Float[Array, "*batch latent"]) -> Float[Array, "*batch D"]:
        """Returns the logits ``[B, D]`` of latent codes ``[B, Z]``."""
        for layer in self.decoder:
            codes = jnp.tanh(layer(codes))
        return self.output(codes)
