"""The autoencoder of Hinton and Salakhutdinov 2006 ("Reducing the Dimensionality of Data with Neural Networks")."""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.mlp import MLP
from jaxnets.ops.array_types import Array, Float


class Autoencoder(nn.Module):
    """A deterministic autoencoder of two perceptrons with a linear code, 2,837,314 parameters by default.

    Reconstructions are logits, for a binary cross-entropy with pixels in [0, 1], or plain values for a squared error.
    A denoising autoencoder (Vincent et al. 2008) is the same network, trained to reconstruct inputs from noisy ones.
    The paper's units are logistic, and need layerwise pretraining; ReLU units do not.

    Parameters: ``encoder`` and ``decoder``, each with the layers of ``MLP``.

    Attributes:
        features: D, features of an input.
        latent: Z, size of the code.
        hidden_sizes: Sizes of the hidden layers of the encoder; the decoder has them in reverse order.
        activation: Name of the activation function of hidden layers, see ``ops.activations``.
        dtype: Compute type; parameters and outputs are float32.
    """

    features: int = 784
    latent: int = 30
    hidden_sizes: Sequence[int] = (1000, 500, 250)
    activation: str = "relu"
    dtype: Dtype = jnp.float32

    def setup(self):
        mlp = functools.partial(MLP, activation=self.activation, dtype=self.dtype)
        self.encoder = mlp(self.latent, tuple(self.hidden_sizes))
        self.decoder = mlp(self.features, tuple(reversed(self.hidden_sizes)))

    def __call__(self, xs: Float[Array, "B D"]) -> Float[Array, "B D"]:
        """Returns reconstructions ``[B, D]`` of inputs ``[B, D]``."""
        return self.decode(self.encode(xs))

    def encode(self, xs: Float[Array, "B D"]) -> Float[Array, "B latent"]:
        """Returns the codes ``[B, Z]`` of inputs ``[B, D]``."""
        return self.encoder(xs)

    def decode(self, codes: Float[Array, "B latent"]) -> Float[Array, "B D"]:
        """Returns the reconstructions ``[B, D]`` of codes ``[B, Z]``."""
        return self.decoder(codes)
