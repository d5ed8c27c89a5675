"""Similarity, neighbors, analogies and rank correlation, against their definitions and gensim."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from jaxnets import text
from jaxnets.data import read_analogies, read_similarities
from jaxnets.text import similarity

GOLDEN = np.load(ROOT / "tests" / "reference" / "word_vectors.npz")
WORDS = GOLDEN["words"].tolist()
RANDOM = np.random.default_rng(0)
TABLE = RANDOM.normal(size=(40, 6)).astype(np.float32)
TABLE[7] = 0
QUESTIONS = np.array([[0, 1, 2], [3, 3, 4], [7, 5, 6], [10, 11, 7], [1, 20, 39]], np.int32)


def unit(vectors):
    vectors = np.asarray(vectors, np.float64)
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def expected_scores(table, question, method):
    """Returns the scores of all words by the equations, in float64; -inf for the words of the question."""
    table = unit(table)
    a, b, c = table[list(question)]
    if method == "add":
        scores = table @ unit(b - a + c)
    else:
        shifted = [(1 + table @ vector) / 2 for vector in (a, b, c)]
        scores = shifted[1] * shifted[2] / (shifted[0] + 1e-3)
    scores[list(question)] = -np.inf
    return scores


@pytest.mark.parametrize("chunk", [1, 2, 1024])
@pytest.mark.parametrize("method", similarity.METHODS)
def test_analogies_equal_the_equations(method, chunk, monkeypatch):
    monkeypatch.setattr(similarity, "MAX_CHUNK", chunk)
    similarity._answers.clear_cache()
    ids, scores = text.solve_analogies(TABLE, QUESTIONS, 3, method=method)
    for question, found, values in zip(QUESTIONS, ids, scores, strict=True):
        expected = expected_scores(TABLE, question, method)
        best = np.argsort(-expected, kind="stable")[:3]
        np.testing.assert_array_equal(found, best)
        np.testing.assert_allclose(values, expected[best], rtol=1e-5)
    similarity._answers.clear_cache()


def test_3cosmul_scores_equal_those_of_gensim():
    for seed in range(4):
        question = np.array([[WORDS.index(word) for word in ("man", "king", "woman")]])
        vectors = GOLDEN[f"vectors_{seed}"]
        ids, scores = text.solve_analogies(vectors, question, 5, method="multiply", epsilon=1e-6)
        np.testing.assert_array_equal(ids[0], GOLDEN[f"product_{seed}"])
        np.testing.assert_allclose(scores[0], GOLDEN[f"product_scores_{seed}"], rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_evaluation_equals_that_of_gensim(seed, tmp_path):
    (tmp_path / "questions").write_text(str(GOLDEN["questions"]))
    (tmp_path / "pairs").write_text(str(GOLDEN["pairs"]))
    vectors = GOLDEN[f"vectors_{seed}"]
    results = text.evaluate_analogies(WORDS, vectors, read_analogies(tmp_path / "questions"))
    counts = [[each.correct, each.answered - each.correct] for each in results.values()]
    np.testing.assert_array_equal(counts, GOLDEN[f"counts_{seed}"])
    assert [each.total for each in results.values()] == [4, 4, 1, 9]
    result = text.evaluate_similarities(WORDS, vectors, read_similarities(tmp_path / "pairs"))
    correlation, missing = GOLDEN[f"correlation_{seed}"]
    assert result.correlation == pytest.approx(correlation)
    assert 100 * (1 - result.coverage) == pytest.approx(missing)


def test_case_and_the_size_of_the_vocabulary_change_the_coverage():
    section = {"s": [("king", "queen", "man", "woman"), ("KING", "queen", "man", "woman")]}
    vectors = GOLDEN["vectors_0"]
    evaluate = lambda **options: text.evaluate_analogies(WORDS, vectors, section, **options)["total"]
    assert evaluate().coverage == 1
    assert evaluate(ignore_case=False).coverage == 0.5
    assert evaluate(max_words=4) == (0, 0, 2)
    assert evaluate(max_words=4).accuracy == 0
    assert text.evaluate_analogies(WORDS, vectors, {})["total"] == (0, 0, 0)
    pairs = [("king", "queen", 1.0), ("man", "KING", 2.0), ("the", "woman", 3.0)]
    assert text.evaluate_similarities(WORDS, vectors, pairs, ignore_case=False)[1:] == (2, 3)
    assert np.isnan(text.evaluate_similarities(WORDS, vectors, [])[0])


def test_variants_of_the_words_of_a_question_are_not_answers():
    table = np.array([[1, 0], [1, 0.1], [1, 0.01], [0.9, 0.3]], np.float32)  # the rows 0 and 2 are variants
    question = np.array([[0, 0, 1]])
    assert text.solve_analogies(table, question)[0].tolist() == [[2]]
    assert text.solve_analogies(table, question, keys=np.array([0, 1, 0, 3]))[0].tolist() == [[3]]


def test_neighbors_equal_the_definition():
    queries = np.concatenate([TABLE[:2], np.zeros((1, 6), np.float32)])
    exclude = np.array([[0, -1], [1, 5], [0, 1]])
    ids, similarities = text.nearest(TABLE, queries, 40, exclude)
    for query, ignored, found, values in zip(queries, exclude, ids, similarities, strict=True):
        expected = unit(TABLE) @ unit(query)
        rest = [i for i in np.argsort(-expected, kind="stable") if i not in ignored]
        np.testing.assert_array_equal(found[: len(rest)], rest)
        np.testing.assert_allclose(values[: len(rest)], expected[rest], atol=1e-6)
        assert (found[len(rest) :] == -1).all() and (values[len(rest) :] == -np.inf).all()


def test_more_neighbors_than_rows_are_padded():
    ids, similarities = text.nearest(TABLE[:3], TABLE[:1], 5)
    assert ids.shape == similarities.shape == (1, 5)
    assert ids[0, 0] == 0 and ids[0, 3:].tolist() == [-1, -1]
    assert text.nearest(TABLE, TABLE[:0], 2)[0].shape == (0, 2)
    assert text.nearest(TABLE[:0], TABLE[:1], 2)[0].tolist() == [[-1, -1]]
    assert text.solve_analogies(TABLE, QUESTIONS[:0])[0].shape == (0, 1)
    np.testing.assert_array_equal(
        text.solve_analogies(TABLE, QUESTIONS.tolist()), text.solve_analogies(TABLE, QUESTIONS)
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_half_precision_is_computed_in_float32(dtype):
    table = jnp.asarray(TABLE, dtype)
    ids, scores = text.solve_analogies(table, QUESTIONS)
    assert ids.dtype == jnp.int32 and scores.dtype == jnp.float32
    np.testing.assert_array_equal(ids, text.solve_analogies(table.astype(jnp.float32), QUESTIONS)[0])
    assert text.cosine_similarity(table, table).dtype == jnp.float32


def test_double_precision_is_kept():
    with jax.enable_x64(True):
        table = TABLE.astype(np.float64)
        for method in similarity.METHODS:
            ids, scores = text.solve_analogies(table, QUESTIONS, method=method)
            expected = [expected_scores(table, question, method).max() for question in QUESTIONS]
            assert ids.dtype == jnp.int32
            np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-12)
        assert text.nearest(table, table[:2])[1].dtype == jnp.float64


def test_cosine_of_zero_and_extreme_vectors():
    a = np.array([[3, 4], [0, 0], [1e-30, 0], [3e38, 3e38], [1, 0]], np.float32)
    b = np.array([[4, 3], [1, 2], [1e-35, 0], [3e38, -3e38], [-2, 0]], np.float32)
    np.testing.assert_allclose(text.cosine_similarity(a, b), [0.96, 0, 1, 0, -1], atol=1e-6)
    assert text.cosine_similarity(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32)).tolist() == [0, 0]
    assert jax.jit(text.cosine_similarity)(a[0], b[0]).shape == ()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=20))
def test_spearman_equals_scipy(pairs):
    x, y = np.array(pairs).T
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert np.isnan(text.spearman_correlation(x, y))
    else:
        assert text.spearman_correlation(x, y) == pytest.approx(spearmanr(x, y)[0], abs=1e-12)


def test_undefined_correlations_are_nan():
    for x, y in [([], []), ([1.0], [2.0]), ([1.0, np.nan, 3], [1.0, 2, 3]), ([1.0, 1], [1.0, 2])]:
        assert np.isnan(text.spearman_correlation(x, y))
    assert text.spearman_correlation([-np.inf, 0, np.inf], [1.0, 2, 3]) == pytest.approx(1)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: text.nearest(TABLE[0], TABLE), "`vectors` must be a floating point array [rows, D]"),
        (lambda: text.nearest(TABLE, TABLE[:, :2]), "`queries` must have 6 columns as `vectors`, got 2"),
        (lambda: text.nearest(TABLE, TABLE, 0), "`k` must be an integer of at least 1, got 0"),
        (lambda: text.nearest(TABLE, TABLE[:2], 1, np.array([1, 2])), "`exclude` must be integers of shape (2, E)"),
        (lambda: text.solve_analogies(TABLE, QUESTIONS[:, :2]), "`questions` must have the shape (Q, 3), got (5, 2)"),
        (lambda: text.solve_analogies(TABLE, QUESTIONS + 1), "`questions` must be in 0 ... 39, got 40"),
        (lambda: text.solve_analogies(TABLE, QUESTIONS, method="x"), "`method` must be one of add, multiply, got 'x'"),
        (lambda: text.solve_analogies(TABLE, QUESTIONS, keys=np.arange(3)), "`keys` must be integers of shape (40,)"),
        (lambda: text.cosine_similarity(TABLE, TABLE[:1]), "`a` and `b` must have the same shape"),
        (lambda: text.spearman_correlation([1.0], [1.0, 2]), "`x` and `y` must have the same shape (N,)"),
        (lambda: text.evaluate_analogies(["a"], TABLE, {}), "`words` must have the length of `vectors`, 40, got 1"),
        (lambda: text.evaluate_analogies([], TABLE[:0], {"total": []}), '`sections` must not contain "total"'),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
