"""Class labels: all dtypes, indices as in scikit-learn, and errors."""

import numpy as np
import pytest
from sklearn.preprocessing import LabelEncoder

from jaxnets import data
from jaxnets.data.labels import encode_labels

X = np.random.default_rng(0).normal(size=(48, 5, 2)).astype(np.float32)
Y = np.arange(48) % 12


def saved(folder, y_train, y_test, rows=(48, 12), x=X):
    np.savez(folder / "a.npz", x_train=x[: rows[0]], y_train=y_train, x_test=x[: rows[1]], y_test=y_test)
    return str(folder / "a.npz")


LOSSLESS = [
    "bool",
    "int8",
    "int16",
    "int64",
    "uint8",
    "uint64",
    ">i4",
    "float16",
    "float32",
    "float64",
    "longdouble",
    "U",
    "S",
]


@pytest.mark.parametrize("dtype", LOSSLESS)
def test_indices_of_all_dtypes_equal_those_of_scikit_learn(dtype):
    labels = (Y % 2 if dtype == "bool" else 3 * Y - 30 * (np.dtype(dtype).kind in "if")).astype(dtype)
    names, numbers = encode_labels("some data", {"training": labels, "test": labels[5:17]})
    text = labels.astype(str) if dtype == "S" else labels
    encoder = LabelEncoder().fit(text.astype(text.dtype.newbyteorder("=")))
    assert names == tuple(map(str, encoder.classes_))
    expected = [list(encoder.classes_).index(label) for label in text]
    np.testing.assert_array_equal(numbers["training"], expected)
    np.testing.assert_array_equal(numbers["test"], expected[5:17])
    assert numbers["training"].dtype == numbers["test"].dtype == np.int32


@pytest.mark.parametrize("offset", [0, 2**24, 2**31 - 6, 2**53 - 6, 2**53, 2**63 - 12])
@pytest.mark.parametrize("first", ["int64", "uint64", "longdouble"])
@pytest.mark.parametrize("second", ["int64", "uint64", ">u8"])
def test_integers_of_different_dtypes_are_compared_exactly(offset, first, second):
    exact = np.array([offset + int(i) for i in Y], object)
    labels = {"training": exact.astype(first), "test": exact[3:9].astype(second)}
    names, numbers = encode_labels("some data", labels)
    np.testing.assert_array_equal(numbers["training"], Y)
    np.testing.assert_array_equal(numbers["test"], Y[3:9])
    assert first == "longdouble" or names == tuple(str(offset + i) for i in range(12))


def test_object_arrays_of_strings_are_text():
    names, numbers = encode_labels(
        "some data", {"training": np.array(["b", "a", "b"], object), "test": np.array(["b"])}
    )
    assert names == ("a", "b")
    np.testing.assert_array_equal(numbers["training"], [1, 0, 1])
    with pytest.raises(ValueError, match="must be integers, bools or text, got object"):
        encode_labels("some data", {"training": np.array(["b", 1], object)})


def test_negative_zero_equals_zero():
    names, numbers = encode_labels("some data", {"training": np.array([-0.0, 1.0, 0.0]), "test": np.array([0, 1])})
    assert names == ("0.0", "1.0")
    np.testing.assert_array_equal(numbers["training"], [0, 1, 0])
    np.testing.assert_array_equal(numbers["test"], [0, 1])


@pytest.mark.parametrize("reader", [data.series, data.labeled_sets])
@pytest.mark.parametrize("first, second", [("S", "S"), ("S", "U"), ("U", "S"), ("bool", "int8"), ("float32", "uint64")])
def test_splits_may_have_different_dtypes(tmp_path, reader, first, second):
    labels = Y % 2 if first == "bool" else Y
    found = reader(saved(tmp_path, labels.astype(first), labels[:12].astype(second)), batch_size=4)
    called = [found.spec.names[i] for batch in found.splits["test"] for i in batch["targets"][batch["mask"]]]
    assert called == [name.decode() if first == "S" else str(name) for name in labels[:12].astype(first)]


def test_bytes_are_decoded_as_utf_8(tmp_path):
    names = np.array([["año", "日本", "z"][i % 3].encode() for i in range(48)])
    assert data.series(saved(tmp_path, names, names[:12]), batch_size=4).spec.names == ("año", "z", "日本")


