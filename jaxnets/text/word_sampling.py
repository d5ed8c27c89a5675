"""Random choices in the training of word vectors: subsampling of frequent words, and negative words."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.array_types import Array, Int, Key
from jaxnets.ops.checks import check_number


def keep_probabilities(counts: np.ndarray, threshold: float = 1e-3) -> np.ndarray:
    r"""Returns the probability with which each occurrence of a word is kept in training.

    With the relative frequency f of a word, the probability is that of word2vec.c and gensim,

    .. math:: \min\left(1, \sqrt{t / f} + t / f\right),

    and not that of the paper, :math:`\sqrt{t / f}` (Mikolov et al. 2013, arXiv:1310.4546, equation 5).

    Args:
        counts: Number of occurrences of each word, ``[V]``.
        threshold: t; 0 keeps all words.

    Returns:
        float64 ``[V]``; 1 for words that do not occur.
    """
    check_number("threshold", threshold)
    counts = np.asarray(counts, np.float64)
    if not threshold:
        return np.ones_like(counts)
    ratio = threshold * counts.sum() / np.maximum(counts, 1)
    return np.where(counts > 0, np.minimum(1.0, np.sqrt(ratio) + ratio), 1.0)


class AliasTable(NamedTuple):
    """A discrete distribution in a form from which a sample takes constant time (Walker 1977).

    Attributes:
        thresholds: float32 ``[V]``.
        aliases: int32 ``[V]``.
    """

    thresholds: np.ndarray
    aliases: np.ndarray

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Int[Array, "..."]:
        """Returns samples, int32 ``[*shape]``."""
        of_slot, of_alias = jax.random.split(key)
        slots = jax.random.randint(of_slot, shape, 0, len(self.aliases), jnp.int32)
        accepted = jax.random.uniform(of_alias, shape, jnp.float32) < jnp.asarray(self.thresholds)[slots]
        return jnp.where(accepted, slots, jnp.asarray(self.aliases)[slots])


def noise_distribution(counts: np.ndarray, power: float = 0.75) -> AliasTable:
    """Returns the distribution of negative words, proportional to ``counts ** power``.

    Args:
        counts: Number of occurrences of each word, ``[V]``. Words with 0 are never sampled.
        power: The exponent, 0.75 in Mikolov et al. 2013 (arXiv:1310.4546).

    Raises:
        ValueError: No word occurs.
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or not (counts > 0).any():
        raise ValueError("`counts` must be numbers [V] of which at least one is positive")
    weights = np.where(counts > 0, np.maximum(counts, 1) ** power, 0.0)
    scaled = (weights / weights.sum() * len(weights)).tolist()
    thresholds, aliases = np.ones(len(scaled), np.float32), np.arange(len(scaled), dtype=np.int32)
    small = [index for index, value in enumerate(scaled) if value < 1]
    large = [index for index, value in enumerate(scaled) if value >= 1]
    while small and large:
        low, high = small.pop(), large[-1]
        thresholds[low], aliases[low] = scaled[low], high
        scaled[high] -= 1 - scaled[low]
        if scaled[high] < 1:
            small.append(large.pop())
    impossible = [index for index in small if not weights[index]]  # left over by rounding
    thresholds[impossible], aliases[impossible] = 0, int(np.argmax(weights))
    return AliasTable(thresholds, aliases)
