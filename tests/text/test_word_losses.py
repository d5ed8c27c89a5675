"""Losses of word vectors against sums over pairs in NumPy, Huffman trees, subwords and sampling."""

import heapq

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import text

RANDOM = np.random.default_rng(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def arrays(*shapes):
    return [RANDOM.normal(size=shape) for shape in shapes]


def test_context_pairs_are_the_words_in_the_window():
    left, right = jnp.array([2, 0, 1]), jnp.array([0, 2, 1])
    expected = np.zeros((3, 7), bool)
    expected[0, [0, 1]] = expected[1, [4, 5]] = expected[2, [3, 5]] = True
    np.testing.assert_array_equal(text.context_pairs(left, right, 2), expected)


def test_negative_sampling_is_the_sum_over_pairs_and_its_gradient_that_of_the_equations():
    with jax.enable_x64(True):
        hidden, targets, negatives = arrays((4, 5), (6, 5), (3, 5))
        pairs = RANDOM.random((4, 6)) < 0.4
        ids, noise = RANDOM.integers(0, 4, 6), RANDOM.integers(0, 4, 3)
        weights = np.array(
            [[sum(p and t != n for p, t in zip(row, ids, strict=True)) * 5 / 3 for n in noise] for row in pairs]
        )
        found = text.negative_weights(jnp.asarray(pairs), jnp.asarray(ids), jnp.asarray(noise), 5)
        np.testing.assert_allclose(found, weights, rtol=1e-6)
        loss, gradients = jax.value_and_grad(text.negative_sampling_loss, (0, 1, 3))(
            *map(jnp.asarray, (hidden, targets, pairs, negatives, weights))
        )
    expected = -sum(np.log(sigmoid(targets[t] @ hidden[s])) for s, t in np.argwhere(pairs))
    expected -= np.sum(weights * np.log(sigmoid(-hidden @ negatives.T)))
    assert loss == pytest.approx(expected, rel=1e-12)
    positive = pairs * (sigmoid(hidden @ targets.T) - 1)
    negative = weights * sigmoid(hidden @ negatives.T)
    np.testing.assert_allclose(gradients[0], positive @ targets + negative @ negatives, rtol=1e-10)
    np.testing.assert_allclose(gradients[1], positive.T @ hidden, rtol=1e-10)
    np.testing.assert_allclose(gradients[2], negative.T @ hidden, rtol=1e-10)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_losses_of_half_precision_are_sums_in_float32(dtype):
    hidden, targets = (jnp.asarray(a, dtype) for a in arrays((4, 8), (5, 8)))
    ones = jnp.ones((4, 5))
    half = text.negative_sampling_loss(hidden, targets, ones > 0, targets, ones)
    full = text.negative_sampling_loss(
        hidden.astype(jnp.float32), targets.astype(jnp.float32), ones > 0, targets.astype(jnp.float32), ones
    )
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, full, rtol=1e-5)


def test_padding_with_nan_changes_neither_losses_nor_gradients():
    hidden, targets, negatives = (jnp.asarray(a, jnp.float32) for a in arrays((2, 3), (4, 3), (2, 3)))
    pairs = jnp.array([[True, False, False, False], [False, True, True, False]])
    weights = jnp.ones((2, 2))
    loss = jax.value_and_grad(text.negative_sampling_loss, 0)
    expected = loss(hidden, targets, pairs, negatives, weights)
    padded = loss(hidden, targets.at[3].set(jnp.inf), pairs, negatives, weights)
    assert padded[0] == expected[0]
    words, contexts = jnp.ones((2, 3)), jnp.ones((2, 3)).at[1].set(jnp.nan)
    biases, counts = jnp.zeros(2), jnp.array([5.0, 0.0])
    total, gradient = jax.value_and_grad(text.glove_loss)(words, contexts, biases, biases, counts)
    assert total == pytest.approx(0.5 * (5 / 100) ** 0.75 * (3 - np.log(5)) ** 2, rel=1e-5)
    assert np.isfinite(gradient[0]).all()


def test_the_gradient_of_a_window_mean_is_that_of_the_sum():
    rows, (cotangent,) = jnp.asarray(arrays((4, 3))[0]), arrays((2, 3))
    members = jnp.array([[True, True, False, True], [False] * 4])
    means, back = jax.vjp(lambda rows: text.window_mean(rows, members), rows)
    np.testing.assert_allclose(means[0], rows[jnp.array([0, 1, 3])].mean(0), rtol=1e-5)
    np.testing.assert_array_equal(means[1], 0)  # an empty window
    np.testing.assert_allclose(
        back(jnp.asarray(cotangent, rows.dtype))[0][np.array([0, 1, 3])], [cotangent[0]] * 3, rtol=1e-5
    )


