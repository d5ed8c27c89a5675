"""Spectral normalization of kernels (Miyato et al. 2018, arXiv:1802.05957)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.generative.adversarial.lipschitz import spectral_norm
from jaxnets.ops.array_types import Array, Float


class SpectralNorm(nn.Module):
    """Divides a kernel by its spectral norm, which is estimated by power iteration; see ``spectral_norm``.

    In training, each call does one step, from the vector of the last call. ``flax.linen.SpectralNorm`` wraps a layer
    instead. In a layer of Linen, the kernel is normalized in the product: ``nn.Dense(8, dot_general=f)`` with
    ``f = lambda x, kernel, *args, **options: lax.dot_general(x, norm(kernel, train), *args, **options)``.

    Collection ``batch_stats``: ``u [F]``.
    """

    @nn.compact
    def __call__(self, kernel: Float[Array, "*window F"], train: bool = False) -> Float[Array, "*window F"]:
        """Normalizes a kernel.

        Args:
            kernel: ``[..., F]``.
            train: Whether to do a step of the iteration, which needs ``mutable=["batch_stats"]``.

        Returns:
            ``[..., F]``.
        """
        size = kernel.shape[-1]
        u = self.variable("batch_stats", "u", lambda: jax.random.normal(self.make_rng("params"), (size,), jnp.float32))
        sigma, following = spectral_norm(kernel, u.value, steps=int(train))
        if train and not self.is_initializing():
            u.value = following.astype(u.value.dtype)
        return (kernel / sigma.astype(kernel.dtype)).astype(kernel.dtype)
