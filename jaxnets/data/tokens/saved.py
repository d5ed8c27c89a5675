"""Tokenizers of runs, as described in ``data.json``."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from jaxnets.data.tokens.tokenizer import Tokenizer
from jaxnets.ops.host.files import read_regular
from jaxnets.ops.host.printable import printable

MAX_BYTES = 2**26  # limit for reading, because the file may be untrusted


def read_tokenizer(path: str) -> Tokenizer:
    """Reads the tokenizer of a run on texts.

    Args:
        path: The run folder.

    Raises:
        ValueError: The folder has no ``data.json`` with a tokenizer, or it cannot be read.
    """
    try:
        found = json.loads(read_regular(Path(path).expanduser() / "data.json", MAX_BYTES))
        described = found["targets"]["tokenizer"]
    except OSError as error:
        raise ValueError(f"{printable(path)} must be the folder of a run on texts: {error.strerror}") from error
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"{printable(path)} must be the folder of a run on texts: it has no tokenizer") from error
    try:
        return tokenizer_of(described)
    except ValueError as error:
        raise ValueError(f"{printable(path)}: {error}") from error


def tokenizer_of(described: Any) -> Tokenizer:
    """Rebuilds a tokenizer from its fields.

    Raises:
        ValueError: The description is invalid.
    """
    if not isinstance(described, dict) or described.keys() - {field.name for field in dataclasses.fields(Tokenizer)}:
        raise ValueError(f"a tokenizer must be described by its fields, got {str(described)[:200]}")
    lowercase = described.get("lowercase", False)
    if not isinstance(lowercase, bool):
        raise ValueError(f"`lowercase` of a tokenizer must be true or false, got {lowercase!r}")
    tokenizer = Tokenizer(
        described.get("unit", ""), strings_of(described, "symbols"), string_of(described, "pieces"), lowercase
    )
    try:
        size = tokenizer.size
    except Exception as error:  # the tokenizer library can raise any error
        raise ValueError(f"the subword units of a tokenizer cannot be read: {error}") from error
    if not size:
        raise ValueError("a tokenizer must have token ids, got none")
    return tokenizer


def strings_of(found: dict[str, Any], name: str) -> tuple[str, ...]:
    """Returns a list of strings by its name."""
    values = found.get(name)
    if not (isinstance(values, list) and all(isinstance(value, str) for value in values)):
        raise ValueError(f"the {name} must be a list of strings, got {values!r}")
    return tuple(values)


def string_of(found: dict[str, Any], name: str) -> str | None:
    """Returns a string by its name, or None if it is missing."""
    value = found.get(name)
    if not (value is None or isinstance(value, str)):
        raise ValueError(f"the {name} of a vocabulary must be a string, got {value!r}")
    return value
