"""Tables from CSV and npz files: features, splits, targets in their units, and new rows for a trained model."""

import csv

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from jaxnets import data
from jaxnets.data.inputs import Images, Pixels, Rows


def write(path, columns, delimiter=",", bom=False, end="\r\n"):
    with path.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as file:
        rows = csv.writer(file, delimiter=delimiter, lineterminator=end)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    return str(path)


def wine(path, **options):
    x, y = load_wine(return_X_y=True)
    columns = {f"f{i}": x[:, i] for i in range(13)}
    columns["color"] = np.where(x[:, 0] > 13, "red, dark", 'the "white"')
    return write(path, {**columns, "kind": np.array(["a", "b", "ç"])[y]}, **options)


def whole(dataset, split):
    batches = list(dataset.splits[split])
    return {name: np.concatenate([b[name][b["mask"]] for b in batches]) for name in batches[0] if name != "mask"}


def test_columns_are_standardized_or_one_hot(tmp_path):
    dataset = data.table(wine(tmp_path / "a.csv"), target="kind", batch_size=16)
    assert dataset.description == (f"{tmp_path}/a.csv: 3 classes, 125 training examples of 15, 27 validation, 26 test")
    assert dataset.spec.names == ("a", "b", "ç")
    assert dataset.inputs.names[-1] == "color" and dataset.inputs.categories[-1] == ("red, dark", 'the "white"')
    assert dataset.inputs.targets == ("kind",)
    rows = np.concatenate([dataset.train[i]["inputs"] for i in range(7)])
    np.testing.assert_allclose(rows[:, -2:].sum(1), 1)
    np.testing.assert_allclose(rows[:, :13].mean(0), 0, atol=0.2)
    for options in ({"delimiter": ";", "bom": True}, {"delimiter": "\t", "end": "\n"}, {"end": "\r"}):
        other = data.table(wine(tmp_path / "b.csv", **options), target="kind", batch_size=16)
        assert other.fingerprint == dataset.fingerprint and other.inputs == dataset.inputs
    read = data.read_labeled(str(tmp_path / "b.csv"), dataset.inputs, dataset.spec)
    given = data.preprocess(dataset.inputs, read)
    rows = {row.tobytes(): target for row, target in zip(given["inputs"], given["targets"], strict=True)}
    for split in ("validation", "test"):
        found = whole(dataset, split)
        for row, target in zip(found["inputs"], found["targets"], strict=True):
            assert rows[row.tobytes()] == target


def test_predictions_of_a_linear_model_have_the_units_of_the_data(tmp_path):
    x, y = load_diabetes(return_X_y=True)
    y = np.stack([y, 1e6 + 1000 * y], 1)
    columns = {f"f{i}": x[:, i] for i in range(10)} | {"now": y[:, 0], "later": y[:, 1]}
    splits = np.array(["train", "validation", "TEST"])[np.arange(len(x)) % 3]
    path = write(tmp_path / "a.csv", {**columns, "split": splits})
    dataset = data.table(path, target=("now", "later"), target_type="quantities", split="split", batch_size=20)
    assert dataset.spec.names == ("now", "later")
    train, test = np.arange(len(x)) % 3 == 0, np.arange(len(x)) % 3 == 2
    raw = data.read_inputs(path, dataset.inputs)["inputs"]
    np.testing.assert_array_equal(raw, x)
    found = whole(dataset, "test")
    scaler = StandardScaler().fit(x[train])
    np.testing.assert_allclose(found["inputs"], scaler.transform(x[test]), rtol=1e-5, atol=1e-6)
    mean, std = dataset.spec.scale
    np.testing.assert_allclose(found["targets"] * std + mean, y[test], rtol=1e-6)
    standard = lambda rows: (y[rows] - mean) / std
    fitted = Ridge(1.0).fit(scaler.transform(x[train]), standard(train))
    wanted = Ridge(1.0).fit(scaler.transform(x[train]), y[train]).predict(scaler.transform(x[test]))
    from task_parts import LearnerParts

    from jaxnets import modules, tasks

    task = tasks.regression(modules.MLP(2, hidden_sizes=()), dataset.spec, make_learner=LearnerParts)
    head = {"kernel": fitted.coef_.T.astype(np.float32), "bias": fitted.intercept_.astype(np.float32)}
    predicted = task.endpoints["predict"].function({"params": {"head": head}}, {"inputs": found["inputs"]})
    np.testing.assert_allclose(predicted, wanted, rtol=1e-4)


