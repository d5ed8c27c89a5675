"""Losses of discriminators and generators."""

import jax
import jax.numpy as jnp

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


def least_squares_losses(
    real: Float[Array, "*batch"], fake: Float[Array, "*other"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Computes the losses of LSGAN (Mao et al. 2017, arXiv:1611.04076), without the paper's factor 1/2.

    .. math:: L_D = E\,(D(x) - 1)^2 + E\,D(G(z))^2, \quad L_G = E\,(D(G(z)) - 1)^2

    Args:
        real: Outputs of the discriminator for real examples, ``[B]``.
        fake: Outputs of the discriminator for generated examples, ``[B]``.

    Returns:
        The losses of the discriminator and the generator, scalars.
    """
    return jnp.mean((real - 1) ** 2) + jnp.mean(fake**2), jnp.mean((fake - 1) ** 2)


def hinge_losses(
    real: Float[Array, "*batch"], fake: Float[Array, "*other"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Computes the hinge losses (Lim and Ye 2017, arXiv:1705.02894).

    .. math:: L_D = E\,\mathrm{relu}(1 - D(x)) + E\,\mathrm{relu}(1 + D(G(z))), \quad L_G = -E\,D(G(z))

    Args:
        real: Outputs of the discriminator for real examples, ``[B]``.
        fake: Outputs of the discriminator for generated examples, ``[B]``.

    Returns:
        The losses of the discriminator and the generator, scalars.
    """
    return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake)), -jnp.mean(fake)


def wasserstein_losses(
    real: Float[Array, "*batch"], fake: Float[Array, "*other"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Computes the losses of the Wasserstein GAN (Arjovsky et al. 2017, arXiv:1701.07875).

    .. math:: L_D = E\,D(G(z)) - E\,D(x), \quad L_G = -E\,D(G(z))

    The critic D must be nearly 1-Lipschitz; see ``gradient_penalty`` and ``spectral_norm``.

    Args:
        real: Outputs of the critic for real examples, ``[B]``.
        fake: Outputs of the critic for generated examples, ``[B]``.

    Returns:
        The losses of the critic and the generator, scalars.
    """
    return jnp.mean(fake) - jnp.mean(real), -jnp.mean(fake)
