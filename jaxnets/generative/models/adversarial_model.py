"""Base class of adversarial networks: labels as inputs, and packs of examples."""

from typing import Any

from flax import linen as nn

from jaxnets.generative.adversarial.minibatch import pack_examples
from jaxnets.generative.labels import append_labels
from jaxnets.ops.array_types import Array, Float, Integer


class AdversarialModel(nn.Module):
    """Base class of pairs of a generator and a discriminator.

    A subclass has the attributes ``latent``, ``num_classes`` and ``pack``, and in ``setup`` the submodules
    ``generator`` and ``discriminator``, functions ``(xs, train=)``. The discriminator returns ``[B]`` or ``[B, 1]``.
    """

    def __call__(
        self, codes: Float[Array, "B latent"], labels: Integer[Array, " B"] | None = None, train: bool = False
    ) -> Float[Array, " packs"]:
        """Returns the discriminator logits ``[B / pack]`` of examples generated from ``codes`` ``[B, Z]``."""
        return self.discriminate(self.generate(codes, labels, train), labels, train)

    def generate(
        self: Any, codes: Float[Array, "B latent"], labels: Integer[Array, " B"] | None = None, train: bool = False
    ) -> Float[Array, "B ..."]:
        """Generates examples.

        Args:
            codes: Latent codes, ``[B, Z]``.
            labels: Integers ``[B]`` for a conditional model, else None.
            train: Whether batch normalization uses the statistics of the batch, which needs
                ``mutable=["batch_stats"]``.

        Returns:
            ``[B, ...]``.

        Raises:
            ValueError: The codes have another size; labels are missing, not expected, or wrong.
        """
        if codes.ndim != 2 or codes.shape[1] != self.latent:
            raise ValueError(f"`codes` must have the shape [B, {self.latent}], got {codes.shape}")
        return self.generator(append_labels(codes, labels, self.num_classes), train=train)

    def check_image(self, height: int, width: int) -> None:
        """Raises a ``ValueError`` if no setting of the model generates images of a size; any size by default."""

    def discriminate(
        self: Any, xs: Float[Array, "B ..."], labels: Integer[Array, " B"] | None = None, train: bool = False
    ) -> Float[Array, " packs"]:
        """Computes the logits that examples are real.

        Args:
            xs: ``[B, ...]``.
            labels: Integers ``[B]`` for a conditional model, else None.
            train: As in ``generate``. Estimates of spectral norms are updated too.

        Returns:
            ``[B / pack]``.

        Raises:
            ValueError: The examples have another shape; labels are missing, not expected, or wrong; or ``pack`` is not
                a divisor of B.
        """
        packs = pack_examples(append_labels(xs, labels, self.num_classes), self.pack)
        return self.discriminator(packs, train=train).reshape(len(packs))
