"""New texts and binary files for trained runs: formats, tokens that are left out, labels, and invalid files."""

import json

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.inputs import Texts
from jaxnets.data.preprocessing import preprocess

TOKENIZER = data.Tokenizer("word", ("good", "bad", "film"))
INPUTS = Texts(TOKENIZER, 3, column="review", label="kind")
SPEC = data.TextClasses(("no", "yes"), TOKENIZER)
TEXTS = ["good film", "", "bad bad unknown film good", "film"]
TOKENS = [[1, 3, 0], [0, 0, 0], [2, 2, 0], [3, 0, 0]]


def write(tmp_path, kind):
    path = tmp_path / f"new.{kind}"
    if kind == "folder":
        path.mkdir()
        for i, text in enumerate(TEXTS):
            (path / f"{i}.txt").write_text(text)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"review": text, "kind": "yes"}) + "\n" for text in TEXTS))
    elif kind == "txt":
        path.write_text("\n".join(TEXTS) + "\n")
    else:
        comma = "\t" if kind == "tsv" else ","
        path.write_text(f"id{comma}review{comma}kind\n" + "".join(f"1{comma}{text}{comma}yes\n" for text in TEXTS))
    return str(path)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "txt", "folder"])
def test_new_texts(tmp_path, kind):
    found = data.read_inputs(write(tmp_path, kind), INPUTS)
    assert found["inputs"].tolist() == TOKENS and found["inputs"].dtype == np.int32
    assert found["lengths"].tolist() == [2, 0, 3, 1] and found["lengths"].dtype == np.int32
    assert found["ignored"].tolist() == [0, 0, 2, 0]
    if kind == "folder":
        assert [name.rpartition("/")[2] for name in found["file"]] == ["0.txt", "1.txt", "2.txt", "3.txt"]
    batch = preprocess(INPUTS, found, ("inputs", "lengths"))
    assert batch["inputs"] is found["inputs"]


def test_empty_texts_only(tmp_path):
    (tmp_path / "new.txt").write_text("\n\n")
    found = data.read_inputs(str(tmp_path / "new.txt"), INPUTS)
    assert found["inputs"].tolist() == [[0], [0]] and "ignored" not in found


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_labels_of_new_texts(tmp_path, kind):
    path = write(tmp_path, kind)
    assert data.read_labeled(path, INPUTS, SPEC)["targets"].tolist() == [1, 1, 1, 1]
    file = tmp_path / f"new.{kind}"
    file.write_text(file.read_text().replace("yes", "perhaps"))
    place = f"new.{kind}, line {2 if kind == 'csv' else 1}, column 'kind'"
    with pytest.raises(ValueError, match=f"{place} must be one of the classes of the run, no, yes, got perhaps"):
        data.read_labeled(path, INPUTS, SPEC)


@pytest.mark.parametrize("column", ["review", ""])
def test_labels_of_folders(tmp_path, column):
    inputs = Texts(TOKENIZER if column else data.Tokenizer("byte"), 3, column)
    for name, label in (("a.txt", "yes"), ("b.txt", "no"), ("c.txt", "no")):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / name).write_text("good film")
    found = data.read_labeled(str(tmp_path), inputs, SPEC)
    assert found["targets"].tolist() == [0, 0, 1] and found["targets"].dtype == np.int32
    assert found["inputs"].tolist() == [[1, 3] if column else list(b"goo")] * 3
    (tmp_path / "no").rename(tmp_path / "none")
    with pytest.raises(ValueError, match="a class folder must be one of the classes of the run, no, yes, got none"):
        data.read_labeled(str(tmp_path), inputs, SPEC)


def test_binary_files(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes([255, 0, 7, 9]))
    (tmp_path / "b").write_bytes(b"")
    inputs = Texts(data.Tokenizer("byte"), 3, "")
    found = data.read_inputs(str(tmp_path), inputs)
    assert found["inputs"].tolist() == [[255, 0, 7], [0, 0, 0]] and found["lengths"].tolist() == [3, 0]
    assert data.read_inputs(str(tmp_path / "a.bin"), inputs)["inputs"].tolist() == [[255, 0, 7]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,kind\na,yes\n", "line 1 must have a column 'review', got text, kind"),
        ("a.jsonl", '{"review": 3}\n', "line 1, column 'review' must be a string, got 3"),
        ("a.npz", "", "must be a file .csv, .tsv, .jsonl or .txt, or a folder of texts, got the suffix 'npz'"),
        ("a.txt", "", "must have texts, got none"),
    ],
)
def test_invalid_files_are_rejected(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        data.read_inputs(str(tmp_path / name), INPUTS)


def test_missing_labels_are_rejected(tmp_path):
    (tmp_path / "a.csv").write_text("review\na\n")
    with pytest.raises(ValueError, match="line 1 must have a column 'kind', got review"):
        data.read_labeled(str(tmp_path / "a.csv"), INPUTS, SPEC)
    (tmp_path / "a.txt").write_text("a\n")
    with pytest.raises(ValueError, match="got plain text"):
        data.read_labeled(str(tmp_path / "a.txt"), INPUTS, SPEC)
