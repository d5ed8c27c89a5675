"""Tables and images with anomalies in the test split."""

import numpy as np
import pytest

from jaxnets import data


def all_rows(batches):
    collected = [batches[i] for i in range(len(batches))]
    joined = {name: np.concatenate([batch[name] for batch in collected]) for name in collected[0]}
    return {name: array[joined["mask"]] for name, array in joined.items()}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A table of 60 normal rows, around 5, and 20 anomalies, as in ADBench."""
    random = np.random.default_rng(0)
    X = np.concatenate([random.normal(5, 2, (60, 3)), random.normal(50, 2, (20, 3))])
    file = tmp_path_factory.mktemp("data") / "a.npz"
    np.savez(file, X=X, y=np.repeat([0, 1], [60, 20]))
    return str(file)


def test_half_of_the_normal_rows_are_for_training(path):
    dataset = data.table_anomalies(path, batch_size=9, validation_fraction=0.1)
    assert dataset.spec.names == ("normal", "anomaly") and dataset.train_rows == 27
    validation, test = (all_rows(dataset.splits[name]) for name in ("validation", "test"))
    assert np.bincount(test["targets"]).tolist() == [30, 20] and not validation["targets"].any()
    train = np.concatenate([dataset.train[i]["inputs"] for i in range(3)])
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)  # statistics of normal training rows
    np.testing.assert_allclose(train.std(0), 1, atol=1e-5)
    raw = np.load(path)["X"]
    found = dataset.inputs.statistics
    restored = np.concatenate([train, validation["inputs"], test["inputs"]]) * found.std + found.origin + found.offset
    np.testing.assert_allclose(np.sort(restored[:, 0]), np.sort(raw[:, 0]), rtol=1e-5)
    other = data.table_anomalies(path, batch_size=9, seed=1)
    assert not np.array_equal(all_rows(other.splits["test"])["inputs"], test["inputs"])


def test_categories_and_a_split_column(tmp_path):
    rows = [f"{i},{'abc'[i % 3]},{'fraud' if i % 10 == 9 else 'fine'}" for i in range(60)]
    (tmp_path / "a.csv").write_text("size,kind,class\n" + "\n".join([*rows, "7,rare,fraud"]) + "\n")
    dataset = data.table_anomalies(str(tmp_path / "a.csv"), target="class", normal="fine", batch_size=8)
    assert dataset.inputs.categories == ((), ("a", "b", "c", "rare"))  # known though only an anomaly has it
    assert all_rows(dataset.splits["test"])["inputs"].shape[1] == 5
    split = [f"{row},{'test' if i >= 40 else 'train'}" for i, row in enumerate(rows)]
    (tmp_path / "b.csv").write_text("size,kind,class,part\n" + "\n".join(split) + "\n")
    dataset = data.table_anomalies(str(tmp_path / "b.csv"), target="class", normal="fine", split="part", batch_size=8)
    assert np.bincount(all_rows(dataset.splits["test"])["targets"]).tolist() == [18, 2]
    assert dataset.train_rows + len(all_rows(dataset.splits["validation"])["targets"]) == 36


def test_default_table():
    dataset = data.table_anomalies()
    targets = all_rows(dataset.splits["test"])["targets"]
    assert (dataset.train_rows, np.sum(targets)) == (161, 212)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normal": "2"}, "`normal` must be a class of .*: 0, 1, got 2"),
        ({"test_fraction": 0.0}, "`test_fraction` must be a number between 0 and 1, got 0"),
        ({"target": "y"}, "must be CSV where `target`"),
    ],
)
def test_wrong_arguments(path, change, message):
    with pytest.raises(ValueError, match=message):
        data.table_anomalies(path, **change)


def test_tables_without_anomalies_and_with_nan(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((20, 2)), y=np.zeros(20))
    with pytest.raises(ValueError, match="must have an anomaly to test on, got 20 normal rows of 20"):
        data.table_anomalies(str(tmp_path / "a.npz"), batch_size=4)
    np.savez(tmp_path / "b.npz", X=np.array([[1, 2], [3, np.nan]]), y=np.arange(2))
    with pytest.raises(ValueError, match="feature 1 of row 1 in X must be finite, got nan"):
        data.table_anomalies(str(tmp_path / "b.npz"))
    np.savez(tmp_path / "c.npz", X=np.ones((4, 2)), y=np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="must have rows for the validation split, got 4 rows in total"):
        data.table_anomalies(str(tmp_path / "c.npz"), batch_size=1)


def test_images_of_other_kinds(tmp_path):
    x = np.full((30, 8, 8), 200, np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(30) % 2, x_test=x[:5], y_test=np.arange(5) % 2)
    digits, letters = data.digits(read_as="images"), data.image_arrays(str(tmp_path / "a.npz"), batch_size=4)
    dataset = data.image_anomalies(digits, others={"letters": letters}, count=50)
    assert dataset.spec.names == ("normal", "constant", "noise", "letters")
    test = all_rows(dataset.splits["test"])
    assert np.bincount(test["targets"]).tolist() == [50, 50, 50, 5]
    np.testing.assert_array_equal(test["inputs"][:50], all_rows(digits.splits["test"])["inputs"][:50])
    assert all(len(np.unique(image)) == 1 for image in test["inputs"][50:100])
    assert np.all(test["inputs"][150:] == 200)
    for split in ("train", "validation"):
        batch = dataset.splits[split][0]
        np.testing.assert_array_equal(batch["inputs"], digits.splits[split][0]["inputs"])
        assert not batch["targets"].any()
    again, others = (data.image_anomalies(digits, count=50, seed=seed) for seed in (0, 1))
    assert again.fingerprint != others.fingerprint
    assert len(dataset.part(lambda rows: np.arange(rows)[:3]).train[0]["inputs"]) == 3


def test_images_that_do_not_fit(tmp_path):
    x = np.zeros((30, 9, 8), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(30) % 2, x_test=x[:5], y_test=np.arange(5) % 2)
    digits, other = data.digits(read_as="images"), data.image_arrays(str(tmp_path / "a.npz"), batch_size=4)
    with pytest.raises(ValueError, match=r"the images of a must have the shape \(8, 8, 1\), got \(9, 8, 1\)"):
        data.image_anomalies(digits, others={"a": other})
    with pytest.raises(ValueError, match=r"the images of normal must be uint8 \[B, H, W, C\], got float32"):
        data.image_anomalies(data.digits())
    with pytest.raises(ValueError, match="`generated` must be one of constant, noise, got 'rain'"):
        data.image_anomalies(digits, generated=("rain",))
    without = digits._replace(splits={"train": digits.train})
    with pytest.raises(ValueError, match="the data of normal must have a test split, got train"):
        data.image_anomalies(without)
