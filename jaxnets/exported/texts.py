"""Token ids of texts for an exported model of texts, as in training."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def encode(texts: Sequence[str], about: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """Converts texts to the arguments of an exported model.

    Args:
        texts: N texts, or bytes for a model of binary files.
        about: The description of raw inputs in ``model.json``.

    Returns:
        ``inputs`` int32 ``[N, T]``, padded with zeros, and ``lengths`` int32 ``[N]``. Texts are cut off at the length
        of training.

    Raises:
        ValueError: The model does not read texts, or ``texts`` is not a sequence of texts.
        ImportError: The model reads subword units, and the package ``tokenizers`` is not installed.
    """
    if about is None or about.get("kind") != "Texts":
        raise ValueError("this model does not read texts of one label each; call model(inputs)")
    if isinstance(texts, str | bytes) or not all(isinstance(text, str | bytes) for text in texts):
        raise ValueError("`texts` must be a sequence of strings, or of bytes")
    tokenizer, most = about["tokenizer"], about["max_length"]
    ids_of = _encoder(tokenizer)
    rows = [ids_of(text)[:most] for text in texts]
    lengths = np.array([len(row) for row in rows], np.int32)
    inputs = np.zeros((len(rows), max(1, lengths.max(initial=0))), np.int32)
    for row, ids in zip(inputs, rows, strict=True):
        row[: len(ids)] = ids
    return {"inputs": inputs, "lengths": lengths}


def _encoder(tokenizer: Mapping[str, Any]) -> Any:
    unit = tokenizer["unit"]
    prepared = lambda text: text.lower() if tokenizer["lowercase"] else text
    if unit == "byte":
        as_bytes = lambda text: text if isinstance(text, bytes) else prepared(text).encode(errors="surrogateescape")
        return lambda text: list(as_bytes(text))
    if unit == "piece":
        from tokenizers import Tokenizer

        pieces = Tokenizer.from_str(tokenizer["pieces"])
        return lambda text: pieces.encode(prepared(text), add_special_tokens=False).ids
    ids = {symbol: index for index, symbol in enumerate(tokenizer["symbols"], start=1)}
    split = _WORD.findall if unit == "word" else list
    return lambda text: [ids.get(token, 0) for token in split(prepared(text))]
