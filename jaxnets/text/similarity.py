"""Cosine similarity of vectors, nearest neighbors, analogies, and rank correlation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.array_types import Array, ArrayLike, Float, Int, Integer
from jaxnets.ops.checks import check_choice, check_floating, check_integer, check_number
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.embedding import check_ids

METHODS = ("add", "multiply")
MAX_SCORES = 2**24  # scores in memory at once; more questions are answered in chunks
MAX_CHUNK = 1024


def normalize(vectors: Float[ArrayLike, "*batch D"]) -> Float[Array, "*batch D"]:
    """Divides vectors ``[..., D]`` by their Euclidean norms, in float32 at least. Zero vectors remain zero."""
    check_floating("vectors", vectors, "[..., D]", 1)
    x = jnp.asarray(vectors).astype(at_least_float32(jnp.asarray(vectors).dtype))
    largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True, initial=0)
    x = x / jnp.where(largest > 0, largest, 1)  # squares of very large or small numbers are out of range
    norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.where(norm > 0, norm, 1)


def cosine_similarity(a: Float[ArrayLike, "*batch D"], b: Float[ArrayLike, "*batch D"]) -> Float[Array, "*batch"]:
    r"""Computes :math:`\cos(a, b) = a \cdot b / (\|a\| \|b\|)` of pairs of vectors; 0 if one of them is zero.

    Args:
        a, b: ``[..., D]``, of equal shape.

    Returns:
        ``[...]``, float32 at least.

    Raises:
        ValueError: The shapes differ, or an argument is not a floating point array.
    """
    check_floating("a", a, "[..., D]", 1)
    check_floating("b", b, "[..., D]", 1)
    if np.shape(a) != np.shape(b):
        raise ValueError(f"`a` and `b` must have the same shape, got {np.shape(a)} and {np.shape(b)}")
    return jnp.sum(normalize(a) * normalize(b), axis=-1)


def nearest(
    vectors: Float[ArrayLike, "V D"],
    queries: Float[ArrayLike, "queries D"],
    k: int = 10,
    exclude: Integer[ArrayLike, "queries excluded"] | None = None,
) -> tuple[Int[Array, "queries k"], Float[Array, "queries k"]]:
    """Finds the rows of a table with the largest cosine similarity to each query.

    Args:
        vectors: The table, ``[V, D]``.
        queries: ``[Q, D]``.
        k: Number of neighbors.
        exclude: Ids ``[Q, E]`` that are not neighbors of the query, such as that of the query itself; negative ones
            have no effect.

    Returns:
        Ids int32 ``[Q, k]`` in descending order of similarity (ascending order of ids among equals), and the
        similarities ``[Q, k]``. Where fewer than k rows remain, the id is -1 and the similarity -inf.

    Raises:
        ValueError: A shape or dtype is wrong, or ``k`` is not positive.
    """
    table, targets = _checked("vectors", vectors), _checked("queries", queries)
    if targets.shape[1] != table.shape[1]:
        raise ValueError(f"`queries` must have {table.shape[1]} columns as `vectors`, got {targets.shape[1]}")
    check_integer("k", k)
    ignored = jnp.full((len(targets), 0), -1) if exclude is None else jnp.asarray(exclude)
    if ignored.ndim != 2 or len(ignored) != len(targets) or not jnp.issubdtype(ignored.dtype, jnp.integer):
        raise ValueError(
            f"`exclude` must be integers of shape ({len(targets)}, E), got {ignored.dtype} of shape {ignored.shape}"
        )
    return _nearest(table, targets, ignored, min(k, len(table)), k)


def solve_analogies(
    vectors: Float[ArrayLike, "V D"],
    questions: Integer[ArrayLike, "questions 3"] | Sequence[Sequence[int]],
    k: int = 1,
    *,
    method: str = "add",
    epsilon: float = 1e-3,
    keys: Integer[ArrayLike, " V"] | None = None,
) -> tuple[Int[Array, "questions k"], Float[Array, "questions k"]]:
    r"""Answers analogies "a is to b as c is to ...", such as man : king = woman : queen.

    With vectors of unit norm, ``"add"`` (3CosAdd, Mikolov et al. 2013) ranks the words x by
    :math:`\cos(x, b - a + c)`, and ``"multiply"`` (3CosMul, Levy and Goldberg 2014) by

    .. math::
        \frac{\cos'(x, b)\, \cos'(x, c)}{\cos'(x, a) + \epsilon}, \quad \cos' = \frac{\cos + 1}{2}

    The words a, b and c are not answers. The memory is bounded: questions are answered in chunks.

    Args:
        vectors: The table, ``[V, D]``. Pass its first rows to restrict the vocabulary to the most frequent words.
        questions: Ids ``[Q, 3]`` of a, b and c.
        k: Number of answers.
        method: ``"add"`` or ``"multiply"``.
        epsilon: Positive number that prevents a division by zero.
        keys: Integers ``[V]``, equal for variants of one word such as Paris and paris. Variants of a, b and c are not
            answers either. By default every row is a word of its own.

    Returns:
        Ids int32 ``[Q, k]`` of the answers, best first, and their scores ``[Q, k]``. Where fewer than k rows remain,
        the id is -1 and the score -inf.

    Raises:
        ValueError: A shape, dtype, id or the method is wrong.
    """
    check_choice("method", method, METHODS)
    check_integer("k", k)
    check_number("epsilon", epsilon)
    table = _checked("vectors", vectors)
    ids = questions if hasattr(questions, "dtype") else np.asarray(questions)
    check_ids("questions", ids, len(table))
    ids = jnp.asarray(ids)
    if ids.ndim != 2 or ids.shape[1] != 3:
        raise ValueError(f"`questions` must have the shape (Q, 3), got {ids.shape}")
    groups = jnp.arange(len(table)) if keys is None else jnp.asarray(keys)
    if groups.shape != (len(table),) or not jnp.issubdtype(groups.dtype, jnp.integer):
        raise ValueError(
            f"`keys` must be integers of shape ({len(table)},), got {groups.dtype} of shape {groups.shape}"
        )
    return _answers(table, ids, groups, jnp.asarray(epsilon, table.dtype), min(k, len(table)), k, method)


def _checked(name: str, array: Any) -> jax.Array:
    check_floating(name, array, "[rows, D]", 2)
    if array.ndim != 2:
        raise ValueError(f"`{name}` must have the shape (rows, D), got {array.shape}")
    return jnp.asarray(array).astype(at_least_float32(array.dtype))


@functools.partial(jax.jit, static_argnums=(3, 4))
def _nearest(
    table: jax.Array, queries: jax.Array, exclude: jax.Array, found: int, k: int
) -> tuple[jax.Array, jax.Array]:
    unit = normalize(table)
    similarities = lambda row: _products(unit, normalize(row[0]))
    return _ranked(similarities, (queries, exclude), lambda row: row[1], jnp.arange(len(table)), found, k)


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _answers(
    table: jax.Array, questions: jax.Array, keys: jax.Array, epsilon: jax.Array, found: int, k: int, method: str
) -> tuple[jax.Array, jax.Array]:
    unit = normalize(table)

    def score(question: jax.Array) -> jax.Array:
        a, b, c = unit[question]
        if method == "add":
            return _products(unit, normalize(b - a + c))
        from_a, from_b, from_c = ((_products(unit, vector) + 1) / 2 for vector in (a, b, c))
        return from_b * from_c / (from_a + epsilon)

    return _ranked(score, questions, lambda question: keys[question], keys, found, k)


def _ranked(
    score: Callable[[Any], jax.Array],
    rows: Any,
    excluded: Callable[[Any], jax.Array],
    keys: jax.Array,
    found: int,
    k: int,
) -> tuple[jax.Array, jax.Array]:
    """Returns the ids and scores of the best rows, without those whose key is among the excluded ones."""

    def best(row: Any) -> tuple[jax.Array, jax.Array]:
        hidden = jnp.any(keys[None, :] == excluded(row)[:, None], axis=0)
        scores = jnp.where(hidden, -jnp.inf, score(row))
        values, ids = jax.lax.top_k(scores, found)
        ids = jnp.where(values == -jnp.inf, -1, ids.astype(jnp.int32))
        missing = (0, k - found)
        return jnp.pad(ids, missing, constant_values=-1), jnp.pad(values, missing, constant_values=-jnp.inf)

    chunk = min(max(MAX_SCORES // max(len(keys), 1), 1), MAX_CHUNK)
    found_ids, scores = jax.lax.map(best, rows, batch_size=chunk)
    return found_ids, scores


def _products(table: jax.Array, vector: jax.Array) -> jax.Array:
    # By default, GPUs and TPUs round the operands of float32 products to 10 bits or fewer.
    return jnp.einsum("d,vd->v", vector, table, precision=jax.lax.Precision.HIGHEST)


def spearman_correlation(x: Float[ArrayLike, " N"], y: Float[ArrayLike, " N"]) -> float:
    """Computes Spearman's rank correlation: Pearson's correlation of the ranks, with average ranks of ties.

    Args:
        x, y: Numbers ``[N]``.

    Returns:
        A number from -1 to 1; NaN if it is undefined: N < 2, all numbers of an argument are equal, or one is NaN.

    Raises:
        ValueError: The arguments are not vectors of equal length.
    """
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"`x` and `y` must have the same shape (N,), got {first.shape} and {second.shape}")
    if len(first) < 2 or np.isnan(first).any() or np.isnan(second).any():
        return float("nan")
    a, b = (rank - rank.mean() for rank in (_ranks(first), _ranks(second)))
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.clip(a @ b / norms, -1, 1)) if norms else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns the ranks from 1; equal values have their average rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
