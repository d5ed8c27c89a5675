"""TextCNN: convolutions over the words of a text with max pooling over time (Kim 2014, arXiv:1408.5882)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.convolution.conv import Conv
from jaxnets.ops.array_types import Array, Bool, Integer
from jaxnets.ops.checks import check_integer, check_layer_sizes
from jaxnets.ops.pooling import max_pool
from jaxnets.text.classification.text_classifier import TextClassifier


class TextCNN(TextClassifier):
    r"""Convolutions of several widths side by side, the maximum of each feature over time, and a linear layer:

    .. math::
        c^h_t = \mathrm{relu}(W^h [x_t, \ldots, x_{t+h-1}] + b^h), \quad
        \mathrm{logits} = U [\max_t c^{h}_t]_h + b

    Windows with padding do not count. A text that is shorter than a width has one window, which ends with zeros; an
    empty text has the features zero. With D = 300 and 2 classes, the model of the paper (default attributes) has
    360,902 parameters without the table. The paper also limits the norm of the rows of U to 3, which is left out here.

    Parameters: ``embed``, ``conv_<h>`` with ``kernel [h, D, F]``, ``head``.

    Attributes:
        widths: Widths h, in tokens.
        features: F, the number of features of each width.
    """

    embed_dim: int = 300
    dropout: float = 0.5
    widths: Sequence[int] = (3, 4, 5)
    features: int = 100

    def classify(self, xs: jax.Array, tokens: jax.Array, lengths: jax.Array, train: bool) -> jax.Array:
        check_layer_sizes(widths=self.widths)
        for width in self.widths:
            check_integer("widths", width)
        check_integer("features", self.features)
        if len(set(self.widths)) < max(len(self.widths), 1):
            raise ValueError(f"`widths` must be distinct, at least one, got {tuple(self.widths)}")
        pooled = []
        for width in self.widths:
            padding = [(0, width - 1)]  # one window for each step
            conv = Conv(self.features, (width,), padding=padding, dtype=self.dtype, name=f"conv_{width}")
            pooled.append(max_pool(nn.relu(conv(xs)), full_windows(lengths, xs.shape[-2], width)))
        return self.head(jnp.concatenate(pooled, axis=-1), train)


def full_windows(lengths: Integer[Array, "*batch"], size: int, width: int) -> Bool[Array, "*batch T"]:
    """Returns the mask of the first steps of windows without padding.

    Args:
        lengths: Integers ``[*batch]``, number of valid steps.
        size: T, the padded length.
        width: Steps of a window.

    Returns:
        bool ``[*batch, T]``. A sequence that is shorter than a window has one window, unless it is empty.
    """
    steps = jax.lax.broadcasted_iota(jnp.int32, (*lengths.shape, size), lengths.ndim)
    last = jnp.where(lengths > 0, jnp.maximum(lengths - width, 0), -1)
    return steps <= last[..., None]