@pytest.mark.parametrize("with_splits", [True, False])
def test_npz_files_are_read_as_tables(tmp_path, with_splits):
    x, y = load_breast_cancer(return_X_y=True)
    names = np.array([f"c{i}" for i in range(30)])
    arrays = (
        {"x_train": x[:400], "y_train": y[:400], "x_test": x[400:], "y_test": y[400:]}
        if with_splits
        else {"x": x, "y": y}
    )
    np.savez(tmp_path / "a.npz", columns=names, **arrays)
    dataset = data.table(str(tmp_path / "a.npz"), batch_size=32)
    assert dataset.inputs.names == tuple(names)
    assert len(whole(dataset, "test")["targets"]) == (169 if with_splits else 86)
    read = data.read_labeled(str(tmp_path / "a.npz"), dataset.inputs, dataset.spec)
    np.testing.assert_array_equal(read["inputs"], x[400:] if with_splits else x)
    np.testing.assert_array_equal(read["targets"], y[400:] if with_splits else y)
    labels = np.stack([y, 1 - y], 1)
    np.savez(tmp_path / "b.npz", x=x, y=labels)
    dataset = data.table(str(tmp_path / "b.npz"), target_type="labels", batch_size=32)
    assert dataset.spec == data.Labels(("0", "1")) and dataset.train[0]["targets"].shape == (32, 2)
    np.savez(tmp_path / "c.npz", x=x)
    assert "targets" not in data.table(str(tmp_path / "c.npz"), target_type="none", batch_size=32).train[0]
    np.testing.assert_array_equal(data.read_inputs(str(tmp_path / "c.npz"), dataset.inputs)["inputs"], x)


def test_label_columns_and_numeric_categories_are_read(tmp_path):
    random = np.random.default_rng(0)
    columns = {"id": np.arange(60), "zip": random.integers(1, 4, 60), "x": random.normal(size=60)}
    columns |= {name: random.integers(0, 2, 60) for name in ("red", "blue")}
    path = write(tmp_path / "a.csv", columns)
    options = {"target": ("red", "blue"), "target_type": "labels", "columns": ("zip", "x"), "categorical": ("zip",)}
    dataset = data.table(path, batch_size=8, **options)
    assert dataset.spec == data.Labels(("red", "blue"))
    assert dataset.inputs.categories == (("1", "2", "3"), ())
    assert data.table(path, batch_size=8, **{**options, "target": "red, blue"}).fingerprint == dataset.fingerprint
    read = data.read_labeled(path, dataset.inputs, dataset.spec)
    np.testing.assert_array_equal(read["targets"], np.stack([columns["red"], columns["blue"]], 1).astype(bool))


GOOD = "age,city,kind\n" + "".join(f"{20 + i},{'ab'[i % 2]},{'xy'[i % 2]}\n" for i in range(30))
INVALID = {
    "a missing number": (GOOD + ",a,x\n", "line 32, column 'age' must be a number, got ''"),
    "a missing text": (GOOD + "5,,x\n", "line 32, column 'city' must not be empty, got ''"),
    "NA": (GOOD + "NA,a,x\n", "line 32, column 'age' must be a number, got 'NA'"),
    "NaN": (GOOD + "nan,a,x\n", "line 32, column 'age' must be a number, got 'nan'"),
    "infinite": (GOOD + "-Infinity,a,x\n", "line 32, column 'age' must be a number, got '-Infinity'"),
    "large": (GOOD + "1e999,a,x\n", "line 32, column 'age' must be finite in float64, got 1e999"),
    "underscores": (GOOD + "1_000,a,x\n", "line 32, column 'age' must be a number, got '1_000'"),
    "another script": (GOOD + "١,a,x\n", "line 32, column 'age' must be a number, got '١'"),
    "a decimal comma": (
        GOOD.replace(",", ";") + "1,5;a;x\n",
        "must be a number, got '1,5'; the decimal separator must be a point",
    ),
    "a short row": (GOOD + "5,a\n", "line 32 must have 3 cells like the header, got 2"),
    "after a cell of two lines": (GOOD + '5,"a\r\nb",x\n1,2\n', "line 34 must have 3 cells like the header, got 2"),
    "a NUL": (GOOD + "5,a\0,x\n", "must be text, got a NUL character in line 32"),
    "an open quote": (
        GOOD + '5,"a,x\n',
        "line 32 must be CSV with balanced double quotes, got an error: unexpected end",
    ),
    "a quote within": (GOOD + '5,"a"b,x\n', "line 32 must be CSV with balanced double quotes"),
    "a huge field": (GOOD + "5," + "a" * 200_000 + ",x\n", "line 32 must be CSV .* field larger than field limit"),
    "a long text": (
        GOOD + "5," + "a" * 1001 + ",x\n",
        "line 32, column 'city' must have at most 1,000 characters, got 1",
    ),
    "a million columns": (",".join(map("c{}".format, range(10**6))) + "\n", "at most 16,384 columns, got 1,000,000"),
    "a million cells": (GOOD + "," * 10**6 + "\n", "line 32 must have 3 cells like the header, got 1,000,001"),
    "mixed line ends": ("age,city,kind\r1,a,x\r\n2,b,x\n\n3,c\n", "line 5 must have 3 cells like the header, got 2"),
    "no header": (GOOD.partition("\n")[2].replace("a", "1").replace("b", "2").replace("x", "3"), "begin with a header"),
    "names twice": (
        "age,age,kind\n1,2,x\n",
        "line 1: column names must be different .* got 'age' twice in column 2",
    ),
    "no name": ("age,,kind\n1,2,x\n", "line 1: column names must be different .* got '' in column 2"),
    "empty": ("", "must begin with a header of column names, got nothing"),
    "the mark alone": ("\ufeff", "must begin with a header of column names, got nothing"),
    "a header alone": ("age,city,kind\n", "must have rows below its header, got none"),
    "no target": (GOOD.replace("kind", "sort"), "must have a column 'kind', got age, city, sort"),
    "a new category": (
        GOOD + "5,only here,x\n" * 1,
        "column 'city' must be one of 2 categories of the training split, got 'only",
    ),
    "controls": (GOOD + "\x1b[2J\u202e,a,x\n", r"column 'age' must be a number, got '\\x1b\[2J\\u202e'"),
    "too many categories": ("a,kind\n" + "".join(f"t{i},x\n" for i in range(1001)), "at most 1,000 categories"),
}


