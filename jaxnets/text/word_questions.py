"""Evaluation of word vectors: questions of analogies and similarities of word pairs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxnets.ops.array_types import ArrayLike, Float
from jaxnets.ops.checks import check_integer
from jaxnets.text.similarity import cosine_similarity, solve_analogies, spearman_correlation

TOTAL = "total"


class AnalogyResult(NamedTuple):
    """Answers to the questions of a section.

    Attributes:
        correct: Number of correct answers.
        answered: Number of questions whose four words are all in the vocabulary.
        total: Number of questions.
    """

    correct: int
    answered: int
    total: int

    @property
    def accuracy(self) -> float:
        """The fraction of correct answers among the answered questions; 0 if none is answered."""
        return self.correct / self.answered if self.answered else 0.0

    @property
    def coverage(self) -> float:
        """The fraction of answered questions."""
        return self.answered / self.total if self.total else 0.0


class SimilarityResult(NamedTuple):
    """Agreement of cosine similarities with judgments of people.

    Attributes:
        correlation: Spearman's rank correlation over the covered pairs; NaN if fewer than two pairs are covered.
        covered: Number of pairs whose words are both in the vocabulary.
        total: Number of pairs.
    """

    correlation: float
    covered: int
    total: int

    @property
    def coverage(self) -> float:
        """The fraction of covered pairs."""
        return self.covered / self.total if self.total else 0.0


def evaluate_analogies(
    words: Sequence[str],
    vectors: Float[ArrayLike, "V D"],
    sections: Mapping[str, Sequence[tuple[str, str, str, str]]],
    *,
    method: str = "add",
    max_words: int = 300_000,
    ignore_case: bool = True,
) -> dict[str, AnalogyResult]:
    """Answers questions of analogies, such as those of ``data.read_analogies``.

    A question with a word outside the vocabulary is counted and not answered.

    Args:
        words: V words, the most frequent first.
        vectors: Their vectors, ``[V, D]``.
        sections: Questions (a, b, c, answer) by section: a is to b as c is to the answer.
        method: As in ``solve_analogies``.
        max_words: Only the first words are the vocabulary.
        ignore_case: Whether variants of a word in lower and upper case are the same. The vector of a word in a
            question is that of its first variant.

    Returns:
        The result of each section, and of all questions as ``"total"``.

    Raises:
        ValueError: An argument has a wrong shape or value, or a section is called ``"total"``.
    """
    check_integer("max_words", max_words)
    if TOTAL in sections:
        raise ValueError(f'`sections` must not contain "{TOTAL}", the name of the result of all sections')
    ids, keys = _vocabulary(words, vectors, max_words, ignore_case)
    known = {name: _known_ids(questions, ids, ignore_case, 4) for name, questions in sections.items()}
    asked = np.concatenate([np.empty((0, 4), np.int32), *known.values()])
    found, _ = solve_analogies(np.asarray(vectors)[: len(keys)], asked[:, :3], method=method, keys=keys)
    answers = np.asarray(found)[:, 0]
    right = (answers >= 0) & (keys[answers] == keys[asked[:, 3]])
    ends = np.cumsum([len(each) for each in known.values()])
    results = {
        name: AnalogyResult(int(part.sum()), len(part), len(sections[name]))
        for name, part in zip(sections, np.split(right, ends), strict=False)  # the part after the last end is empty
    }
    results[TOTAL] = AnalogyResult(int(right.sum()), len(right), sum(map(len, sections.values())))
    return results


def evaluate_similarities(
    words: Sequence[str],
    vectors: Float[ArrayLike, "V D"],
    pairs: Iterable[tuple[str, str, float]],
    *,
    max_words: int = 300_000,
    ignore_case: bool = True,
) -> SimilarityResult:
    """Compares cosine similarities of word pairs with judgments, such as those of ``data.read_similarities``.

    Args:
        words, vectors, max_words, ignore_case: As in ``evaluate_analogies``.
        pairs: Two words and the judged similarity.

    Raises:
        ValueError: An argument has a wrong shape or value.
    """
    check_integer("max_words", max_words)
    ids, _ = _vocabulary(words, vectors, max_words, ignore_case)
    judged = list(pairs)
    covered = [pair for pair in judged if len(_known_ids([pair[:2]], ids, ignore_case, 2))]
    known = _known_ids([pair[:2] for pair in covered], ids, ignore_case, 2)
    table = np.asarray(vectors)
    cosines = np.asarray(cosine_similarity(table[known[:, 0]], table[known[:, 1]]))
    correlation = spearman_correlation(cosines, np.array([score for *_, score in covered]))
    return SimilarityResult(correlation, len(covered), len(judged))


def _vocabulary(
    words: Sequence[str], vectors: Float[ArrayLike, "V D"], max_words: int, ignore_case: bool
) -> tuple[dict[str, int], np.ndarray]:
    """Returns the first id of each word, and for every row the first id of its word."""
    if len(words) != np.shape(vectors)[0]:
        raise ValueError(f"`words` must have the length of `vectors`, {np.shape(vectors)[0]}, got {len(words)}")
    ids: dict[str, int] = {}
    names = [_folded(word, ignore_case) for word in words[:max_words]]
    keys = [ids.setdefault(name, index) for index, name in enumerate(names)]
    return ids, np.array(keys, np.int32)


def _known_ids(rows: Iterable[Sequence[str]], ids: Mapping[str, int], ignore_case: bool, columns: int) -> np.ndarray:
    """Returns the ids of the rows that consist of known words, int32 ``[rows, columns]``."""
    found = [[ids.get(_folded(word, ignore_case), -1) for word in row] for row in rows]
    array = np.array(found, np.int32).reshape(len(found), columns)
    return array[(array >= 0).all(axis=1)]


def _folded(word: str, ignore_case: bool) -> str:
    return word.casefold() if ignore_case else word
