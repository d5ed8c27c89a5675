"""Windows of words and co-occurrences: coverage of the text, boundaries, resumption, counts and wrong arguments."""

import collections
import itertools
from pathlib import Path

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.sources.words.documentation import docstrings

WORDS = [f"w{i}" for i in range(12)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(WORDS, random.integers(1, 15))) + " ." for _ in range(200)]
    file = tmp_path_factory.mktemp("corpus") / "text.txt"
    file.write_text("\n".join(lines))
    return str(file)


def pairs_of(batch, window):
    """Returns the pairs of a center and a context, counted by a loop."""
    found = collections.Counter()
    for tokens, left, right in zip(batch["inputs"], batch["left"], batch["right"], strict=True):
        for i in range(len(left)):
            at = i + window
            for j in range(at - left[i], at + right[i] + 1):
                if j != at:
                    found[int(tokens[at]), int(tokens[j])] += 1
    return found


def test_all_words_are_a_center_once_in_an_epoch(path):
    window = 1  # all windows are equal, so that an epoch has all neighbors
    dataset = data.word_corpus(path, 1, window, subsample=0, batch_words=8, chunk_words=8, validation_fraction=0.1)
    held_out = sum((pairs_of(batch, window) for batch in dataset.splits["validation"]), collections.Counter())
    steps = -(-sum(dataset.spec.counts) // 8)
    epoch = sum((pairs_of(dataset.train[step], window) for step in range(steps)), collections.Counter())
    expected = collections.Counter()
    for line in Path(path).read_text().splitlines():
        ids = dataset.spec.tokenizer.ids(line.replace(".", "").split()).tolist()
        for a, b in itertools.pairwise(ids):
            expected.update([(a, b), (b, a)])
    assert held_out.total() > 0
    assert epoch + held_out == expected


def test_windows_do_not_cross_sentences_and_are_dynamic(path):
    dataset = data.word_corpus(path, 1, 3, subsample=0, batch_words=2000, chunk_words=20)
    batch = dataset.train[0]
    reach = np.maximum(batch["left"], batch["right"])
    assert {1, 2, 3} <= set(np.unique(reach))
    assert batch["inputs"].shape == (100, 26)
    assert batch["inputs"].min() >= 0


def test_batches_are_functions_of_seed_and_step_and_rows_can_be_selected(path):
    make = lambda seed: data.word_corpus(path, 1, 2, batch_words=64, chunk_words=8, seed=seed)
    first, again, other = make(0), make(0), make(1)
    for step in (40, 3):  # another order of reading, across epochs
        for name, array in first.train[step].items():
            np.testing.assert_array_equal(array, again.train[step][name])
    assert (first.train[0]["inputs"] != other.train[0]["inputs"]).any()
    assert (first.train[0]["inputs"] != first.train[40]["inputs"]).any()
    part = first.part(lambda size: np.arange(size)[size // 2 :])
    np.testing.assert_array_equal(part.train[7]["inputs"], first.train[7]["inputs"][4:])
    np.testing.assert_array_equal(
        part.splits["validation"][0]["left"],
        first.splits["validation"][0]["left"][-len(part.splits["validation"][0]["left"]) :],
    )


def test_frequent_words_are_dropped_with_their_probability(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(["the " * 9 + "cat"] * 2000))
    dataset = data.word_corpus(str(path), 1, 2, subsample=0.1, batch_words=800, chunk_words=8)
    counts = np.zeros(3)
    rows = 0
    while rows < 20_000 * 0.98 * (0.9 * (np.sqrt(1 / 9) + 1 / 9) + 0.1) / 8:
        batch = dataset.train[rows // 100]
        valid = (batch["left"] + batch["right"]) > 0
        counts += np.bincount(batch["inputs"][:, 2:-2][valid], minlength=3)
        rows += 100
    assert counts[1] / counts[2] == pytest.approx(9 * (np.sqrt(1 / 9) + 1 / 9), rel=0.1)


def test_cooccurrences_are_weighted_by_the_inverse_of_the_distance(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a b a c\nb b")
    dataset = data.cooccurrences(str(path), 1, 2, batch_size=1, validation_fraction=0.1)
    ids = dict(zip("abc", map(int, dataset.spec.tokenizer.ids("abc")), strict=True))
    expected = {"ab": 2, "ba": 2, "aa": 1, "ac": 1, "ca": 1, "bc": 0.5, "cb": 0.5, "bb": 2}
    found = {}
    for batches, number in ((dataset.train, 7), (dataset.splits["validation"], 1)):
        for step in range(number):
            batch = batches[step]
            found[tuple(batch["inputs"][0].tolist())] = float(batch["counts"][0])
    assert found == {(ids[a], ids[b]): count for (a, b), count in expected.items()}
    assert dataset.spec.counts == (0, 3, 2, 1)[:1] + tuple(sorted((2, 3, 1), reverse=True))


def test_the_last_batch_of_cooccurrences_is_padded_with_zeros(path):
    batches = data.cooccurrences(path, 1, batch_size=10, validation_fraction=0.1).splits["validation"]
    counts = np.concatenate([batches[i]["counts"] for i in range(len(batches))])
    assert len(counts) % 10 == 0
    assert (counts[:-9] > 0).all()


def test_docstrings_are_found_without_executing_the_source():
    source = '#!/bin/python\n# a comment\n"""Module."""\nx = """no"""\n'
    source += "\ndef f(a):\n    # why\n    r'''First.\n\n    More.\n    '''\n"
    assert docstrings(source) == ["Module.", "First.\n\nMore."]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "`window` must be"),
        ({"batch_words": 4, "chunk_words": 8}, "`batch_words` must be"),
        ({"sentences": "page"}, "`sentences` must be one of line, paragraph"),
        ({"min_count": 10_000}, "a smaller --config.data.min_count helps"),
        ({"subsample": -1}, "`subsample` must be"),
        ({"validation_fraction": 1.5}, "`validation_fraction` must be"),
        ({"path": "/nowhere.txt"}, "no such path"),
    ],
)
def test_wrong_arguments(path, options, message):
    with pytest.raises(ValueError, match=message):
        data.word_corpus(**{"path": path, "batch_words": 64, "chunk_words": 8, **options})


def test_texts_without_words_are_rejected(tmp_path):
    (tmp_path / "a.txt").write_text(". . .\n!\n")
    with pytest.raises(ValueError, match="must have at least 2 sentences with words"):
        data.word_corpus(str(tmp_path / "a.txt"))
    with pytest.raises(ValueError, match="`counts` must be 1 nonnegative integers"):
        data.Words(data.Tokenizer("word"), (0, 1))
    with pytest.raises(ValueError, match="with the unit word"):
        data.Words(data.Tokenizer("byte"), (0,) * 256)
