"""Losses of word vectors: skip-gram and CBOW with negative sampling or a hierarchical softmax, and GloVe.

All functions act on gathered rows of the tables, so that a gradient has the size of a batch and not of a vocabulary.
"""

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Bool, Float, Int
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import masked_sum


def context_pairs(left: Int[Array, " S"], right: Int[Array, " S"], reach: int) -> Bool[Array, "S T"]:
    """Returns which tokens are in the windows of S consecutive centers, bool ``[S, S + 2 reach]``.

    Center i is token ``i + reach``. Its context is the ``left[i]`` tokens before it and the ``right[i]`` tokens after
    it.

    Args:
        left, right: int32 ``[S]``, from 0 to ``reach``.
        reach: Number of tokens before the first and after the last center.
    """
    size = left.shape[0]
    tokens, centers = (jnp.arange(number, dtype=jnp.int32) for number in (size + 2 * reach, size))
    offsets = tokens[None, :] - reach - centers[:, None]
    return (offsets != 0) & (offsets >= -left[:, None]) & (offsets <= right[:, None])


def window_mean(rows: Float[Array, "... N D"], members: Bool[Array, "... S N"]) -> Float[Array, "... S D"]:
    r"""Computes means of rows whose gradient is that of the sum, as in word2vec.c, gensim and fastText.

    .. math:: h_s = \frac{1}{n_s} \sum_n m_{sn} x_n

    The exact gradient of a row is ``1 / n`` of the gradient of the mean. The programs named above omit the factor, and
    their learning rates assume so (Irsoy et al. 2021, arXiv:2012.15332).

    Args:
        rows: ``[..., N, D]``.
        members: Which rows belong to each mean, bool ``[..., S, N]``. A mean of no rows is 0.
    """
    weights = members.astype(rows.dtype)
    sums = jnp.matmul(weights, rows)
    counts = jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), 1)
    return sums + jax.lax.stop_gradient(sums / counts - sums)


def negative_weights(
    pairs: Bool[Array, "S T"], targets: Int[Array, " T"], negatives: Int[Array, " M"], num_negatives: int
) -> Float[Array, "S M"]:
    r"""Returns the weights of M negative words that S rows share.

    In word2vec each pair (s, t) has K negatives of its own, and those equal to t are skipped. The expectation is the
    same if all pairs share M negatives with the weight

    .. math:: w_{sm} = \frac{K}{M} \sum_t p_{st} [y_m \ne y_t]

    Args:
        pairs: bool ``[S, T]``, the positive pairs.
        targets: The words of the columns, int32 ``[T]``.
        negatives: The negative words, int32 ``[M]``.
        num_negatives: K.
    """
    different = (targets[:, None] != negatives[None, :]).astype(jnp.float32)
    return jnp.matmul(pairs.astype(jnp.float32), different) * (num_negatives / negatives.shape[0])


def negative_sampling_loss(
    hidden: Float[Array, "S D"],
    targets: Float[Array, "T D"],
    pairs: Bool[Array, "S T"],
    negatives: Float[Array, "M D"],
    weights: Float[Array, "S M"],
) -> Float[Array, ""]:
    r"""Computes the loss of negative sampling, summed over all pairs.

    .. math::
        -\sum_{s,t} p_{st} \log \sigma(u_t^\top h_s) - \sum_{s,m} w_{sm} \log \sigma(-u_m^\top h_s)

    Args:
        hidden: ``[S, D]``: the input vectors of words (skip-gram) or means of them (CBOW).
        targets: Output vectors of the words to predict, ``[T, D]``.
        pairs: Which targets belong to each row, bool ``[S, T]``.
        negatives: Output vectors of random words, ``[M, D]``.
        weights: As returned by ``negative_weights``, ``[S, M]``.

    References:
        Mikolov et al., Distributed Representations of Words and Phrases and their Compositionality, 2013,
        arXiv:1310.4546. Ji et al., Parallelizing Word2Vec in Shared and Distributed Memory, 2016, arXiv:1604.04661,
        share negatives to obtain matrix products.
    """
    positive = jax.nn.softplus(-_products(hidden, targets))
    negative = jax.nn.softplus(_products(hidden, negatives))
    return masked_sum(positive, pairs) + jnp.sum(weights.astype(negative.dtype) * negative)


def hierarchical_softmax_loss(
    hidden: Float[Array, "S C D"],
    nodes: Float[Array, "S L D"],
    codes: Bool[Array, "S L"],
    valid: Bool[Array, "S C L"],
) -> Float[Array, ""]:
    r"""Computes the loss of the hierarchical softmax: the negative log-likelihood of words, summed.

    The probability of a word is that of its path in a binary tree, with the branch :math:`b_l` at node :math:`n_l`:

    .. math:: -\sum_{s,c,l} \log \sigma\left((1 - 2 b_{sl})\, n_{sl}^\top h_{sc}\right)

    Args:
        hidden: C input vectors for each of the S words, ``[S, C, D]``.
        nodes: Vectors of the nodes along the path of each word, ``[S, L, D]``.
        codes: The branch at each node, bool ``[S, L]``.
        valid: Which terms count, bool ``[S, C, L]``.
    """
    logits = jnp.einsum("scd,sld->scl", hidden, nodes, preferred_element_type=at_least_float32(hidden.dtype))
    return masked_sum(jax.nn.softplus(jnp.where(codes[:, None, :], logits, -logits)), valid)


def glove_weights(counts: Float[Array, "..."], max_count: float = 100.0, power: float = 0.75) -> Float[Array, "..."]:
    r"""Computes the weight of a co-occurrence count, :math:`f(x) = \min(1, (x / x_{max})^\alpha)`; 0 for 0."""
    return jnp.minimum(1.0, (counts / max_count) ** power)


def glove_loss(
    words: Float[Array, "... D"],
    contexts: Float[Array, "... D"],
    word_biases: Float[Array, "..."],
    context_biases: Float[Array, "..."],
    counts: Float[Array, "..."],
    max_count: float = 100.0,
    power: float = 0.75,
) -> Float[Array, ""]:
    r"""Computes the loss of GloVe, summed over co-occurrences.

    .. math:: \frac{1}{2} \sum f(x) (w^\top u + b + b' - \log x)^2

    The factor 1/2 is that of the authors' program.

    Args:
        words, contexts: Vectors of the words of each co-occurrence, ``[..., D]``.
        word_biases, context_biases: ``[...]``.
        counts: x, ``[...]``. A co-occurrence with 0 is padding.
        max_count, power: As in ``glove_weights``.

    References:
        Pennington et al., GloVe: Global Vectors for Word Representation, 2014.
    """
    products = jnp.sum(words * contexts, axis=-1, dtype=at_least_float32(words.dtype))
    counts = counts.astype(products.dtype)
    errors = products + word_biases + context_biases - jnp.log(jnp.maximum(counts, jnp.finfo(counts.dtype).tiny))
    return 0.5 * masked_sum(glove_weights(counts, max_count, power) * errors**2, counts > 0)


def _products(a: Float[Array, "S D"], b: Float[Array, "T D"]) -> Float[Array, "S T"]:
    return jnp.einsum("sd,td->st", a, b, preferred_element_type=at_least_float32(a.dtype))
