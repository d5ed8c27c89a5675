"""Invalid arguments of every reader and of every synthetic problem: errors of one sentence that name the argument."""

import inspect
import os
from pathlib import Path

import numpy as np
import pytest

from jaxnets import data

WITH_PATH = [
    data.text,
    data.pairs,
    data.series,
    data.labeled_sets,
    data.idx,
    data.read,
    data.read_pairs,
    data.read_idx,
]
WITHOUT_PATH = [
    data.digits, data.adding, data.copying, data.temporal_order, data.set_statistics, data.set_maximum, data.digit_sum,
    data.gaussian_mixtures, data.odd_one_out, data.prevalence, data.shape_scenes, data.solids,
]  # fmt: skip
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A valid file for every reader of a single file."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "text").write_text("the cat sat on the mat\n" * 200)
    (folder / "pairs").write_text("".join(f"a {i}\tb {i}\n" for i in range(99)))
    arrays = {"x_train": RANDOM.normal(size=(60, 6)), "x_test": RANDOM.normal(size=(9, 6))}
    np.savez(folder / "series.npz", y_train=np.arange(60) % 3, y_test=np.arange(9) % 3, **arrays)
    (folder / "series.npz").rename(folder / "series")
    (folder / "labeled_sets").write_bytes((folder / "series").read_bytes())
    return folder


@pytest.mark.parametrize("reader", WITH_PATH, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("path", [3, b"name", ["name"], 1.5])
def test_invalid_paths_are_rejected(reader, path):
    with pytest.raises(ValueError, match="`path` must be the name of a file or folder, got "):
        reader(path)
    with pytest.raises(ValueError, match="~nobody_at_all/a must be in a home folder that exists"):
        reader("~nobody_at_all/a")


INTEGER = "must be an integer"
INVALID = {
    "batch_size": [("4", INTEGER), (2.5, INTEGER), (None, INTEGER), (-1, "at least [01]")],
    "seed": [("a", INTEGER), (0.5, INTEGER), (None, INTEGER), (-1, "at least 0")],
    "validation_fraction": [("0.1", "must be a number"), (None, "must be a number")]
    + [(fraction, "a number between 0 and 1") for fraction in (0, 1.0, -0.5, float("nan"))],
    "test_fraction": [
        ("0.1", "must be a number"),
        (None, "must be a number"),
        (0, "a number between 0 and 1"),
        (1, "a number"),
    ],
    "vocab_size": [(300.5, INTEGER), (255, "at least 256, the number of bytes")],
    "columns": [(wrong, "must be two indices") for wrong in (3, "ab", (0,), (0, 1.5), (0, -1), (0, 1, 2))],
    **{
        name: [(2.5, INTEGER), ("8", INTEGER)]
        for name in ("length", "seq_len", "max_seq_len", "size", "delay", "symbols", "components")
    },
    **{name: [(2.5, INTEGER), (None, INTEGER)] for name in ("max_size", "min_size")},
}
CASES = [
    pytest.param(reader, name, value, message, id=f"{reader.__name__}-{name}-{value!r}")
    for reader in (data.text, data.pairs, data.series, data.labeled_sets, *WITHOUT_PATH)
    for name in inspect.signature(reader).parameters
    for value, message in INVALID.get(name, [])
]


@pytest.mark.parametrize("reader, name, value, message", CASES)
def test_invalid_arguments_are_named(files, reader, name, value, message):
    given = {"path": str(files / reader.__name__)} if reader in WITH_PATH else {}
    if reader is data.text and name == "vocab_size":
        given["unit"] = "piece"
    shown = f"(?:{name}|pieces|size)" if name == "vocab_size" else name
    with pytest.raises(ValueError, match=rf"{shown}\b.* {message}|{shown}: {message}"):
        reader(**given, **{name: value})


def test_too_few_pairs_are_rejected(files):
    with pytest.raises(ValueError, match="must have pairs for every split, got 89 train, 0 validation, 10 test"):
        data.pairs(str(files / "pairs"), validation_fraction=1e-9)


@pytest.mark.parametrize("reader", [data.text, data.pairs, data.series, data.labeled_sets])
def test_file_names_may_have_any_encoding(files, tmp_path, reader):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/se\xf1or \xff"))
    path.write_bytes((files / reader.__name__).read_bytes())
    sizes = {"batch_size": 4} if reader is not data.pairs else {"batch_size": 4, "vocab_size": 300}
    for given in (path, str(path)):
        dataset = reader(given, **sizes)
        assert dataset.description.startswith(f"{tmp_path}/se\\xf1or \\xff: ") and len(dataset.train[0]["inputs"]) == 4
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"se\\xf1or \\xff"):
        reader(path)


STORED = {
    "series": lambda path: data.series(str(path / "series"), batch_size=0),
    "sets": lambda path: data.labeled_sets(str(path / "labeled_sets"), batch_size=0),
    "digits": lambda path: data.digits(batch_size=0),
    "anomalies": lambda path: data.series_anomalies(str(path / "series"), normal="1", batch_size=0),
    "forecasting": lambda path: data.mackey_glass(length=300, batch_size=0),
}


@pytest.mark.parametrize("make", STORED.values(), ids=STORED)
def test_a_batch_of_size_0_has_all_training_rows(files, make):
    dataset = make(files)
    first, second = dataset.train[0], dataset.train[1]
    assert str(f"{len(first['inputs']):,} training") in dataset.description and first["mask"].all()
    rows = lambda batch: sorted(row.tobytes() for row in batch["inputs"])
    assert rows(first) == rows(second)
    assert len(set(rows(first))) > 0.9 * len(first["inputs"])
