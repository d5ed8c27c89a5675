"""Dense adversarial networks with maxout discriminators: the networks of Goodfellow et al. 2014 and of PacGAN."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxnets.convolution import BatchNorm
from jaxnets.generative.models.adversarial_model import AdversarialModel
from jaxnets.ops.array_types import Array, Float

INIT = nn.initializers.normal(0.02)


class MaxoutGAN(AdversarialModel):
    """A generative adversarial network with a ReLU generator and a maxout discriminator.

    Weights are initialized by N(0, 0.02). The variants are ``gan_2014`` and ``pac_gan``.

    Attributes:
        features: D, features of an example.
        latent: Z, size of a latent code.
        hidden_sizes: Sizes of the hidden layers of the generator.
        batch_norm: Whether these have batch normalization instead of a bias.
        sigmoid: Whether examples are in [0, 1], by a sigmoid.
        maxout_sizes: Sizes of the hidden layers of the discriminator.
        pieces: Linear functions of which each maxout unit is the maximum.
        num_classes: Classes of a conditional network; 0: no labels.
        pack: Examples that the discriminator sees at once, see ``pack_examples``.
    """

    features: int = 784
    latent: int = 100
    hidden_sizes: Sequence[int] = (1200, 1200)
    batch_norm: bool = False
    sigmoid: bool = True
    maxout_sizes: Sequence[int] = (240, 240)
    pieces: int = 5
    num_classes: int = 0
    pack: int = 1

    def setup(self):
        self.generator = MaxoutGANGenerator((*self.hidden_sizes, self.features), self.batch_norm, self.sigmoid)
        self.discriminator = MaxoutDiscriminator(self.maxout_sizes, self.pieces)


def gan_2014(**options: Any) -> MaxoutGAN:
    """The adversarial networks of 2014 for MNIST (arXiv:1406.2661): 2,503,984 and 1,231,441 parameters.

    The generator is 100-1200-1200-784 with pixels in [0, 1], the discriminator 240 and 240 maxout units of 5 pieces,
    without dropout. Options: attributes of ``MaxoutGAN``.
    """
    return MaxoutGAN(**options)


def pac_gan(**options: Any) -> MaxoutGAN:
    """The adversarial networks of PacGAN for points (arXiv:1712.04086): 484,802 and 405,201 parameters.

    The discriminator has 2,000 more for each further example of a pack. Options: attributes of ``MaxoutGAN``.
    """
    sizes = {"features": 2, "latent": 2, "hidden_sizes": (400,) * 4, "maxout_sizes": (200,) * 3}
    return MaxoutGAN(**{**sizes, "batch_norm": True, "sigmoid": False, **options})


class MaxoutGANGenerator(nn.Module):
    """The generator of ``MaxoutGAN``: dense layers with ReLU in between, after batch normalization if there is any.

    Attributes:
        sizes: Sizes of the layers.
        batch_norm: Whether hidden layers have batch normalization instead of a bias.
        sigmoid: Whether the output is a sigmoid.
    """

    sizes: Sequence[int]
    batch_norm: bool
    sigmoid: bool

    @nn.compact
    def __call__(self, xs: Float[Array, "B D"], train: bool) -> Float[Array, "B F"]:
        """Maps ``[B, D]`` to ``[B, sizes[-1]]``."""
        for layer, size in enumerate(self.sizes[:-1], 1):
            xs = nn.Dense(size, use_bias=not self.batch_norm, kernel_init=INIT, name=f"dense_{layer}")(xs)
            if self.batch_norm:
                xs = BatchNorm(dtype=xs.dtype, name=f"norm_{layer}")(xs, train)
            xs = nn.relu(xs)
        xs = nn.Dense(self.sizes[-1], kernel_init=INIT, name="head")(xs)
        return nn.sigmoid(xs) if self.sigmoid else xs


class MaxoutDiscriminator(nn.Module):
    """The discriminator of ``MaxoutGAN``: maxout layers (Goodfellow et al. 2013, arXiv:1302.4389) and a linear output.

    Attributes:
        sizes: Units of each layer.
        pieces: Linear functions of which each unit is the maximum.
    """

    sizes: Sequence[int]
    pieces: int

    @nn.compact
    def __call__(self, xs: Float[Array, "B D"], train: bool) -> Float[Array, " B"]:
        """Maps ``[B, D]`` to ``[B]``; ``train`` has no effect."""
        for layer, size in enumerate(self.sizes, 1):
            pieces = nn.Dense(size * self.pieces, kernel_init=INIT, name=f"maxout_{layer}")(xs)
            xs = jnp.max(pieces.reshape(*xs.shape[:-1], size, self.pieces), axis=-1)
        return nn.Dense(1, kernel_init=INIT, name="head")(xs)[:, 0]
