"""Recurrent text classifier: any cell in one or both directions, with pooling over the states."""

from collections.abc import Callable

import jax

from jaxnets.modules.dropout import Dropout
from jaxnets.ops.checks import check_choice
from jaxnets.recurrent.cell import Cell
from jaxnets.recurrent.cells.lstm import lstm
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.models.sequence_model import SequenceModel
from jaxnets.text.classification.text_classifier import TextClassifier

POOLINGS = ("last", "max", "mean", "attention")


class RecurrentTextClassifier(TextClassifier):
    r"""Embeddings, a stack of recurrent layers, pooling over the states, and a linear layer.

    Parameters: ``embed``, and ``network`` of ``recurrent.SequenceModel``.

    Attributes:
        cell: A function from ``hidden_size`` to a cell, such as ``recurrent.lstm``.
        hidden_size: Hidden units of every layer and direction.
        num_layers: Number of layers.
        bidirectional: Whether the layers are bidirectional.
        pooling: ``"last"`` (the last state of each direction), ``"max"`` or ``"mean"`` over all states, or
            ``"attention"``.
        method: The algorithm of the recurrences, as in ``recurrent.scan``.
    """

    cell: Callable[[int], Cell] = lstm
    hidden_size: int = 128
    num_layers: int = 1
    bidirectional: bool = True
    pooling: str = "max"
    method: str | Method = "auto"

    def classify(self, xs: jax.Array, tokens: jax.Array, lengths: jax.Array, train: bool) -> jax.Array:
        check_choice("pooling", self.pooling, POOLINGS)
        network = SequenceModel(
            self.num_classes,
            self.cell,
            self.hidden_size,
            self.num_layers,
            self.bidirectional,
            self.pooling,
            self.dropout,
            self.dtype,
            self.method,
            name="network",
        )
        xs = Dropout(self.dropout, deterministic=not train)(xs)
        return network(xs, lengths=lengths, train=train)
