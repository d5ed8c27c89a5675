"""Co-occurrence counts of words, for GloVe."""

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset, SelectRows
from jaxnets.data.sources.batches import Batch
from jaxnets.data.sources.parts import describe, digest, random_split
from jaxnets.data.sources.words.corpus import Sentences, read_corpus
from jaxnets.data.sources.words.epochs import Rows, endless, once


@one_line_errors
def cooccurrences(
    path: str = "",
    min_count: int = 5,
    window: int = 10,
    batch_size: int = 65536,
    sentences: str = "line",
    max_words: int = 400_000,
    lowercase: bool = True,
    validation_fraction: float = 0.02,
    seed: int = 0,
) -> Dataset:
    """Co-occurrence counts of words in running text, for GloVe.

    Two words at a distance of d words in a sentence add 1 / d to the counts of both orders (Pennington et al. 2014,
    section 4.2). Rare words are dropped before.

    A batch has B counts: ``inputs`` int32 ``[B, 2]``, the words, and ``counts`` float32 ``[B]``, 0 in the padding.

    Args:
        path, min_count, sentences, max_words, lowercase: As in ``data.word_corpus``.
        window: Largest distance d.
        batch_size: B.
        validation_fraction: Fraction of the counts to hold out.
        seed: Seed of the held-out counts and the order.

    Raises:
        ValueError: A file cannot be read, an argument is out of range, or too few words remain.
    """
    check_arguments(seed, validation_fraction, window=window, batch_size=batch_size)
    sentences = sentences if path else "paragraph"
    corpus = read_corpus(path, sentences, min_count, max_words, lowercase, 0.0, seed)
    pairs, counts = count_pairs(corpus.train, corpus.words.size, window)
    rows = random_split(len(counts), {"validation": validation_fraction}, seed)
    if not all(map(len, rows.values())):
        raise ValueError(f"{corpus.source} must have counts for training and for validation, got {len(counts)}")

    def at(indices: np.ndarray) -> Rows:
        def batch(places: np.ndarray) -> Batch:
            valid = places < len(indices)
            chosen = indices[np.minimum(places, len(indices) - 1)]
            return {"inputs": pairs[chosen], "counts": np.where(valid, counts[chosen], np.float32(0))}

        return batch

    def read(select_rows: SelectRows = np.arange) -> Dataset:
        train, held_out = (at(rows[name]) for name in ("train", "validation"))
        splits = {
            "train": endless(lambda epoch: train, len(rows["train"]), batch_size, seed, select_rows),
            "validation": once(held_out, len(rows["validation"]), batch_size, select_rows),
        }
        return Dataset(splits, corpus.words, fingerprint, description, read_part=read)

    fingerprint = digest([{"pairs": pairs, "counts": counts}])
    sizes = {"train": len(rows["train"]), "held out": len(rows["validation"])}
    summary = f"{len(corpus.words.tokenizer.symbols):,} different words, {corpus.total:,} in all"
    description = describe(corpus.source, "co-occurrences", sizes, summary) + corpus.skipped
    return read()


def count_pairs(sentences: Sentences, size: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts the pairs of words in sentences, weighted by the inverse of their distance.

    Args:
        sentences: The sentences.
        size: V.
        window: Largest distance.

    Returns:
        The pairs with a positive count, int32 ``[P, 2]``, in ascending order, and the counts, float32 ``[P]``.
    """
    codes: np.ndarray = np.zeros(0, np.int64)
    totals: np.ndarray = np.zeros(0)
    tokens = sentences.tokens.astype(np.int64)
    for distance in range(1, min(window, len(tokens) - 1) + 1):
        near = sentences.sentences[:-distance] == sentences.sentences[distance:]
        first, second = tokens[:-distance][near], tokens[distance:][near]
        found, number = np.unique(np.minimum(first, second) * size + np.maximum(first, second), return_counts=True)
        merged, place = np.unique(np.concatenate([codes, found]), return_inverse=True)
        totals = np.bincount(place, np.concatenate([totals, number / distance]), len(merged))
        codes = merged
    low, high = np.divmod(codes, size)
    both = np.concatenate([np.stack([low, high], 1), np.stack([high, low], 1)[low != high]])
    totals = np.concatenate([np.where(low == high, 2 * totals, totals), totals[low != high]])
    order = np.lexsort(both.T[::-1])
    return both[order].astype(np.int32), totals[order].astype(np.float32)
