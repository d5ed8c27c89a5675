"""Labeled texts from CSV, TSV and JSON lines files and from folders: splits, tokens, and errors about invalid files."""

import csv
import gzip
import json

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.formats import text_records
from jaxnets.data.formats.text_records import read_records
from jaxnets.training import descriptions

TEXTS = [
    (f"the {'good' if i % 4 else 'bad'} film, number {i}!" if i else "", ["no", "yes", "yes", "yes"][i % 4])
    for i in range(200)
]


def csv_of(rows, delimiter=",", header=("label", "text")):
    return "".join(delimiter.join((label, f'"{text}"')) + "\n" for text, label in [(header[1], header[0]), *rows])


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "reviews.csv"
    file.write_text(csv_of(TEXTS))
    return str(file)


def rows_of(dataset, split):
    """Returns the texts of a split as tuples of tokens, with their class names."""
    show = dataset.spec.tokenizer.show
    return [
        (tuple(show(token) for token in tokens[:length].tolist()), dataset.spec.names[target])
        for batch in (dataset.splits[split][i] for i in range(len(dataset.splits[split])))
        for tokens, length, target, used in zip(
            batch["inputs"], batch["lengths"], batch["targets"], batch["mask"], strict=True
        )
        if used
    ]


def test_splits_are_stratified_disjoint_and_complete(path):
    dataset = data.labeled_texts(path, batch_size=16, validation_fraction=0.2, test_fraction=0.2, lowercase=True)
    held_out = {name: rows_of(dataset, name) for name in ("validation", "test")}
    assert {name: len(rows) for name, rows in held_out.items()} == {"validation": 40, "test": 40}
    assert all(sum(label == "no" for _, label in rows) == 10 for rows in held_out.values())
    numbers = [text[-2] for rows in held_out.values() for text, _ in rows if text]
    known = [number for number in numbers if number != "<unknown>"]
    assert not known  # the vocabulary has only the numbers of the training split
    assert dataset.spec == data.TextClasses(("no", "yes"), dataset.inputs.tokenizer)
    assert dataset.train_rows == 120 and "120 training texts of at most 400 words" in dataset.description
    batch = dataset.train[0]
    assert batch["inputs"].dtype == batch["targets"].dtype == batch["lengths"].dtype == np.int32
    assert {name: array.shape for name, array in batch.items()} == {
        "inputs": (16, 50),
        "targets": (16,),
        "lengths": (16,),
        "mask": (16,),
    }


def test_empty_texts_have_length_0(path):
    dataset = data.labeled_texts(path, batch_size=0)
    batch = dataset.train[0]
    assert len(batch["mask"]) == dataset.train_rows == 160
    assert 0 < np.sum(batch["lengths"] == 0) <= 4
    assert not batch["inputs"][batch["lengths"] == 0].any()


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "csv.gz"])
def test_formats_are_equivalent(path, tmp_path, suffix):
    file = tmp_path / f"same.{suffix}"
    if suffix == "jsonl":
        file.write_text("".join(json.dumps({"text": text, "label": label, "id": 1}) + "\n" for text, label in TEXTS))
    elif suffix == "tsv":
        file.write_text(csv_of(TEXTS, "\t"), encoding="utf-16")
    else:
        file.write_bytes(gzip.compress(csv_of(TEXTS).encode()))
    found, expected = data.labeled_texts(str(file)), data.labeled_texts(path)
    assert found.fingerprint == expected.fingerprint and found.spec == expected.spec


def test_the_fingerprint_depends_on_texts_labels_and_vocabulary(path, tmp_path):
    prints = {data.labeled_texts(path, **options).fingerprint for options in ({}, {"min_count": 2}, {"seed": 1})}
    for old, new in (("bad film", "new film"), ("no,", "yes,"), ("good", "fine")):
        changed = tmp_path / "changed.csv"
        changed.write_text(csv_of(TEXTS).replace(old, new, 1 if old != "good" else -1))
        prints.add(data.labeled_texts(str(changed)).fingerprint)
    assert len(prints) == 6


