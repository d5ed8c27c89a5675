"""Generative adversarial networks of dense layers, for points and small vectors."""

from collections.abc import Sequence

from jaxnets.generative.models.adversarial_model import AdversarialModel
from jaxnets.modules.mlp import MLP


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
        self.generator = MLP(self.features, self.hidden_sizes)
        self.discriminator = MLP(1, self.hidden_sizes)