def test_the_hierarchical_softmax_is_a_distribution_over_words():
    counts = np.array([0, 10, 3, 1, 7, 2])
    tree = text.huffman_tree(counts)
    (hidden, nodes) = arrays((1, 4), (tree.num_nodes, 4))
    losses = []
    for word in np.flatnonzero(counts):
        length = int(tree.lengths[word])
        path, codes = tree.nodes[word, :length], tree.codes[word, :length]
        loss = text.hierarchical_softmax_loss(
            jnp.asarray(hidden)[None], jnp.asarray(nodes)[path][None], codes[None], jnp.ones((1, 1, length), bool)
        )
        logits = nodes[path] @ hidden[0]
        assert loss == pytest.approx(-np.sum(np.log(sigmoid(np.where(codes, -logits, logits)))), rel=1e-5)
        losses.append(loss)
    assert np.sum(np.exp(-np.array(losses))) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("size", [2, 3, 17, 200])
def test_huffman_codes_are_optimal_and_free_of_prefixes(size):
    counts = RANDOM.integers(1, 50, size)
    tree = text.huffman_tree(counts)
    codes = ["".join("01"[int(c)] for c in tree.codes[w, : tree.lengths[w]]) for w in range(size)]
    assert all(not b.startswith(a) for a in codes for b in codes if a is not b)
    heap = counts.tolist()
    heapq.heapify(heap)
    cost = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        cost += merged
        heapq.heappush(heap, merged)
    assert np.sum(counts * tree.lengths) == cost
    assert (tree.nodes[:, 0] == tree.num_nodes - 1).all()
    assert tree.nodes.max() == tree.num_nodes - 1 == size - 2


@pytest.mark.parametrize("counts", [[5], [0, 5], [3, -1], [[1, 2]]])
def test_huffman_trees_need_two_words(counts):
    with pytest.raises(ValueError, match="at least two are positive"):
        text.huffman_tree(np.array(counts))


def test_subwords_are_those_of_fasttext():
    assert text.character_ngrams("there", 3, 3) == ["<th", "the", "her", "ere", "re>"]
    assert text.character_ngrams("a", 1, 2) == ["<a", "a", "a>"]
    assert text.character_ngrams("a", 3, 0) == []
    assert "<ñu>" in text.character_ngrams("ñu", 3, 6)
    assert text.subword_hash("<wh") == fnv1a("<wh")
    assert text.subword_hash("ñ") != fnv1a("ñ")
    assert text.subword_hash("ñ") == 620380921  # gensim.models.fasttext_inner.ft_hash_bytes


def fnv1a(word):
    value = 2166136261
    for byte in word.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value


def test_rows_of_subwords_begin_with_the_word():
    rows = text.subword_rows(("", "the", "there"), 10, 3, 4)
    np.testing.assert_array_equal(rows[:, 0], [0, 1, 2])
    assert (rows[0, 1:] == -1).all()
    grams = text.character_ngrams("the", 3, 4)
    np.testing.assert_array_equal(rows[1, 1 : 1 + len(grams)], [3 + text.subword_hash(g) % 10 for g in grams])
    with pytest.raises(ValueError, match="`num_buckets` must be"):
        text.subword_rows(("a",), 0)
    with pytest.raises(ValueError, match="`max_n` must be"):
        text.subword_rows(("a",), 5, 4, 3)


def test_frequent_words_are_kept_with_the_probability_of_the_code():
    counts = np.array([0, 900, 99, 1])
    f = counts[1:] / 1000
    expected = np.minimum(1, np.sqrt(0.01 / f) + 0.01 / f)
    np.testing.assert_allclose(text.keep_probabilities(counts, 0.01), [1, *expected])
    np.testing.assert_array_equal(text.keep_probabilities(counts, 0), 1)


def test_negative_words_have_the_distribution_of_powers_of_counts():
    counts = np.array([0, 100, 10, 1, 5])
    table = text.noise_distribution(counts)
    probabilities = np.zeros(5)
    for slot, (threshold, alias) in enumerate(zip(*table, strict=True)):
        probabilities[slot] += threshold / 5
        probabilities[alias] += (1 - threshold) / 5
    np.testing.assert_allclose(probabilities, counts**0.75 / np.sum(counts**0.75), atol=1e-6)
    samples = np.asarray(table.sample(jax.random.key(0), (20, 1000)))
    np.testing.assert_allclose(np.bincount(samples.ravel(), minlength=5) / 20_000, probabilities, atol=0.02)
    assert not (samples == 0).any()
    with pytest.raises(ValueError, match="at least one is positive"):
        text.noise_distribution(np.zeros(3))


def test_glove_weights_increase_to_one():
    np.testing.assert_allclose(text.glove_weights(jnp.array([0.0, 1, 100, 1e4])), [0, 0.01**0.75, 1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "bow"}, "`objective` must be one of"),
        ({"embed_dim": 0}, "`embed_dim` must be"),
        ({"objective": "glove", "hierarchical": True}, "must be left out with the objective glove"),
    ],
)
def test_wrong_settings_of_the_tables(options, message):
    with pytest.raises(ValueError, match=message):
        text.WordVectorModel(5, **options).init(jax.random.key(0), jnp.zeros(1, jnp.int32))
