"""Tagged sentences: ids, splits, schemes, long sentences, and new files."""

import json

import numpy as np
import pytest

from jaxnets.data import python_tokens, read_inputs, read_labeled, tagged_sentences
from jaxnets.data.sources.tagging.python_classes import CLASSES, tagged_lines
from jaxnets.training import descriptions

CITIES = ("Los Angeles", "Paris", "New York City", "Rome")


@pytest.fixture(scope="module")
def entities(tmp_path_factory):
    """A file of 60 sentences in IOB1, where two cities are adjacent in some."""
    lines = []
    for i in range(60):
        lines += [f"word{i} O", f"in{i % 3} O"]
        for j in range(1 + i % 2):
            first, *rest = CITIES[(i + j) % 4].split()
            lines += [f"{first} {'B' if j else 'I'}-LOC", *(f"{word} I-LOC" for word in rest)]
        lines += ["", ""]
    path = tmp_path_factory.mktemp("tags") / "cities.conll"
    path.write_text("\n".join(lines))
    return path


def words_of(dataset, split="train"):
    batches = dataset.splits[split]
    return {tuple(row[:n]) for i in range(min(len(batches), 50)) for row, n in zip(*pair(batches[i]), strict=True)}


def pair(batch):
    return batch["inputs"].tolist(), batch["lengths"]


def test_a_batch(entities):
    dataset = tagged_sentences(str(entities), scheme="iob1", target_scheme="iobes", batch_size=8, max_characters=6)
    assert dataset.spec.names == ("O", "B-LOC", "I-LOC", "E-LOC", "S-LOC") and dataset.spec.scheme == "iobes"
    batch = dataset.train[0]
    assert {name: (array.dtype.name, array.shape) for name, array in batch.items()} == {
        "inputs": ("int32", (8, 6)),
        "lengths": ("int32", (8,)),
        "characters": ("int32", (8, 6, 6)),
        "targets": ("int32", (8, 6)),
        "mask": ("bool", (8, 6)),
    }
    np.testing.assert_array_equal(batch["mask"], np.arange(6) < batch["lengths"][:, None])
    assert not batch["inputs"][~batch["mask"]].any() and not batch["characters"][~batch["mask"]].any()
    # word17 occurs once, so that it is unknown; its characters are known.
    assert (batch["inputs"][:, 0] == 0).all() and (batch["characters"][:, 0, :4] > 1).all()
    tags = [dataset.spec.names[tag] for tag in batch["targets"][0][batch["mask"][0]]]
    shown = [dataset.spec.tokenizer.show(word) for word in batch["inputs"][0][batch["mask"][0]]]
    for city in CITIES:
        at = shown.index(city.split()[0]) if city.split()[0] in shown else None
        if at is not None:
            expected = {1: "S", 2: "BE", 3: "BIE"}[len(city.split())]
            assert "".join(tag[0] for tag in tags[at : at + len(expected)]) == expected
    assert dataset.description.endswith("5 tags (iobes), 300 words, 48 training sentences, 6 validation, 6 test")


def test_vocabularies_are_learned_on_the_training_split(entities, tmp_path):
    other = tmp_path / "test.conll"
    other.write_text("unseen O\nRome I-LOC\n\nψ O\n")
    dataset = tagged_sentences(str(entities), scheme="iob1", test_path=str(other), min_count=1, batch_size=4)
    assert "unseen" not in dataset.spec.tokenizer.symbols and "ψ" not in dataset.spec.characters.symbols
    test = dataset.splits["test"][0]
    assert test["inputs"][0, 0] == 0 and test["inputs"][0, 1] > 0 and test["characters"][1, 0, 0] == 1
    assert "54 training sentences, 6 validation, 2 test" in dataset.description
    lowered = tagged_sentences(str(entities), scheme="iob1", lowercase=True, batch_size=4)
    assert "rome" in lowered.spec.tokenizer.symbols and "R" in lowered.spec.characters.symbols