def test_equal_texts_are_in_one_split(tmp_path):
    rows = [(f"text {i // 3}", "no" if i % 3 == 2 and i % 2 else "yes") for i in range(300)] + [("only", "no")]
    (tmp_path / "a.csv").write_text(csv_of(rows))
    dataset = data.labeled_texts(str(tmp_path / "a.csv"), batch_size=1, unit="character")
    train = {tuple(dataset.train[i]["inputs"][0].tolist()) for i in range(dataset.train_rows)}
    held_out = {name: rows_of(dataset, name) for name in ("validation", "test")}
    assert len(train) == 81 and {name: len(rows) for name, rows in held_out.items()} == {"validation": 30, "test": 30}
    assert not {text for text, _ in held_out["validation"]} & {text for text, _ in held_out["test"]}
    assert "also training texts" not in dataset.description
    (tmp_path / "b.csv").write_text(csv_of([("text 1", "no"), ("new", "yes"), ("only", "no")]))
    given = data.labeled_texts(str(tmp_path / "a.csv"), batch_size=1, validation_path=str(tmp_path / "b.csv"))
    assert "; also training texts: 2 validation" in given.description
    (tmp_path / "c.csv").write_text(csv_of([*((str(i), "no") for i in range(20)), ("7", "yes")]))
    with pytest.raises(ValueError, match="class yes must have texts that do not also have another label"):
        for seed in range(9):  # which texts are held out depends on the seed
            data.labeled_texts(
                str(tmp_path / "c.csv"), batch_size=1, validation_fraction=0.4, test_fraction=0.4, seed=seed
            )


def test_splits_in_files(path, tmp_path):
    for name, rows in (("validation", TEXTS[:7]), ("test", TEXTS[7:20])):
        (tmp_path / f"{name}.csv").write_text(csv_of(rows))
    dataset = data.labeled_texts(
        path, validation_path=str(tmp_path / "validation.csv"), test_path=str(tmp_path / "test.csv")
    )
    assert dataset.train_rows == 200
    assert [len(rows_of(dataset, name)) for name in ("validation", "test")] == [7, 13]
    only = data.labeled_texts(path, validation_path=str(tmp_path / "validation.csv"))
    assert only.train_rows == 200 and set(only.splits) == {"train", "validation"}
    sampled = data.labeled_texts(path, test_path=str(tmp_path / "test.csv"), validation_fraction=0.1)
    assert sampled.train_rows == 180 and len(rows_of(sampled, "test")) == 13


@pytest.mark.parametrize("roots", [("",), ("train", "test")])
def test_folders(tmp_path, roots):
    for root in roots:
        for i, (text, label) in enumerate(TEXTS[:40]):
            file = tmp_path / root / label / f"{i}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    (tmp_path / roots[0] / "yes" / "notes.md").write_text("skipped")
    dataset = data.labeled_texts(str(tmp_path), batch_size=4)
    assert dataset.spec.names == ("no", "yes") and "1 file skipped: 1 .md" in dataset.description
    assert dataset.train_rows == (36 if "train" in roots else 32)
    assert len(rows_of(dataset, "test")) == (40 if "test" in roots else 4)


def test_long_texts_are_cut_off(path):
    dataset = data.labeled_texts(path, max_length=3, buckets=1, batch_size=8)
    assert dataset.train[0]["inputs"].shape == (8, 3)
    assert dataset.train[0]["lengths"].max() == 3
    assert "; 199 longer texts cut off" in dataset.description


@pytest.mark.parametrize("unit", ["character", "byte", "piece"])
def test_units(path, unit):
    dataset = data.labeled_texts(path, unit=unit, max_tokens=300)
    assert dataset.spec.tokenizer.unit == unit
    text, _ = next(row for row in rows_of(dataset, "test") if row[0])
    assert "".join(token.strip("'") for token in text).startswith("the ")


