"""Token ids of texts in exports: equal to those of training."""

import dataclasses
import json

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.inputs import Texts
from jaxnets.exported import Model, arrays
from jaxnets.training.descriptions import describe_inputs

TEXTS = ["Don't stop, naïve café!", "", "ΑΒΓ 日本 l’été", "a" * 100, "\udce9 x", "tabs\tand\nlines"]


@pytest.mark.parametrize("unit", ["word", "character", "byte", "piece"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_exports_encode_as_in_training(unit, lowercase):
    texts = TEXTS if unit == "byte" else [text for text in TEXTS if text.isprintable() or "\n" in text]
    tokenizer = data.learn_tokenizer(texts[:3], unit, 300, lowercase=lowercase)
    about = json.loads(json.dumps(describe_inputs(Texts(tokenizer, 20))))
    found = Model({"inputs": about}, {}, {}).encode(texts)
    assert found["inputs"].dtype == found["lengths"].dtype == np.int32
    for row, length, text in zip(found["inputs"], found["lengths"], texts, strict=True):
        assert row[:length].tolist() == tokenizer.encode(text)[:20].tolist()
        assert not row[length:].any()


def test_bytes_and_no_texts():
    about = dataclasses.asdict(Texts(data.Tokenizer("byte"), 3, ""))
    model = Model({"inputs": {"kind": "Texts", **about}}, {}, {})
    assert model.encode([b"\xff\x00ab"])["inputs"].tolist() == [[255, 0, 97]]
    assert model.encode([])["inputs"].shape == (0, 1)


@pytest.mark.parametrize(
    ("inputs", "texts"), [(None, ["a"]), ({"kind": "Rows"}, ["a"]), ("texts", "a"), ("texts", [1])]
)
def test_invalid_calls_are_rejected(inputs, texts):
    inputs = describe_inputs(Texts(data.Tokenizer("byte"), 3)) if inputs == "texts" else inputs
    with pytest.raises(ValueError, match="does not read texts|must be a sequence of strings"):
        Model({"inputs": inputs}, {}, {}).encode(texts)


def test_token_ids_stay_integers_and_lengths_may_be_omitted():
    expected = {name: {"shape": [], "dtype": "int32"} for name in ("inputs", "lengths")}
    tokens = np.array([[5, 2**24 + 1]], np.int32)
    found = arrays.convert_raw_arrays({"inputs": tokens}, {"kind": "Texts"}, expected, {})
    assert found["inputs"] is tokens and found["lengths"].tolist() == [2]
    assert arrays.convert_raw_arrays({"inputs": tokens, "lengths": [1]}, {"kind": "Texts"}, expected, {})[
        "lengths"
    ] == [1]
