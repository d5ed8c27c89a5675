"""Generative adversarial networks of dense layers, for points and small vectors."""

from collections.abc import Sequence

from flax import linen as nn

from jaxnets.generative.models.adversarial_model import AdversarialModel
from jaxnets.ops.array_types import Array, Float


class GAN(AdversarialModel):
    """A generative adversarial network of two dense networks with ReLU.

    Attributes:
        features: D, features of an example.
        latent: Z, size of a latent code.
        hidden_sizes: Sizes of the hidden layers of both networks.
        num_classes: Classes of a conditional network; 0: no labels.
        pack: Examples that the discriminator sees at once, see ``pack_examples``.
    """

    features: int = 2
    latent: int = 2
    hidden_sizes: Sequence[int] = (128, 128)
    num_classes: int = 0
    pack: int = 1

    def setup(self):
        self.generator = DenseNetwork((*self.hidden_sizes, self.features))
        self.discriminator = DenseNetwork((*self.hidden_sizes, 1), squeeze=True)


class DenseNetwork(nn.Module):
    """Dense layers with ReLU in between.

    Attributes:
        sizes: Sizes of the layers.
        squeeze: Whether the last axis, of size 1, is removed.
    """

    sizes: Sequence[int]
    squeeze: bool = False

    @nn.compact
    def __call__(self, xs: Float[Array, "B D"], train: bool) -> Float[Array, "B ..."]:
        """Maps ``[B, D]`` to ``[B, sizes[-1]]``, or to ``[B]``; ``train`` has no effect."""
        for size in self.sizes[:-1]:
            xs = nn.relu(nn.Dense(size)(xs))
        xs = nn.Dense(self.sizes[-1])(xs)
        return xs[:, 0] if self.squeeze else xs
