"""Embedding tables of text models from files of word vectors."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.array_types import Array, Bool, Float, Key
from jaxnets.ops.host.printable import printable
from jaxnets.weights.word_vectors import WordVectors, read_word_vectors

__all__ = ["PretrainedEmbeddings"]  # names that a config may use


class EmbeddingTable(NamedTuple):
    """An embedding table for the tokens of a text model.

    Attributes:
        table: float32 ``[V, D]``.
        known: bool ``[V]``, True for the rows from word vectors and False for random ones.
    """

    table: Float[np.ndarray, "V D"]
    known: Bool[np.ndarray, " V"]

    @property
    def coverage(self) -> float:
        """The fraction of rows from word vectors."""
        return float(self.known.mean())


def embedding_table(
    vectors: WordVectors, symbols: Sequence[str], *, lowercase: bool = True, seed: int = 0
) -> EmbeddingTable:
    """Returns the embedding table of the tokens of a model.

    The row of a token is the vector of its word. The rows of other tokens are drawn from N(0, s^2), with the standard
    deviation s of the rows that are found.

    Args:
        vectors: Words and vectors.
        symbols: V tokens in the order of their ids, such as ``[tokenizer.show(i) for i in range(tokenizer.size)]``.
        lowercase: Whether a token that is not among the words has the vector of its lower-case form.
        seed: Seed of the random rows.

    Raises:
        ValueError: No token is among the words.
    """
    table, known, std = _known_rows(vectors, symbols, lowercase)
    noise = np.random.default_rng(seed).normal(0, std, table.shape).astype(np.float32)
    return EmbeddingTable(np.where(known[:, None], table, noise), known)


@dataclasses.dataclass(frozen=True)
class PretrainedEmbeddings:
    """An initializer of embedding tables from a file of word vectors, in the form that Flax calls.

    It is the value of ``embedding_init`` in the config of a text model; the task adds the symbols::

        {"name": "weights.PretrainedEmbeddings", "path": "glove.txt"}

    Tokens that are not in the file have random rows as in ``embedding_table``, drawn from the key. The file is read
    when an initialization is executed, not when shapes are computed. Trained runs are used without it.

    Attributes:
        path, format, limit: As in ``read_word_vectors``.
        symbols, lowercase: As in ``embedding_table``.
    """

    path: str
    format: str = "auto"
    limit: int | None = None
    lowercase: bool = True
    symbols: tuple[str, ...] = ()

    def __call__(self, key: Key[Array, ""], shape: Sequence[int], dtype: Any = jnp.float32) -> Float[Array, "V D"]:
        """Returns the initial table.

        Args:
            key: Random key.
            shape: ``(V, D)``: the number of symbols, and the dimensions of the file.
            dtype: Dtype of the table.

        Raises:
            ValueError: As in ``read_word_vectors`` and ``embedding_table``, or the shape is another one. Within
                ``jax.jit``, JAX raises its error with this message.
        """
        shape = tuple(shape)

        def read() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            table, known, std = self._rows(shape)
            return table, known, np.asarray(std, np.float32)

        kinds = (
            jax.ShapeDtypeStruct(shape, jnp.float32),
            jax.ShapeDtypeStruct(shape[:1], jnp.bool_),
            jax.ShapeDtypeStruct((), jnp.float32),
        )
        is_traced = isinstance(key, jax.core.Tracer)
        table, known, std = jax.pure_callback(read, kinds) if is_traced else map(jnp.asarray, read())
        noise = std * jax.random.normal(key, shape, jnp.float32)
        return jnp.where(known[:, None], table, noise).astype(dtype)

    def _rows(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, float]:
        if len(shape) != 2 or shape[0] != len(self.symbols):
            raise ValueError(f"the table must have one row for each of {len(self.symbols):,} symbols, got {shape}")
        vectors = read_word_vectors(self.path, self.format, self.limit)
        if vectors.vectors.shape[1] != shape[1]:
            raise ValueError(
                f"the model must have embeddings of {vectors.vectors.shape[1]} dimensions, those of "
                f"{printable(self.path)}, got {shape[1]}"
            )
        table, known, std = _known_rows(vectors, self.symbols, self.lowercase)
        count = f"{np.count_nonzero(known):,} of {len(known):,} tokens"
        print(f"{count} have vectors of {printable(self.path)}", file=sys.stderr)
        return table, known, std


def _known_rows(vectors: WordVectors, symbols: Sequence[str], lowercase: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns a table with the rows of known symbols, their mask, and the standard deviation of these rows."""
    lowered = (symbol.lower() if lowercase else symbol for symbol in symbols)
    ids = np.array([vectors.ids.get(s, vectors.ids.get(low, -1)) for s, low in zip(symbols, lowered, strict=True)], int)
    known = ids >= 0
    if not known.any():
        shown = printable(", ".join(map(repr, symbols[:3])), 60)
        raise ValueError(f"at least one of {len(ids):,} symbols must be among the words, got none: {shown}, ...")
    rows = vectors.vectors[ids[known]]
    table = np.zeros((len(ids), rows.shape[1]), np.float32)
    table[known] = rows
    return table, known, float(np.std(rows, dtype=np.float64))
