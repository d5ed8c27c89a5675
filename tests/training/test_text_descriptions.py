"""Descriptions of texts in a run folder: class names, tokenizers and the preprocessing of texts."""

import dataclasses
import json

import pytest

from jaxnets import data
from jaxnets.data.inputs import Texts
from jaxnets.training import descriptions

WORDS = data.Tokenizer("word", ("the", "a", "ä"), lowercase=True)
PIECES = data.learn_tokenizer(["low lower lowest"] * 5, "piece", 300)


def saved(description):
    return json.loads(json.dumps(description))


@pytest.mark.parametrize("tokenizer", [WORDS, data.Tokenizer("byte"), PIECES], ids=["words", "bytes", "pieces"])
def test_classes_and_preprocessing_of_texts_are_rebuilt(tokenizer):
    spec, inputs = data.TextClasses(("bad", "good"), tokenizer), Texts(tokenizer, 50, "text")
    assert descriptions.targets(saved(descriptions.describe_targets(spec))) == spec
    assert descriptions.inputs(saved(descriptions.describe_inputs(inputs))) == inputs
    assert spec.size == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"unit": "syllable"}, "`unit` must be one of"),
        ({"unit": ["word"]}, "`unit` must be one of"),
        ({"symbols": [1, 2]}, "symbols must be a list of strings"),
        ({"symbols": "ab"}, "symbols must be a list of strings"),
        ({"symbols": ["a", "a"]}, "must be distinct, got 'a' twice"),
        ({"lowercase": 1}, "must be true or false, got 1"),
        ({"pieces": {}}, "must be a string"),
        ({"unit": "piece", "symbols": [], "pieces": "{}"}, "subword units of a tokenizer cannot be read"),
        ({"module": "os"}, "must be described by its fields"),
    ],
)
def test_invalid_tokenizers_are_rejected(changed, message):
    described = saved(descriptions.describe_targets(data.TextClasses(("bad", "good"), WORDS)))
    described["tokenizer"] |= changed
    with pytest.raises(ValueError, match=message):
        descriptions.targets(described)
    with pytest.raises(ValueError, match=message):
        descriptions.inputs({"kind": "Texts", "max_length": 5, "column": "text", "tokenizer": described["tokenizer"]})


@pytest.mark.parametrize("changed", [{"names": []}, {"names": [1]}, {"tokenizer": None}, {"tokenizer": []}])
def test_invalid_text_classes_are_rejected(changed):
    described = saved(descriptions.describe_targets(data.TextClasses(("bad", "good"), WORDS)))
    with pytest.raises(ValueError, match="must be"):
        descriptions.targets(described | changed)


@pytest.mark.parametrize("changed", [{"max_length": 0}, {"max_length": "5"}, {"column": 3}, {"column": ""}])
def test_invalid_texts_are_rejected(changed):
    described = saved(descriptions.describe_inputs(Texts(WORDS, 5)))
    with pytest.raises(ValueError, match="must"):
        descriptions.inputs(described | changed)


def test_text_classes_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.TextClasses(("a", "b"), WORDS).names = ()