def test_integers_are_sorted_as_numbers(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"text": f"a {i}", "label": i % 11}) + "\n" for i in range(110))
    )
    assert data.labeled_texts(str(tmp_path / "a.jsonl")).spec.names == tuple(map(str, range(11)))


def test_labels_of_json_and_spaces_around_labels(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text(
        '{"text": "a", "label": true}\n\n{"text": "b\u2028c", "label": " x "}\n{"text": "\\ud800", "label": 3}'
    )
    found = read_records(str(file), "text", "label")
    assert found.labels == ["true", "x", "3"] and found.lines == [1, 3, 4]
    assert found.texts == ["a", "b\u2028c", "\\ud800"]


def test_plain_text_has_one_text_per_line(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\nthree\n")
    assert read_records(str(tmp_path / "a.txt"), "text", None).texts == ["one", "", "three"]


def test_long_cells(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "a" * 200_000 + ",x\n")
    assert len(read_records(str(tmp_path / "a.csv"), "text", "label").texts[0]) == 200_000


GOOD = "text,label\n" + "".join(f"a {i},x\nb {i},y\n" for i in range(20))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"txt,label\na,x\n", "line 1 must have a column 'text', got txt, label; did you mean txt?"),
        ("a.csv", b"text,x\na,x\n", "line 1 must have a column 'label', got text, x"),
        ("a.csv", b"text,label\na,x\nb,\n", "line 3, column 'label' must not be empty, got ''"),
        ("a.csv", b'text,label\n"a\nb",x\nb, \n', "line 4, column 'label' must not be empty"),
        ("a.csv", b"text,label\na,x\nb,x\n", "a.csv must have two or more classes, got only x"),
        ("a.csv", b"text,label\na,x\nb,y\n", "too few distinct texts: 2 of 2 classes leave 0 for the test split"),
        ("a.csv", b"text,label\n", "must have texts, got none"),
        ("a.csv", b"", "must begin with a header"),
        ("a.csv", b"text,label\na,x,y\n", "line 2 must have 2 cells like the header, got 3"),
        ("a.csv", b'text,label\n"a,x\n', "line 2 must be CSV with balanced double quotes"),
        ("a.csv", b"text,label\n\xe9t\xe9,x\n", "must be UTF-8, got 0xe9 as byte 11"),
        ("a.csv", b"text,label\na\0,x\n", "got a NUL character in line 2"),
        (
            "a.jsonl",
            b'{"text": "a", "label": "x"}\n{"text": 1, "label": "x"}',
            "line 2, column 'text' must be a string",
        ),
        ("a.jsonl", b'{"text": null, "label": "x"}', "line 1, column 'text' must be a string, got null"),
        ("a.jsonl", b'{"text": "a", "label": null}', "line 1, column 'label' must be a string or an integer, got null"),
        ("a.jsonl", b'{"text": "a", "label": 1.5}', "must be a string or an integer, got 1.5"),
        ("a.jsonl", b'{"text": "a", "labels": 1}', "must have a column 'label', got text, labels; did you mean"),
        ("a.jsonl", b'{"text": "a"', "line 1 must be a JSON object, got invalid JSON"),
        ("a.jsonl", b'\n["a", "x"]', r"line 2 must be a JSON object, got \['a', 'x'\]|line 2 must be a JSON object"),
        ("a.jsonl", b"[" * 100_000, "nested too deeply"),
        ("a.jsonl", b"1" * 5_000, "a number that is too long"),
        ("a.txt", b"a\n", "got plain text"),
        ("a.pdf", b"a\n", "got the suffix 'pdf'"),
    ],
)
def test_invalid_files_are_rejected(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        data.labeled_texts(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_long_lines_and_many_texts_are_rejected(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": "x"}\n' * 3)
    monkeypatch.setattr(text_records, "MAX_TEXTS", 2)
    with pytest.raises(ValueError, match="must have at most 2 texts, got more"):
        data.labeled_texts(str(tmp_path / "a.jsonl"))
    monkeypatch.setattr(text_records, "MAX_RECORD", 5)
    with pytest.raises(ValueError, match="line 1 must have at most 5 characters, got 27"):
        data.labeled_texts(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "bpe"}, "`unit` must be one of"),
        ({"max_length": 0}, "`max_length` must be an integer of at least 1"),
        ({"buckets": 0}, "`buckets` must be an integer of at least 1"),
        ({"batch_size": -1}, "`batch_size` must be an integer of at least 0"),
        ({"batch_size": 99}, "must fill at least one batch of 99, got 32"),
        ({"max_tokens": 1}, "`max_size` must be an integer of at least 2"),
        ({"test_fraction": 0.9}, "`test_fraction` must be less than 1 - `validation_fraction`, 0.9, got 0.9"),
        ({"validation_fraction": 0}, "`validation_fraction` must be"),
        ({"seed": -1}, "`seed` must be an integer of at least 0"),
        ({"test_path": "missing.csv"}, "cannot read missing.csv"),
    ],
)
def test_invalid_arguments_are_rejected(tmp_path, options, message):
    (tmp_path / "a.csv").write_text(GOOD)
    with pytest.raises(ValueError, match=message):
        data.labeled_texts(str(tmp_path / "a.csv"), **options)