def test_equal_sentences_belong_to_one_split(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("".join(f"w{i % 20} A\n\n" for i in range(100)))
    dataset = tagged_sentences(str(path), min_count=1, batch_size=4)
    counts = {name: sum(int(batch["mask"].sum()) for batch in split) for name, split in dataset.held_out.items()}
    assert counts == {"validation": 10, "test": 10} and dataset.train_rows == 80
    assert not (dataset.splits["test"][0]["inputs"][dataset.splits["test"][0]["mask"]]).any()  # all are unknown


def test_long_sentences_are_split_and_their_entities_cut(tmp_path):
    path = tmp_path / "a.conll"
    sentence = "a O\nb B-X\nc I-X\nd I-X\ne O\n\n"
    path.write_text(sentence + "".join(f"f{i} O\n\n" for i in range(20)))
    dataset = tagged_sentences(str(path), scheme="iob2", target_scheme="iobes", max_length=3, batch_size=2, seed=3)
    assert "1 long sentence split; 1 entity cut" in dataset.description
    arrays = read_labeled(str(path), dataset.inputs, dataset.spec)
    assert arrays["lengths"][:3].tolist() == [3, 2, 1]
    named = [[dataset.spec.names[tag] for tag in row] for row in arrays["targets"][:2]]
    assert named == [["O", "B-X", "E-X"], ["S-X", "O", "O"]] and arrays["mask"][1].tolist() == [True, True, False]


def test_invalid_sequences_are_counted(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("a O\nb I-X\nc I-Y\n\n" + "".join(f"w{i} O\n\n" for i in range(20)))
    assert (
        "; 2 invalid tags read as by conlleval" in tagged_sentences(str(path), scheme="iob2", batch_size=2).description
    )
    assert "invalid tag" not in tagged_sentences(str(path), scheme="iob1", batch_size=2).description


def test_words_without_a_tag_are_masked(tmp_path):
    path = tmp_path / "a.conllu"
    row = lambda i, word, tag: f"{i}\t{word}\t_\t{tag}" + "\t_" * 6 + "\n"
    path.write_text("".join(row(1, f"w{i}", "X") + row(2, "v", "_") + row(3, "v", "Y") + "\n" for i in range(20)))
    dataset = tagged_sentences(str(path), batch_size=2)
    assert dataset.spec.names == ("X", "Y")
    assert dataset.train[0]["mask"].tolist() == [[True, False, True]] * 2 and dataset.train[0]["lengths"].tolist() == [
        3,
        3,
    ]


def test_the_spec_and_the_inputs_survive_json(entities):
    for options in ({}, {"max_characters": 0}):
        dataset = tagged_sentences(str(entities), scheme="iob1", batch_size=4, **options)
        assert ("characters" in dataset.train[0]) == (not options)
        described = json.loads(json.dumps(descriptions.describe(dataset)))
        assert descriptions.targets(described["targets"]) == dataset.spec
        assert descriptions.inputs(described["inputs"]) == dataset.inputs
    for change in (
        {"scheme": "bio"},
        {"names": []},
        {"names": ["LOC"]},
        {"tokenizer": {}},
        {"characters": {"unit": "byte"}},
    ):
        with pytest.raises(ValueError):
            descriptions.targets({**described["targets"], **change})
    for change in ({"max_length": 0}, {"max_length": 10**9}, {"source": "x"}, {"tokenizer": None}, {"column": 3}):
        with pytest.raises(ValueError):
            descriptions.inputs({**described["inputs"], **change})


def test_new_files(entities, tmp_path):
    dataset = tagged_sentences(str(entities), scheme="iob1", batch_size=4, max_length=8)
    (tmp_path / "a.txt").write_text("Rome, in0!\r\n\n  \nParis")
    found = read_inputs(str(tmp_path / "a.txt"), dataset.inputs)
    assert found["lengths"].tolist() == [4, 1] and found.keys() == {"inputs", "lengths", "characters"}
    assert dataset.spec.tokenizer.show(found["inputs"][1, 0]) == "Paris"
    (tmp_path / "b.conll").write_text("Rome\nin0\n" * 5)  # words only
    assert read_inputs(str(tmp_path / "b.conll"), dataset.inputs)["lengths"].tolist() == [8, 2]
    labeled = read_labeled(str(entities), dataset.inputs, dataset.spec)
    assert labeled["mask"].sum() == 300
    (tmp_path / "c.conll").write_text("Rome O\n\nin0 O\nx B-PER\n")
    with pytest.raises(ValueError, match="word 2, 'x', of the sentence at line 3: the tag must be one of the run"):
        read_labeled(str(tmp_path / "c.conll"), dataset.inputs, dataset.spec)
    (tmp_path / "d.txt").write_text(" \n")
    with pytest.raises(ValueError, match="must have at least one word, got none"):
        read_inputs(str(tmp_path / "d.txt"), dataset.inputs)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scheme": "bio"}, "`scheme` must be one of none, iob1, iob2, iobes, got 'bio'"),
        ({"scheme": "iob1", "target_scheme": "none"}, "must both be none or neither, got iob1 and none"),
        ({"test_fraction": 0.0}, "`test_fraction` must be a number between 0 and 1, got 0.0"),
        ({"test_fraction": 0.95}, "`test_fraction` must be less than 1 - `validation_fraction`, 0.9, got 0.95"),
        ({"max_length": 0}, "`max_length` must be an integer of at least 1, got 0"),
        ({"max_characters": -1}, "`max_characters` must be an integer of at least 0, got -1"),
        ({"batch_size": 500}, "must fill at least one batch of 500, got 48"),
        ({"test_fraction": 0.001}, "must have at least one sentence for the split test, got none"),
    ],
)
def test_wrong_arguments(entities, options, message):
    with pytest.raises(ValueError) as error:
        tagged_sentences(str(entities), **{"scheme": "iob1", **options})
    assert message in str(error.value)


