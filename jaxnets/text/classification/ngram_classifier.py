"""The classifier of fastText: a linear classifier of a bag of words and n-grams."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.modules.dropout import Dropout
from jaxnets.modules.embed import Embed
from jaxnets.ops.checks import check_depth, check_integer, check_probability
from jaxnets.ops.masks import masked_sum, valid_steps
from jaxnets.text.classification.ngrams import ngram_buckets
from jaxnets.text.classification.text_classifier import TextClassifier


class NgramClassifier(TextClassifier):
    r"""The mean of the embeddings of all words and n-grams of a text, and a linear layer without bias:

    .. math::
        \mathrm{logits} = \frac{1}{|G|} \sum_{g \in G} E_g\, U

    (Joulin et al. 2017, arXiv:1607.01759). G has the tokens of the text and its n-grams of 2 ... n tokens, which share
    the embeddings of ``num_buckets`` buckets by their hash (``text.ngram_buckets``). As in fastText, U is zero at
    first. fastText's hash of strings gives other collisions.

    Parameters: ``embed/embedding [V, D]``, ``ngrams/embedding [buckets, D]`` if n > 1, ``head/kernel [D, C]``.

    Attributes:
        max_ngram: n; 1: words only.
        num_buckets: Number of buckets of all n-grams.
        ngram_dropout: Probability that a word or an n-gram is left out in training, which regularizes as in Wang and
            Manning (2013, "Fast dropout training"). The others are scaled as in ``dropout``.
    """

    embed_dim: int = 10
    max_ngram: int = 2
    num_buckets: int = 2**18
    ngram_dropout: float = 0.0

    def classify(self, xs: jax.Array, tokens: jax.Array, lengths: jax.Array, train: bool) -> jax.Array:
        check_integer("max_ngram", self.max_ngram)
        check_depth(max_ngram=self.max_ngram)
        check_integer("num_buckets", self.num_buckets)
        check_probability("ngram_dropout", self.ngram_dropout)
        drop = Dropout(self.ngram_dropout, broadcast_dims=(-1,), deterministic=not train)
        size = tokens.shape[-1]
        total = masked_sum(drop(xs), valid_steps(lengths, size)[..., None], axis=-2)
        count = lengths
        if self.max_ngram > 1:
            table = Embed(self.num_buckets, self.embed_dim, self.dtype, name="ngrams")
        for n in range(2, self.max_ngram + 1):
            number = jnp.maximum(lengths - (n - 1), 0)
            ids = ngram_buckets(tokens, n, self.num_buckets)
            total += masked_sum(drop(table(ids)), valid_steps(number, size)[..., None], axis=-2)
            count += number
        mean = total / jnp.maximum(count, 1).astype(total.dtype)[..., None]
        return self.head(mean, train, use_bias=False, kernel_init=nn.initializers.zeros)
