"""Samples of the program ``generate``: labels, interpolation, and files."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxnets import data
from jaxnets.reports import Arrays, ImageGrid
from jaxnets.tasks import Endpoint
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.prediction import samples
from jaxnets.training.prediction.samples import Request

SPEC = data.Classes(("cat", "dog", "owl"))
PLAIN = Endpoint(lambda variables, inputs: inputs, {"key": ("batch",)})
LABELED = Endpoint(PLAIN.function, dict.fromkeys(("key", "end_key", "weight", "labels"), ("batch",)))


@pytest.mark.parametrize(
    "given, labels",
    [(None, [0, 1, 2, 0]), (["owl"], [2, 2, 2, 2]), (["owl", "cat"], [2, 0, 2, 0])],
)
def test_labels_are_used_in_turn(given, labels):
    found = samples.inputs(SPEC, LABELED, Request(4, 3, given, False))
    assert set(found) == {"key", "labels"}
    assert found["labels"].dtype == np.int32 and found["labels"].tolist() == labels
    np.testing.assert_array_equal(
        jax.random.key_data(found["key"]), jax.random.key_data(jax.random.split(jax.random.key(3), 4))
    )


def test_interpolation_has_two_keys_and_one_label():
    found = samples.inputs(SPEC, LABELED, Request(5, 0, ["dog", "owl"], True))
    assert found["weight"].tolist() == [0, 0.25, 0.5, 0.75, 1] and found["labels"].tolist() == [1] * 5
    begin, end = (np.asarray(jax.random.key_data(found[name])) for name in ("key", "end_key"))
    assert (begin == begin[0]).all() and (end == end[0]).all() and (begin[0] != end[0]).any()


@pytest.mark.parametrize(
    "endpoint, labels, interpolate, message",
    [
        (PLAIN, ["cat"], False, "--labels must be left out: the model was trained without labels"),
        (PLAIN, None, True, "--interpolate needs a run of a model that interpolates"),
        (LABELED, ["cat", "cow"], False, "--labels must be labels of the training data, cat, dog, owl; got cow"),
        (LABELED, [], False, "--labels must be one of cat, dog, owl, got none"),
    ],
)
def test_wrong_flags_are_rejected(endpoint, labels, interpolate, message):
    with pytest.raises(UsageError, match=message):
        samples.inputs(SPEC, endpoint, Request(2, 0, labels, interpolate))


def test_samples_are_written_to_one_file(tmp_path):
    outputs = np.linspace(0, 1, 2 * 48 * 48, dtype=np.float32).reshape(2, 48, 48, 1)
    presented = {"samples": ImageGrid(outputs)}
    samples.write_file(tmp_path / "new" / "all.npz", outputs, presented)
    with np.load(tmp_path / "new" / "all.npz") as found:
        np.testing.assert_array_equal(found["samples"], outputs)
    samples.write_file(tmp_path / "all.png", outputs, presented)
    with Image.open(tmp_path / "all.png") as file:
        np.testing.assert_array_equal(np.asarray(file)[:48, :48], np.round(255 * outputs[0, ..., 0]).astype(np.uint8))
    with pytest.raises(UsageError, match="for samples other than images"):
        samples.write_file(tmp_path / "points.png", outputs, {"samples": Arrays({"x": outputs})})
    with pytest.raises(RunError, match="cannot write"):
        samples.write_file(tmp_path / "all.png" / "x.npz", outputs, presented)
