"""HistNetQ: sets represented by histograms of learned features (Perez-Mon et al. 2024, arXiv:2403.15123)."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dense import Dense
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_choice, check_layer_sizes
from jaxnets.ops.set_reductions import Validity, check_valid, output_dtype, set_sizes, where_valid
from jaxnets.sets.histogram import KINDS, bins_init, histogram


class Histogram(nn.Module):
    """A layer that computes a histogram of each feature of a set.

    Parameters: ``centers`` and ``widths``, ``[D, B]`` each, if learnable.

    Attributes:
        num_bins: B, the number of bins.
        kind: As in ``histogram``.
        learnable: Whether centers and widths are parameters; they are not in the published ``"sigmoid"``.
        cumulative: As in ``histogram``.
    """

    num_bins: int = 32
    kind: str = "linear"
    learnable: bool = True
    cumulative: bool = False

    @nn.compact
    def __call__(self, xs: Float[Array, "*batch N D"], valid: Validity = None) -> Float[Array, "*sets D K"]:
        """Computes histograms ``[*batch, D, B]``, float32, of elements ``[*batch, N, D]`` in [0, 1]."""
        bins = bins_init(self.kind, xs.shape[-1], self.num_bins)
        if self.learnable:
            bins = {name: self.param(name, lambda key, array=array: array) for name, array in bins.items()}
        return histogram(xs, bins, valid, kind=self.kind, cumulative=self.cumulative)


class HistNetQ(nn.Module):
    r"""An MLP for elements with outputs in [0, 1], histograms of its outputs, and an MLP for the histograms:

    .. math:: y = \mathrm{head}(\mathrm{histogram}_i(\sigma(\mathrm{features}(x_i))))

    Attributes:
        num_outputs: Number of outputs, such as the number of classes.
        features: Layer sizes of the MLP for elements; (): elements are used directly, and must be in [0, 1].
        head: Sizes of the hidden layers after the histograms.
        num_bins, kind, learnable, cumulative: As in ``Histogram``.
        softmax: Whether to apply a softmax to the outputs.
        dropout: Dropout probability after each hidden layer of ``features`` and ``head``.
        dtype: Compute type; parameters, histograms and outputs are float32.
    """

    num_outputs: int
    features: Sequence[int] = (128, 32)
    head: Sequence[int] = (128,)
    num_bins: int = 32
    kind: str = "linear"
    learnable: bool = True
    cumulative: bool = False
    softmax: bool = True
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    def setup(self):
        check_layer_sizes(features=self.features, head=self.head)
        check_choice("kind", self.kind, KINDS)
        dense = lambda size, name: Dense(size, dtype=self.dtype, name=name)
        self.feature_layers = [dense(size, f"features_{i}") for i, size in enumerate(self.features)]
        self.histogram = Histogram(self.num_bins, self.kind, self.learnable, self.cumulative)
        self.head_layers = [dense(size, f"head_{i}") for i, size in enumerate(self.head)]
        self.drop, self.output = nn.Dropout(self.dropout), nn.Dense(self.num_outputs, dtype=output_dtype(self.dtype))

    def __call__(
        self, xs: Float[Array, "*batch N D"], valid: Validity = None, *, train: bool = False
    ) -> Float[Array, "*sets outputs"]:
        """Applies the model to sets.

        Args:
            xs: Elements ``[*batch, N, D]``.
            valid: A mask ``[*batch, N]``, ``Segments`` or None.
            train: Whether to apply dropout, which needs ``rngs={"dropout": key}``.

        Returns:
            ``[*batch, num_outputs]``, float32.
        """
        return self.decode((self.histogram(self.elements(xs, valid, train=train), valid),), train=train)

    def num_passes(self) -> int:
        """Returns the number of passes of ``apply_in_chunks`` over the set."""
        return 1

    def update(self, carry: Any, xs: jax.Array, valid: Validity, summaries: tuple) -> Any:
        """Updates sums of votes and element counts with one more chunk; the initial carry is None."""
        valid = check_valid(xs, valid)
        count = set_sizes(valid)
        vote_sums = self.histogram(self.elements(xs, valid), valid)
        vote_sums *= count.astype(vote_sums.dtype)[..., None]
        return (vote_sums, count) if carry is None else (carry[0] + vote_sums, carry[1] + count)

    def finalize(self, carry: Any, summaries: tuple) -> jax.Array:
        """Returns the histograms."""
        vote_sums, count = carry
        return vote_sums / jnp.maximum(count.astype(vote_sums.dtype), 1)[..., None]

    def decode(self, summaries: tuple[jax.Array], *, train: bool = False) -> jax.Array:
        """Computes the outputs from the histograms."""
        (ys,) = summaries
        ys = ys.reshape(*ys.shape[:-2], math.prod(ys.shape[-2:]))
        for layer in self.head_layers:
            ys = self.drop(nn.leaky_relu(layer(ys)), deterministic=not train)
        ys = self.output(ys)
        return nn.softmax(ys) if self.softmax else ys

    def elements(self, xs: jax.Array, valid: Validity = None, *, train: bool = False) -> jax.Array:
        """Computes the features of elements in [0, 1] before the histograms: ``[*batch, N, features]``."""
        xs = where_valid(xs, check_valid(xs, valid))
        for layer in self.feature_layers[:-1]:
            xs = self.drop(nn.leaky_relu(layer(xs)), deterministic=not train)
        return nn.sigmoid(self.feature_layers[-1](xs)) if self.feature_layers else xs