@pytest.mark.parametrize("text, message", INVALID.values(), ids=INVALID)
def test_invalid_tables_are_rejected_with_line_and_column(tmp_path, text, message):
    (tmp_path / "a.csv").write_bytes(text.encode())
    with pytest.raises(ValueError, match=message) as error:
        data.table(str(tmp_path / "a.csv"), target="kind", batch_size=4, test_fraction=0.2, seed=3)
    assert str(error.value).isprintable() and len(str(error.value)) <= 300


ARGUMENTS = {
    "two classes": ({"target": ("city", "kind")}, "`target` must name one column"),
    "no target": ({}, "`target` must name one column"),
    "text": ({"target": "kind", "target_type": "quantities"}, "line 2, column 'kind' must be a number, got 'x'"),
    "none": ({"target": "kind", "target_type": "none"}, "`target` must be empty if `target_type` is none"),
    "a column": (
        {"target": "kind", "columns": ("agee",)},
        "must have a column 'agee', got age, city, kind; the nearest is 'age'",
    ),
    "a target twice": ({"target": "kind", "columns": ("kind",)}, "columns that are not targets"),
    "fractions": (
        {"target": "kind", "test_fraction": 0.9},
        "`test_fraction` must be less than 1 - `validation_fraction`, 0.85, got 0.9",
    ),
    "a split": (
        {"target": "kind", "split": "city"},
        "line 2, column 'city' must be train, validation or test, got 'a'",
    ),
}


@pytest.mark.parametrize("arguments, message", ARGUMENTS.values(), ids=ARGUMENTS)
def test_invalid_arguments_are_rejected(tmp_path, arguments, message):
    (tmp_path / "a.csv").write_text(GOOD)
    with pytest.raises(ValueError, match=message):
        data.table(str(tmp_path / "a.csv"), batch_size=4, **arguments)


def test_new_rows_must_match_the_training_data(tmp_path):
    (tmp_path / "a.csv").write_text(GOOD)
    dataset = data.table(str(tmp_path / "a.csv"), target="kind", batch_size=4)
    new = tmp_path / "new.csv"
    for text, message in {
        "city;age\nb;7\nc;8\n": "line 3, column 'city' must be one of 2 categories of the training split, got 'c'",
        "city,age\nb,x\nb,y\n": "line 2, column 'age' must be a number, got 'x'",
        "town,age\nb,1\n": "must have a column 'city', got town, age",
    }.items():
        new.write_text(text)
        with pytest.raises(ValueError, match=message):
            data.read_inputs(str(new), dataset.inputs)
    new.write_text("age,more,city,kind\n1,?,b,x\n2,?,a,z\n")
    np.testing.assert_array_equal(data.read_inputs(str(new), dataset.inputs)["inputs"], [[1, 0, 1], [2, 1, 0]])
    with pytest.raises(ValueError, match="classes must be among the 2 of the training data, got z"):
        data.read_labeled(str(new), dataset.inputs, dataset.spec)


