"""Losses of adversarial networks, and dense players for points and small vectors."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn


def nonsaturating_losses(real: jax.Array, fake: jax.Array) -> tuple[jax.Array, jax.Array]:
    r"""The losses of Goodfellow et al. 2014 (arXiv:1406.2661), with the generator's that does not saturate.

    .. math:: L_D = E\,\mathrm{softplus}(-D(x)) + E\,\mathrm{softplus}(D(G(z))), \quad
        L_G = E\,\mathrm{softplus}(-D(G(z)))

    Args:
        real: Logits of real examples, ``[B]``.
        fake: Logits of generated ones, ``[B]``.

    Returns:
        The losses of discriminator and generator, scalars.
    """
    discriminator = jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
    return discriminator, jnp.mean(jax.nn.softplus(-fake))


class GAN(nn.Module):
    """A dense generator and a dense discriminator with hidden layers of ReLU.

    Attributes:
        features: D, numbers of an example.
        latent: Z, numbers of a code.
        hidden_sizes: Units of the hidden layers of both.
    """

    features: int = 2
    latent: int = 2
    hidden_sizes: Sequence[int] = (128, 128)

    def setup(self):
        self.generator = Dense((*self.hidden_sizes, self.features))
        self.discriminator = Dense((*self.hidden_sizes, 1))

    def __call__(self, codes: jax.Array) -> jax.Array:
        """Logits ``[B]`` of what is generated from ``codes [B, Z]``."""
        return self.discriminate(self.generate(codes))

    def generate(self, codes: jax.Array) -> jax.Array:
        """Examples ``[B, D]`` of ``codes [B, Z]``."""
        return self.generator(codes)

    def discriminate(self, xs: jax.Array) -> jax.Array:
        """Logits ``[B]`` of being real of ``xs [B, D]``."""
        return self.discriminator(xs)[..., 0]


class Dense(nn.Module):
    """Dense layers with ReLU between them.

    Attributes:
        sizes: Units of the layers.
    """

    sizes: Sequence[int]

    @nn.compact
    def __call__(self, xs: jax.Array) -> jax.Array:
        """``[..., D]`` to ``[..., sizes[-1]]``."""
        for size in self.sizes[:-1]:
            xs = nn.relu(nn.Dense(size)(xs))
        return nn.Dense(self.sizes[-1])(xs)
