"""Descriptions of datasets in ``data.json``: source, targets, inputs and the shapes of a batch."""

import dataclasses
import math
from typing import Any

import jax

from jaxnets.data import (
    Captions,
    Classes,
    Dataset,
    Horizon,
    LabeledSteps,
    Labels,
    Quantities,
    Tags,
    TextClasses,
    Tokenizer,
    Unlabeled,
    Vocabulary,
    Words,
)
from jaxnets.data.inputs import Columns, Images, Inputs, LabeledWindows, Pixels, Rows, SentenceWords, Texts, Windows
from jaxnets.data.targets import Spec
from jaxnets.data.tokens.saved import string_of, strings_of, tokenizer_of

# Limits for reading, because the file may be untrusted.
MAX_ARRAYS = 32  # of a batch
MAX_AXES = 8
MAX_ELEMENTS = 2**31  # of an array
TYPES = {"bool", "bfloat16"} | {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
TYPES |= {f"float{bits}" for bits in (16, 32, 64)}


def describe(dataset: Dataset) -> dict[str, Any]:
    """Describes a dataset as a value that JSON can represent."""
    return {
        "fingerprint": dataset.fingerprint,
        "source": dataset.description,
        "targets": describe_targets(dataset.spec),
        "inputs": describe_inputs(dataset.inputs),
        "batch": {name: [list(like.shape), str(like.dtype)] for name, like in shapes(dataset).items()},
    }


def describe_targets(spec: Spec) -> dict[str, Any]:
    """Describes targets, with the statistics of quantities if there are any."""
    fields = dataclasses.asdict(spec)
    if isinstance(spec, Quantities) and spec.std is None:
        fields = {"names": spec.names}
    return {"kind": type(spec).__name__, **fields}


def describe_inputs(inputs: Inputs | None) -> dict[str, Any] | None:
    """Describes the preprocessing of raw inputs."""
    return None if inputs is None else {"kind": type(inputs).__name__, **dataclasses.asdict(inputs)}


def shapes(dataset: Dataset) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes and dtypes of a training batch."""
    return {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in dataset.train[0].items()}


def targets(found: Any) -> Spec:
    """Rebuilds targets from their description.

    Raises:
        ValueError: The description is invalid.
    """
    kind = found.get("kind") if isinstance(found, dict) else None
    if kind == "Vocabulary":
        characters, pieces = (string_of(found, name) for name in ("characters", "pieces"))
        described: Any = Vocabulary(characters, pieces)
    elif kind in ("Classes", "Quantities", "Labels"):
        described = {"Classes": Classes, "Quantities": Quantities, "Labels": Labels}[kind](
            strings_of(found, "names"), **_statistics(found)
        )
    elif kind == "TextClasses":
        described = TextClasses(strings_of(found, "names"), tokenizer_of(found.get("tokenizer")))
    elif kind == "Words":
        counts = found.get("counts")
        described = Words(tokenizer_of(found.get("tokenizer")), tuple(counts) if isinstance(counts, list) else ())
    elif kind in ("Horizon", "LabeledSteps"):
        fields = {name: _tuples(value) for name, value in found.items() if name != "kind"}
        try:
            described = {"Horizon": Horizon, "LabeledSteps": LabeledSteps}[kind](**fields)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the spec {kind} cannot be read: {error}") from error
    elif kind == "Tags":
        words, letters = tokenizer_of(found.get("tokenizer")), _tokenizer_or_none(found.get("characters"))
        described = Tags(strings_of(found, "names"), str(found.get("scheme")), words, letters)
    elif kind == "Captions":
        length = found.get("max_seq_len")
        if type(length) is not int:
            raise ValueError(f"the number of words of captions must be an integer, got {length!r}")
        described = Captions(strings_of(found, "words"), length)
    elif kind == "Unlabeled":
        features = found.get("features")
        if type(features) is not int or not 0 <= features <= MAX_ELEMENTS:
            raise ValueError(f"the number of features of unlabeled data must be an integer, got {features!r}")
        described = Unlabeled(features)
    else:
        raise ValueError(
            "targets must be Vocabulary, Captions, Classes, TextClasses, Tags, Quantities, Horizon, LabeledSteps, "
            f"Labels, Words or Unlabeled, got {str(found)[:200]}"
        )
    try:
        size = described.size
    except Exception as error:  # the tokenizer library can raise any error
        raise ValueError(f"the tokenizer of a vocabulary cannot be read: {error}") from error
    if not size:
        raise ValueError("there must be at least one target, got none")
    return described


def _tokenizer_or_none(found: Any) -> Tokenizer | None:
    return None if found is None else tokenizer_of(found)


def _statistics(found: dict[str, Any]) -> dict[str, tuple]:
    """Returns the statistics with which quantities are standardized, if any."""
    given = {name: found[name] for name in ("origin", "offset", "std") if found.get(name) is not None}
    if not all(isinstance(values, list) for values in given.values()):
        raise ValueError(f"origin, offset and std of quantities must be lists of numbers, got {given}")
    return {name: tuple(values) for name, values in given.items()}


def inputs(found: Any) -> Inputs | None:
    """Rebuilds the preprocessing of raw inputs from its description. None means no preprocessing.

    Raises:
        ValueError: The description is invalid.
    """
    if found is None:
        return None
    kinds: dict[str, Any] = {
        kind.__name__: kind for kind in (Rows, Pixels, Images, Columns, Windows, LabeledWindows, Texts, SentenceWords)
    }
    kind = kinds.get(str(found.get("kind"))) if isinstance(found, dict) else None
    if kind is None:
        raise ValueError(f"inputs must be one of {', '.join(kinds)}, got {found!r}")
    fields = {name: _tuples(value) for name, value in found.items()}
    del fields["kind"]
    if kind in (Texts, SentenceWords):
        fields["tokenizer"] = tokenizer_of(found.get("tokenizer"))
    if kind is SentenceWords:
        fields["characters"] = _tokenizer_or_none(found.get("characters"))
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"inputs cannot be read: {error}") from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def batch(found: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Rebuilds the shapes and dtypes of a batch from their description.

    Raises:
        ValueError: The description is invalid or exceeds the limits.
    """
    if not (isinstance(found, dict) and 1 <= len(found) <= MAX_ARRAYS):
        raise ValueError(f"a batch must have 1 to {MAX_ARRAYS} arrays, got {found!r}")
    return {name: _shape(name, like) for name, like in found.items()}


def _shape(name: str, like: Any) -> jax.ShapeDtypeStruct:
    shape, dtype = like if isinstance(like, list) and len(like) == 2 else (None, None)
    if not (isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape)):
        raise ValueError(f"{name} of a batch must have a shape with positive sizes and a dtype, got {like!r}")
    if len(shape) > MAX_AXES or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(
            f"{name} of a batch must have at most {MAX_AXES} axes and {MAX_ELEMENTS:,} elements, got shape {shape}"
        )
    if not (isinstance(dtype, str) and dtype in TYPES):
        raise ValueError(f"{name} of a batch must have a numeric dtype, such as float32, got {dtype!r}")
    return jax.ShapeDtypeStruct(tuple(shape), dtype)