INVALID = {
    "complex": (Y.astype("complex64"), "labels of the training split must be integers, bools or text, got complex64"),
    "datetime": (Y.astype("datetime64[D]"), r"got datetime64\[D\]; convert them with .astype\(str\)"),
    "timedelta": (Y.astype("timedelta64[s]"), r"got timedelta64\[s\]"),
    "structured": (np.zeros(48, "i4,f4"), "must be integers, bools or text, got "),
    "void": (np.zeros(48, "V3"), r"got \|V3"),
    "quantities": (Y / 8, "got float64 with 0.125 in example 1; np.digitize converts quantities to classes"),
    "infinite": (np.where(Y == 3, -np.inf, Y), "got float64 with -inf in example 3"),
    "NaN": (np.where(Y == 3, np.nan, Y), "labels of the training split must not be NaN, got nan in example 3"),
    "latin": (np.array([b"a", b"\xe9"] * 24), r"must be text in UTF-8, got b'\\xe9'; decode them first"),
    "one-hot": (np.eye(12)[Y], r"must be \[\d+\], got shape \(\d+, 12\); .*np.argmax\(y, 1\)"),
    "column": (Y[:, None], r"must be \[\d+\], got shape \(\d+, 1\); y\[:, 0\]"),
}


@pytest.mark.parametrize("reader", [data.series, data.labeled_sets])
@pytest.mark.parametrize("labels, message", INVALID.values(), ids=INVALID)
def test_invalid_labels_are_rejected(tmp_path, reader, labels, message):
    with pytest.raises(ValueError, match=message):
        reader(saved(tmp_path, labels, labels[:12]), batch_size=4)
    with pytest.raises(ValueError, match=message.replace("train", "test").replace("testing", "test")):
        reader(saved(tmp_path, Y, labels[:12]), batch_size=4)


MIXED = [
    ("int64", "U", r"int64 in the training split and text \(<U21\) in the test split"),
    ("U", "float64", r"text \(<U21\) in the training split and float64 in the test split"),
    ("uint8", "S", r"uint8 in the training split and text \(\|S21\) in the test split"),
    ("S", "bool", r"text \(\|S21\) in the training split and bool in the test split"),
]


@pytest.mark.parametrize("first, second, kinds", MIXED)
def test_mixed_numbers_and_text_are_rejected(tmp_path, first, second, kinds):
    with pytest.raises(ValueError, match=f"labels must be all numbers or all text, got {kinds}; convert"):
        data.series(saved(tmp_path, Y.astype(first), Y[:12].astype(second)), batch_size=4)


@pytest.mark.parametrize("reader", [data.series, data.labeled_sets])
@pytest.mark.parametrize("rows, split", [((0, 12), "train"), ((48, 0), "test"), ((0, 0), "train")])
def test_splits_without_examples_are_rejected(tmp_path, reader, rows, split):
    for x in (X, X[..., 0]):
        with pytest.raises(ValueError, match=f"a.npz: x_{split} must not be empty, got shape"):
            reader(saved(tmp_path, Y[: rows[0]], Y[: rows[1]], rows, x), batch_size=4)


@pytest.mark.parametrize("reader", [data.series, data.labeled_sets])
@pytest.mark.parametrize("shape", [(48, 0), (48, 0, 3), (48, 5, 0)])
def test_empty_examples_are_rejected(tmp_path, reader, shape):
    with pytest.raises(ValueError, match="x_train must not be empty, got shape"):
        reader(saved(tmp_path, Y, Y[:12], x=np.zeros(shape)), batch_size=4)


@pytest.mark.parametrize("reader", [data.series, data.labeled_sets])
@pytest.mark.parametrize(
    "dtype", ["complex64", "complex128", "datetime64[s]", "timedelta64[s]", "S4", "U4", "V4", "i4,f4"]
)
def test_inputs_that_are_not_numbers_are_rejected(tmp_path, reader, dtype):
    x = X.astype("int64").astype(dtype) if "64[" in dtype else np.zeros(X.shape, dtype)
    with pytest.raises(ValueError, match="x_train must be numbers .*, got"):
        reader(saved(tmp_path, Y, Y[:12], x=x), batch_size=4)


def test_classes_only_in_the_test_split_are_rejected():
    composed, decomposed = np.array(["\xe9", "b"]), np.array(["e\u0301", "b"])
    with pytest.raises(ValueError, match="got it only in the test split; the training split has it in another Unicode"):
        encode_labels("some data", {"training": composed, "test": decomposed})
    with pytest.raises(ValueError, match="class c must occur in the training split, got it only in the test split$"):
        encode_labels("some data", {"training": composed, "test": np.array(["c"])})
