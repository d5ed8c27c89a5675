"""``HistNetQ``: a set as histograms of learned features (Perez-Mon et al. 2024, arXiv:2403.15123)."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dense import Dense
from jaxnets.ops.checks import check_choice, check_layer_sizes
from jaxnets.ops.set_reductions import Validity, check_valid, output_dtype, set_sizes, where_valid
from jaxnets.sets.histogram import KINDS, bins_init, histogram


class Histogram(nn.Module):
    """One histogram for every feature of a set, with parameters ``centers`` and ``widths``, ``[D, B]`` each.

    Attributes:
        num_bins: B.
        kind: As in ``histogram``.
        learnable: Whether centers and widths are; the published ``"sigmoid"`` does not learn them.
        cumulative: As in ``histogram``.
    """

    num_bins: int = 32
    kind: str = "linear"
    learnable: bool = True
    cumulative: bool = False

    @nn.compact
    def __call__(self, xs: jax.Array, valid: Validity = None) -> jax.Array:
        """From ``[*batch, N, D]``, numbers from 0 to 1, to ``[*batch, D, B]``, float32."""
        even = bins_init(self.kind, xs.shape[-1], self.num_bins)
        if self.learnable:
            even = {name: self.param(name, lambda key, array=array: array) for name, array in even.items()}
        return histogram(xs, even, valid, kind=self.kind, cumulative=self.cumulative)


class HistNetQ(nn.Module):
    r"""Features of every element, squashed to numbers from 0 to 1, their histograms, and a network of these:

    .. math:: y = \mathrm{head}(\mathrm{histogram}_i(\sigma(\mathrm{features}(x_i))))

    Attributes:
        num_outputs: Numbers of an answer, such as the prevalences of classes.
        features: Widths of the layers of the elementwise network; (): elements are numbers from 0 to 1 already.
        head: Widths of the layers after the histograms.
        num_bins, kind, learnable, cumulative: As in ``Histogram``.
        softmax: Whether answers are parts of 1 (a softmax).
        dropout: Probability of dropping an element after every layer but the last of ``features``.
        dtype: Compute type; parameters, histograms and answers are float32.
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
        dense = lambda width, name: Dense(width, dtype=self.dtype, name=name)
        self.feature_layers = [dense(width, f"features_{i}") for i, width in enumerate(self.features)]
        self.histogram = Histogram(self.num_bins, self.kind, self.learnable, self.cumulative)
        self.head_layers = [dense(width, f"head_{i}") for i, width in enumerate(self.head)]
        self.drop, self.output = nn.Dropout(self.dropout), nn.Dense(self.num_outputs, dtype=output_dtype(self.dtype))

    def __call__(self, xs: jax.Array, valid: Validity = None, *, train: bool = False) -> jax.Array:
        """From ``[*batch, N, D]`` to ``[*batch, outputs]``, float32.

        Dropout is on when ``train``; it needs ``rngs={"dropout": key}`` then.
        """
        return self.answer((self.histogram(self.elements(xs, valid, train=train), valid),), train=train)

    def passes(self) -> int:
        """How often ``apply_in_chunks`` reads the set."""
        return 1

    def update(self, carry: Any, xs: jax.Array, valid: Validity, seen: tuple) -> Any:
        """The sums of votes, and how many elements there were, after one more chunk; None is before the first one."""
        valid = check_valid(xs, valid)
        count = set_sizes(valid)
        found = self.histogram(self.elements(xs, valid), valid)
        found *= count.astype(found.dtype)[..., None]
        return (found, count) if carry is None else (carry[0] + found, carry[1] + count)

    def finish(self, carry: Any, seen: tuple) -> jax.Array:
        """The histograms."""
        found, count = carry
        return found / jnp.maximum(count.astype(found.dtype), 1)[..., None]

    def answer(self, seen: tuple[jax.Array], *, train: bool = False) -> jax.Array:
        """Of the histograms."""
        (ys,) = seen
        ys = ys.reshape(*ys.shape[:-2], math.prod(ys.shape[-2:]))
        for layer in self.head_layers:
            ys = self.drop(nn.leaky_relu(layer(ys)), deterministic=not train)
        ys = self.output(ys)
        return nn.softmax(ys) if self.softmax else ys

    def elements(self, xs: jax.Array, valid: Validity = None, *, train: bool = False) -> jax.Array:
        """The features of every element, from 0 to 1, of which histograms are taken: ``[*batch, N, features]``."""
        xs = where_valid(xs, check_valid(xs, valid))
        for layer in self.feature_layers[:-1]:
            xs = self.drop(nn.leaky_relu(layer(xs)), deterministic=not train)
        return nn.sigmoid(self.feature_layers[-1](xs)) if self.feature_layers else xs