def test_new_series_and_sets_are_read_as_in_training(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(5, 3, (20, 6, 2))
    x[3, 2:], x[4] = np.nan, np.nan
    y = np.array(["ill", "well"] * 10)
    path = str(tmp_path / "a.npz")
    np.savez(path, x_train=x, y_train=y, x_test=x[:7], y_test=y[:7])
    for reader, name in ((data.series, "lengths"), (data.labeled_sets, "valid")):
        dataset = reader(path, batch_size=4)
        read = data.read_labeled(path, dataset.inputs, dataset.spec)
        found, wanted = data.preprocess(dataset.inputs, read, dataset.train[0].keys()), whole(dataset, "test")
        assert found.keys() == wanted.keys() and name in found
        jax.tree.map(np.testing.assert_array_equal, found, wanted)
    x[2, 1, 0] = np.inf
    np.savez(path, anything=x)
    with pytest.raises(ValueError, match="anything: row 2 must be finite, got inf at position 1, 0"):
        data.read_inputs(path, dataset.inputs)
    np.savez(path, x=x[..., :1])
    with pytest.raises(ValueError, match=r"x must have shape \[N, T, D\] with a last axis of 2"):
        data.read_inputs(path, dataset.inputs)
    np.savez(path, a=x, b=x)
    with pytest.raises(ValueError, match="must have the array x or x_test, or a single array, got a, b"):
        data.read_inputs(path, Rows())


def test_new_images_are_read_as_in_training(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 9, 7, 3), np.uint8)
    for i, image in enumerate(pixels):
        folder = tmp_path / "images" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    for size in ((9, 7), (5, 5)):
        read = data.read_labeled(str(tmp_path / "images"), Images(*size, 3), data.Classes(("a", "b")))
        assert read["inputs"].shape == (4, *size, 3) and list(read["targets"]) == [0, 0, 1, 1]
        assert [name[-5:] for name in read["file"]] == ["0.png", "2.png", "1.png", "3.png"]
    one = data.read_inputs(str(tmp_path / "images/a/0.png"), Images(9, 7, 3))
    np.testing.assert_array_equal(one["inputs"], pixels[:1])
    with pytest.raises(ValueError, match="classes must be among the 1 of the training data, got b"):
        data.read_labeled(str(tmp_path / "images"), Images(9, 7, 3), data.Classes(("a",)))
    with pytest.raises(ValueError, match="must have the size 8 x 7, got 9 x 7"):
        data.read_inputs(str(tmp_path / "images"), Images(8, 7, 3))
    np.savez(tmp_path / "a.npz", x=pixels[..., 0], y=np.arange(4) % 2)
    for inputs in (Pixels(255.0), Pixels(255.0, 7), Images(9, 7, 1)):
        read = data.read_labeled(str(tmp_path / "a.npz"), inputs, data.Classes(("0", "1")))
        dataset = data.preprocess(inputs, read)["inputs"]
        wanted = pixels[..., 0] if isinstance(inputs, Images) else pixels[..., 0] / np.float32(255)
        np.testing.assert_allclose(dataset.reshape(4, 9, 7), wanted, rtol=1e-6)


def test_numbers_beyond_float32_are_rejected(tmp_path):
    (tmp_path / "a.csv").write_text(GOOD)
    dataset = data.table(str(tmp_path / "a.csv"), target="kind", batch_size=4)
    (tmp_path / "new.csv").write_text("age,city\n1,b\n1e300,a\n")
    with pytest.raises(ValueError, match="row 1 must be finite in float32, got inf at position 0"):
        data.preprocess(dataset.inputs, data.read_inputs(str(tmp_path / "new.csv"), dataset.inputs))


def test_empty_lines_in_a_table_of_one_column_are_rejected(tmp_path):
    (tmp_path / "a.csv").write_text("x\n" + "1\n2\n" * 20 + "\n\n")
    dataset = data.table(str(tmp_path / "a.csv"), target_type="none", batch_size=4)
    new = tmp_path / "new.csv"
    new.write_text("x\n1\n\n3\n")
    with pytest.raises(ValueError, match="line 3 must have a value, got an empty line"):
        data.read_inputs(str(new), dataset.inputs)
    new.write_text("\nx\n1\n3\n\n")
    assert data.read_inputs(str(new), dataset.inputs)["inputs"].tolist() == [[1], [3]]
