"""``HistNetQ``: a set as histograms of learned features (Perez-Mon et al. 2024, arXiv:2403.15123)."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dense import Dense
from jaxnets.ops.checks import check_choice, check_lengths
from jaxnets.ops.members import Members, answer_dtype, check_members, only_real, sizes
from jaxnets.sets.histogram import KINDS, bins_init, histogram


class Histogram(nn.Module):
    """One histogram for every feature of a set, with parameters ``centres`` and ``widths``, ``[D, B]`` each.

    Attributes:
        bins: B.
        kind: As in ``histogram``.
        learned: Whether centres and widths are; the published ``"sigmoid"`` does not learn them.
        cumulative: As in ``histogram``.
    """

    bins: int = 32
    kind: str = "linear"
    learned: bool = True
    cumulative: bool = False

    @nn.compact
    def __call__(self, xs: jax.Array, members: Members = None) -> jax.Array:
        """From ``[*batch, N, D]``, numbers from 0 to 1, to ``[*batch, D, B]``, float32."""
        even = bins_init(self.kind, xs.shape[-1], self.bins)
        if self.learned:
            even = {name: self.param(name, lambda key, array=array: array) for name, array in even.items()}
        return histogram(xs, even, members, kind=self.kind, cumulative=self.cumulative)


class HistNetQ(nn.Module):
    r"""Features of every element, squashed to numbers from 0 to 1, their histograms, and a network of these:

    .. math:: y = \mathrm{head}(\mathrm{histogram}_i(\sigma(\mathrm{features}(x_i))))

    Attributes:
        outputs: Numbers of an answer, such as the prevalences of classes.
        features: Widths of the layers of the elementwise network; (): elements are numbers from 0 to 1 already.
        head: Widths of the layers after the histograms.
        bins, kind, learned, cumulative: As in ``Histogram``.
        prevalences: Whether answers are parts of 1 (a softmax).
        dropout: Probability of dropping an element after every layer but the last of ``features``.
        dtype: Compute type; parameters, histograms and answers are float32.
    """

    outputs: int
    features: Sequence[int] = (128, 32)
    head: Sequence[int] = (128,)
    bins: int = 32
    kind: str = "linear"
    learned: bool = True
    cumulative: bool = False
    prevalences: bool = True
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    def setup(self):
        check_lengths(features=self.features, head=self.head)
        check_choice("kind", self.kind, KINDS)
        dense = lambda width, name: Dense(width, dtype=self.dtype, name=name)
        self.feature_layers = [dense(width, f"features_{i}") for i, width in enumerate(self.features)]
        self.histogram = Histogram(self.bins, self.kind, self.learned, self.cumulative)
        self.head_layers = [dense(width, f"head_{i}") for i, width in enumerate(self.head)]
        self.drop, self.output = nn.Dropout(self.dropout), nn.Dense(self.outputs, dtype=answer_dtype(self.dtype))

    def __call__(self, xs: jax.Array, members: Members = None, *, train: bool = False) -> jax.Array:
        """From ``[*batch, N, D]`` to ``[*batch, outputs]``, float32.

        Dropout is on when ``train``; it needs ``rngs={"dropout": key}`` then.
        """
        return self.answer((self.histogram(self.elements(xs, members, train=train), members),), train=train)

    def passes(self) -> int:
        """How often ``apply_in_chunks`` reads the set."""
        return 1

    def update(self, carry: Any, xs: jax.Array, members: Members, seen: tuple) -> Any:
        """The sums of votes, and how many elements there were, after one more chunk; None is before the first one."""
        members = check_members(xs, members)
        count = sizes(members)
        found = self.histogram(self.elements(xs, members), members)
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
        return nn.softmax(ys) if self.prevalences else ys

    def elements(self, xs: jax.Array, members: Members = None, *, train: bool = False) -> jax.Array:
        """The features of every element, from 0 to 1, of which histograms are taken: ``[*batch, N, features]``."""
        xs = only_real(xs, check_members(xs, members))
        for layer in self.feature_layers[:-1]:
            xs = self.drop(nn.leaky_relu(layer(xs)), deterministic=not train)
        return nn.sigmoid(self.feature_layers[-1](xs)) if self.feature_layers else xs