def test_a_tag_of_another_scheme_is_named_with_its_line(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("a O\n\nb O\nc S-X\n")
    with pytest.raises(ValueError) as error:
        tagged_sentences(str(path), scheme="iob2")
    expected = (
        "a.conll, word 2, 'c', of the sentence at line 3: a tag of the scheme iob2 must be O, B-TYPE, I-TYPE, got 'S-X'"
    )
    assert str(error.value).endswith(expected)


SOURCE = '''"""Text
of two lines."""  # comment
import os.path as p, sys
from a.b import c

@decorator.one(x)
async def function(self, key: int = 3, *args, **kwargs) -> dict[str, int]:
    # a comment of its own
    value = call(name, argument=key).method(p.sep)
    return lambda x: x != b"1"

class Class(Base, metaclass=Meta): pass
'''


def test_classes_of_python_tokens():
    found = tagged_lines(SOURCE)
    assert found.lines == [1, 3, 4, 6, 7, 9, 10, 12, 12][: len(found.lines)]
    tags = {}
    for words, classes in zip(found.words, found.tags, strict=True):
        for word, kind in zip(words, classes, strict=True):
            tags.setdefault(word, []).append(kind)
    single = {word: kinds[0] for word, kinds in tags.items() if len(set(kinds)) == 1}
    assert found.words[0] == ['"""Text\\nof two lines."""', "# comment"] and found.tags[0] == ["string", "comment"]
    expected = {
        **dict.fromkeys(("os", "path", "sys", "a", "b"), "module"),
        "c": "name",
        "one": "decorator",
        "decorator": "decorator",
        "function": "function",
        "self": "parameter",
        **dict.fromkeys(("args", "kwargs"), "parameter"),
        "value": "name",
        "call": "call",
        "argument": "argument",
        "method": "method",
        "sep": "attribute",
        "3": "number",
        'b"1"': "string",
        "!=": "operator",
        "def": "keyword",
        "async": "keyword",
        "Class": "class",
        "metaclass": "argument",
        "Base": "name",
        "lambda": "keyword",
        "int": "name",
    }
    assert {word: single.get(word) for word in expected} == expected
    assert set(tags["key"]) == {"parameter", "name"}
    assert all(kind in CLASSES for kinds in tags.values() for kind in kinds)


def test_python_tokens_of_a_folder(tmp_path):
    for i in range(12):
        (tmp_path / f"m{i}.py").write_text(f"def f{i}(x):\n    return g{i}(x)\n" * 4)
    (tmp_path / "broken.py").write_text("def f(:\n'''")
    (tmp_path / "notes.txt").write_text("not Python (")
    dataset = python_tokens(str(tmp_path), batch_size=4)
    assert "72 training sentences" in dataset.description or "80 training sentences" in dataset.description
    assert dataset.description.endswith("12 modules, 1 skipped")
    assert {"call", "function", "keyword", "name", "operator", "parameter"} == set(dataset.spec.names)
    new = tmp_path / "new.py"
    new.write_text("def other(y):\n    return other(y)\n")
    assert read_inputs(str(new), dataset.inputs)["lengths"].tolist() == [6, 5]
    labeled = read_labeled(str(new), dataset.inputs, dataset.spec)
    assert [dataset.spec.names[tag] for tag in labeled["targets"][1, :3]] == ["keyword", "call", "operator"]
    with pytest.raises(ValueError, match="broken.py: a source of Python cannot be tokenized"):
        read_inputs(str(tmp_path / "broken.py"), dataset.inputs)