def test_a_class_of_another_split_must_occur_in_training(tmp_path):
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "test.csv").write_text("text,label\na,z\n")
    with pytest.raises(ValueError, match="class z must occur in the training split, got it only in the test split"):
        data.labeled_texts(str(tmp_path / "a.csv"), test_path=str(tmp_path / "test.csv"))
    (tmp_path / "a" / "x").mkdir(parents=True)
    with pytest.raises(ValueError, match="must be empty for a folder"):
        data.labeled_texts(str(tmp_path / "a"), test_path=str(tmp_path / "test.csv"))


def test_long_texts_are_read_and_the_limit_of_other_readers_is_restored(tmp_path):
    limit = csv.field_size_limit()
    rows = "".join(f"{'word ' * (40_000 + i)},{'ab'[i % 2]}\n" for i in range(8))
    (tmp_path / "a.csv").write_text("text,label\n" + rows)
    found = data.labeled_texts(
        str(tmp_path / "a.csv"), max_length=8, batch_size=2, validation_fraction=0.25, test_fraction=0.25
    )
    assert found.train[0]["lengths"].tolist() == [8, 8]
    assert csv.field_size_limit() == limit


def test_the_tokenizer_of_a_run(path, tmp_path):
    own = data.Tokenizer("word", ("bad", "good"), lowercase=True)
    described = descriptions.describe_targets(data.TextClasses(("a", "b"), own))
    (tmp_path / "data.json").write_text(json.dumps({"targets": described}))
    dataset = data.labeled_texts(path, tokenizer=str(tmp_path), unit="byte")
    assert dataset.spec.tokenizer == own == dataset.inputs.tokenizer
    assert {token for text, _ in rows_of(dataset, "test") for token in text} == {"<unknown>", "good", "bad"}


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "must be the folder of a run on texts: No such file"),
        ("{", "must be the folder of a run on texts: it has no tokenizer"),
        ("[" * 100_000, "must be the folder of a run on texts: it has no tokenizer"),
        ('{"targets": {"names": ["a"]}}', "must be the folder of a run on texts: it has no tokenizer"),
        ('{"targets": {"tokenizer": {"unit": "word", "symbols": [1]}}}', "symbols must be a list of strings"),
        ('{"targets": {"tokenizer": {"unit": "piece", "symbols": [], "pieces": "x"}}}', "subword units|cannot be read"),
    ],
)
def test_a_tokenizer_that_cannot_be_read(path, tmp_path, content, message):
    if content is not None:
        (tmp_path / "data.json").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        data.labeled_texts(path, tokenizer=str(tmp_path))
    assert "\n" not in str(error.value)
