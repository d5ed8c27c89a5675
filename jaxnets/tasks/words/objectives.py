"""Losses of word vectors as functions of the rows of tables, for ``learning.sparse``."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Words
from jaxnets.learning import RowLoss
from jaxnets.text import (
    WordVectorModel,
    context_pairs,
    glove_loss,
    hierarchical_softmax_loss,
    huffman_tree,
    negative_sampling_loss,
    negative_weights,
    noise_distribution,
    subword_rows,
    window_mean,
)


class Negatives(NamedTuple):
    """Settings of negative sampling.

    Attributes:
        number: K, negatives of a pair.
        shared: M, random words that a row of a batch shares.
        power: Exponent of the counts.
    """

    number: int
    shared: int
    power: float


def row_loss_of(model: WordVectorModel, spec: Words, negatives: Negatives, max_count: float) -> RowLoss:
    """Returns the loss of a model on batches of ``data.word_corpus`` or, for GloVe, of ``data.cooccurrences``."""
    if model.objective == "glove":
        return _glove(max_count)
    inputs = _Inputs(subwords_of(model, spec))
    make = _hierarchical if model.hierarchical else _sampled
    return make(model.objective == "cbow", inputs, np.array(spec.counts), negatives)


def subwords_of(model: WordVectorModel, spec: Words) -> np.ndarray | None:
    """Returns the rows of the input table that belong to each word, int32 ``[V, G]``; None if it is one row."""
    if not model.num_buckets:
        return None
    return subword_rows(("", *spec.tokenizer.symbols), model.num_buckets, model.min_n, model.max_n)


def word_table(model: WordVectorModel, subwords: np.ndarray | None, params: Any) -> jax.Array:
    """Returns the vectors of all words, ``[V, D]``: means over subwords, and for GloVe the sum of both tables."""
    if subwords is not None:
        inputs = _Inputs(subwords)
        words = jnp.arange(len(subwords), dtype=jnp.int32)
        return jax.lax.map(lambda word: inputs.vectors(word[None], params["input"][inputs.ids(word[None])])[0], words)
    return params["input"] + params["output"] if model.objective == "glove" else params["input"]


class _Inputs(NamedTuple):
    """The input vectors of words, which are means over subwords if there are any."""

    subwords: np.ndarray | None

    def ids(self, words: jax.Array) -> jax.Array:
        """Returns the rows of words ``[N]``: ``[N]``, or ``[N, G]`` with subwords."""
        return words if self.subwords is None else jnp.maximum(jnp.asarray(self.subwords)[words], 0)

    def vectors(self, words: jax.Array, rows: jax.Array) -> jax.Array:
        """Returns the vectors ``[N, D]`` of words ``[N]`` from their rows."""
        if self.subwords is None:
            return rows
        members = jnp.asarray(self.subwords)[words] >= 0
        return window_mean(rows, members[:, None, :])[:, 0]


def _centers(example: Any) -> tuple[jax.Array, jax.Array]:
    """Returns the center words ``[S]`` and which tokens are in their windows, ``[S, T]``."""
    words, size = example["inputs"], example["left"].shape[0]
    reach = (words.shape[0] - size) // 2
    return words[reach : reach + size], context_pairs(example["left"], example["right"], reach)


def _sampled(cbow: bool, inputs: _Inputs, counts: np.ndarray, negatives: Negatives) -> RowLoss:
    """Skip-gram predicts the context from a word, CBOW a word from the mean of its context."""
    noise = noise_distribution(counts, negatives.power)

    def words(example):
        """Returns the words to read from, and those to predict."""
        centers, _ = _centers(example)
        return (example["inputs"], centers) if cbow else (centers, example["inputs"])

    def prepare(batch, key):
        return {**batch, "negatives": noise.sample(key, (len(batch["inputs"]), negatives.shared))}

    def rows(example):
        sources, targets = words(example)
        return {"input": inputs.ids(sources), "output": jnp.concatenate([targets, example["negatives"]])}

    def loss(example, gathered):
        sources, targets = words(example)
        pairs = _centers(example)[1]
        hidden = inputs.vectors(sources, gathered["input"])
        if cbow:
            hidden = window_mean(hidden, pairs)
            pairs = jnp.eye(len(targets), dtype=bool) & jnp.any(pairs, axis=1, keepdims=True)
        weights = negative_weights(pairs, targets, example["negatives"], negatives.number)
        outputs = jnp.split(gathered["output"], [len(targets)])
        total = negative_sampling_loss(hidden, outputs[0], pairs, outputs[1], weights)
        return total, jnp.sum(pairs, dtype=jnp.float32)

    return RowLoss(prepare, rows, loss)


def _hierarchical(cbow: bool, inputs: _Inputs, counts: np.ndarray, negatives: Negatives) -> RowLoss:
    """Both predict a word along its path in the tree: skip-gram from each word of the context, CBOW from their mean."""
    tree = huffman_tree(counts)

    def rows(example):
        return {"input": inputs.ids(example["inputs"]), "output": jnp.asarray(tree.nodes)[_centers(example)[0]]}

    def loss(example, gathered):
        centers, pairs = _centers(example)
        vectors = inputs.vectors(example["inputs"], gathered["input"])
        if cbow:
            hidden, members = window_mean(vectors, pairs)[:, None], jnp.any(pairs, axis=1, keepdims=True)
        else:  # the 2 W tokens around each center
            reach = (pairs.shape[1] - len(centers)) // 2
            offsets = np.delete(np.arange(2 * reach + 1), reach)
            around = np.arange(len(centers))[:, None] + offsets
            hidden, members = vectors[around], jnp.take_along_axis(pairs, jnp.asarray(around), axis=1)
        codes = jnp.asarray(tree.codes)[centers]
        on_path = np.arange(codes.shape[1], dtype=np.int32)[None, :] < jnp.asarray(tree.lengths)[centers][:, None]
        total = hierarchical_softmax_loss(hidden, gathered["output"], codes, members[:, :, None] & on_path[:, None, :])
        return total, jnp.sum(members, dtype=jnp.float32)

    return RowLoss(lambda batch, key: batch, rows, loss)


def _glove(max_count: float) -> RowLoss:
    def rows(example):
        word, context = example["inputs"]
        return {"input": word, "input_bias": word, "output": context, "output_bias": context}

    def loss(example, gathered):
        biases = gathered["input_bias"][0], gathered["output_bias"][0]
        total = glove_loss(gathered["input"], gathered["output"], *biases, example["counts"], max_count)
        return total, jnp.sum(example["counts"] > 0, dtype=jnp.float32)

    return RowLoss(lambda batch, key: batch, rows, loss)
