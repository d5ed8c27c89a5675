"""Generative adversarial networks: losses, and dense networks for points and small vectors."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.ops.array_types import Array, Float


def nonsaturating_losses(
    real: Float[Array, "*batch"], fake: Float[Array, "*other"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Computes the adversarial losses with the non-saturating loss of the generator.

    See Goodfellow et al. 2014 (arXiv:1406.2661).

    .. math:: L_D = E\,\mathrm{softplus}(-D(x)) + E\,\mathrm{softplus}(D(G(z))), \quad
        L_G = E\,\mathrm{softplus}(-D(G(z)))

    Args:
        real: Discriminator logits of real examples, ``[B]``.
        fake: Discriminator logits of generated examples, ``[B]``.

    Returns:
        The losses of the discriminator and the generator, scalars.
    """
    discriminator = jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
    return discriminator, jnp.mean(jax.nn.softplus(-fake))


class GAN(nn.Module):
    """A generative adversarial network of two dense networks with ReLU.

    Attributes:
        features: D, features of an example.
        latent: Z, size of a latent code.
        hidden_sizes: Sizes of the hidden layers of both networks.
    """

    features: int = 2
    latent: int = 2
    hidden_sizes: Sequence[int] = (128, 128)

    def setup(self):
        self.generator = DenseNetwork((*self.hidden_sizes, self.features))
        self.discriminator = DenseNetwork((*self.hidden_sizes, 1))

    def __call__(self, codes: Float[Array, "*batch latent"]) -> Float[Array, "*batch"]:
        """Returns the discriminator logits ``[B]`` of examples generated from ``codes`` ``[B, Z]``."""
        return self.discriminate(self.generate(codes))

    def generate(self, codes: Float[Array, "*batch latent"]) -> Float[Array, "*batch D"]:
        """Generates examples ``[B, D]`` from latent codes ``[B, Z]``."""
        return self.generator(codes)

    def discriminate(self, xs: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
        """Returns the logits ``[B]`` that examples ``xs`` ``[B, D]`` are real."""
        return self.discriminator(xs)[..., 0]


class DenseNetwork(nn.Module):
    """Dense layers with ReLU in between.

    Attributes:
        sizes: Sizes of the layers.
    """

    sizes: Sequence[int]

    @nn.compact
    def __call__(self, xs: Float[Array, "*batch D"]) -> Float[Array, "*batch F"]:
        """Maps ``[..., D]`` to ``[..., sizes[-1]]``."""
        for size in self.sizes[:-1]:
            xs = nn.relu(nn.Dense(size)(xs))
        return nn.Dense(self.sizes[-1])(xs)
