"""``WordVectorModel``: the tables of skip-gram, CBOW and GloVe."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, ArrayLike, Float, Integer
from jaxnets.ops.checks import check_choice, check_integer
from jaxnets.ops.embedding import embed

OBJECTIVES = ("skip_gram", "cbow", "glove")


class WordVectorModel(nn.Module):
    """Tables of word vectors: ``input``, the vectors of words, and ``output``, of the words to predict.

    With a hierarchical softmax, ``output`` holds the inner nodes of the Huffman tree instead. GloVe has biases of both
    tables. With subwords, ``input`` has ``num_buckets`` further rows for n-grams of characters.

    Attributes:
        vocab_size: V, number of words.
        objective: ``"skip_gram"`` or ``"cbow"`` (Mikolov et al. 2013, arXiv:1301.3781), or ``"glove"`` (Pennington et
            al. 2014).
        embed_dim: D, the size of a vector.
        hierarchical: Whether skip-gram and CBOW predict words by a hierarchical softmax and not by negative sampling.
        num_buckets: Number of rows for n-grams of characters (Bojanowski et al. 2017, arXiv:1607.04606); 0: none.
        min_n, max_n: Smallest and largest number of characters of an n-gram.
    """

    vocab_size: int
    objective: str = "skip_gram"
    embed_dim: int = 100
    hierarchical: bool = False
    num_buckets: int = 0
    min_n: int = 3
    max_n: int = 6

    def setup(self):
        check_choice("objective", self.objective, OBJECTIVES)
        check_integer("vocab_size", self.vocab_size)
        check_integer("embed_dim", self.embed_dim)
        check_integer("num_buckets", self.num_buckets, minimum=0)
        glove = self.objective == "glove"
        if glove and (self.hierarchical or self.num_buckets):
            raise ValueError("`hierarchical` and `num_buckets` must be left out with the objective glove")
        rows = self.vocab_size + self.num_buckets
        self.input = self.param("input", _uniform, (rows, self.embed_dim), jnp.float32)
        output = _uniform if glove else nn.initializers.zeros
        self.output = self.param("output", output, (self.vocab_size, self.embed_dim), jnp.float32)
        if glove:
            self.input_bias = self.param("input_bias", nn.initializers.zeros, (self.vocab_size, 1), jnp.float32)
            self.output_bias = self.param("output_bias", nn.initializers.zeros, (self.vocab_size, 1), jnp.float32)

    def __call__(self, words: Integer[ArrayLike, "*batch"]) -> Float[Array, "*batch D"]:
        """Returns the vectors of words ``[...]``: the rows of ``input``, and for GloVe the sums of both tables.

        Vectors with subwords are means of several rows; ``tasks.word_vectors`` has the n-grams of its words.
        """
        vectors = embed(self.input, words, name="words")
        return vectors + embed(self.output, words, name="words") if self.objective == "glove" else vectors


def _uniform(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Initializes as word2vec.c and GloVe: uniform in -0.5 / D ... 0.5 / D, where D is the size of a vector."""
    return jax.random.uniform(key, shape, dtype, -0.5, 0.5) / shape[-1]
