"""Vocabularies: conversion between text and token ids."""

import codecs
import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxnets.data.encodings import BYTE_ORDER_MARK
from jaxnets.data.tokens.pieces import byte_of, checked, encode, learn, tokenizer_of
from jaxnets.ops.host.printable import printable

_NEW_LINES = ("\n", "\r")  # possible starts of a text, in order of preference


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A vocabulary of the 256 bytes of UTF-8, of characters, or of subword units.

    Attributes:
        characters: The characters in the order of their ids; None for bytes and subword units.
        pieces: The JSON of a tokenizer of the ``tokenizers`` library, as made by ``learn_pieces``; None for bytes and
            characters.

    Raises:
        ValueError: Both are given, ``characters`` is not text of different characters, or ``pieces`` does not have the
            form that ``learn_pieces`` writes. Nothing in it is executed.
    """

    characters: str | None = None
    pieces: str | None = None

    def __post_init__(self) -> None:
        if self.pieces is not None:
            if self.characters is not None:
                raise ValueError("a vocabulary must have `characters` or `pieces`, got both")
            checked(self.pieces)
        elif self.characters is not None:
            _check_characters(self.characters)

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return tokenizer_of(self.pieces or "")

    @functools.cached_property
    def _number(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.characters or "")}

    @property
    def size(self) -> int:
        """The number of tokens."""
        if self.pieces is not None:
            return self._tokenizer.get_vocab_size()
        return 256 if self.characters is None else len(self.characters)

    @property
    def unit(self) -> str:
        """The kind of token: ``"byte"``, ``"character"`` or ``"piece"``."""
        if self.pieces is not None:
            return "piece"
        return "byte" if self.characters is None else "character"

    @property
    def start(self) -> str:
        """The default prompt: a line end, if the vocabulary has one."""
        if self.characters is None:
            return _NEW_LINES[0]
        return next((end for end in _NEW_LINES if end in self.characters), self.characters[:1])

    def symbol(self, name: str) -> int:
        """Returns the id of a special symbol, such as ``"<end>"``, which does not occur in text.

        Raises:
            ValueError: The vocabulary has no symbol of this name.
        """
        number = None if self.pieces is None else self._tokenizer.token_to_id(name)
        if number is None:
            raise ValueError(f"`name` must be a symbol of this vocabulary of {self.unit}s, got {name}")
        return number

    def encode(self, text: str) -> np.ndarray:
        """Returns the token ids of ``text``, int32 ``[T]``, equal to those of ``data.read`` for a file.

        Line ends are ordinary characters. The byte order mark U+FEFF is dropped, unless tokens are bytes or the
        vocabulary has it. A vocabulary of bytes preserves bytes that are not UTF-8 (``surrogateescape``), as they occur
        in command lines and file names.

        Raises:
            ValueError: The text has characters outside the vocabulary.
        """
        if self.characters is not None:
            number = self._number
            unknown = sorted(set(text) - number.keys() - {BYTE_ORDER_MARK})
            if unknown:
                raise ValueError(
                    f"characters must be in the vocabulary {printable(repr(self.characters), 100)}, "
                    f"got {printable(', '.join(map(repr, unknown)), 100)}"
                )
            return np.array([number[c] for c in text if c in number], np.int32)
        try:
            if self.pieces is None:
                return np.frombuffer(text.encode(errors="surrogateescape"), np.uint8).astype(np.int32)
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"`text` must consist of Unicode characters, got {text[error.start]!r} at position {error.start}, a "
                "surrogate or a byte that is not UTF-8"
            ) from error
        text = text.replace(BYTE_ORDER_MARK, "")
        return encode(self._tokenizer, text)

    def decode(self, tokens) -> str:
        """Returns the text of token ids ``[T]``; invalid UTF-8 becomes U+FFFD.

        Raises:
            ValueError: A token id is outside the vocabulary.
        """
        numbers = [self._checked(token) for token in tokens]
        if self.characters is None:
            return b"".join(map(self._bytes, numbers)).decode(errors="replace")
        return "".join(self.characters[number] for number in numbers)

    def decoder(self):
        """Returns an incremental decoder, a function from a token to the text that it completes."""
        if self.characters is not None:
            return lambda token: self.decode([token])
        incremental = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return lambda token: incremental.decode(self._bytes(self._checked(token)))

    def _checked(self, token) -> int:
        number = int(token)
        if not 0 <= number < self._count:
            raise ValueError(f"token ids must be from 0 to {self._count - 1}, got {number}")
        return number

    @functools.cached_property
    def _count(self) -> int:
        return self.size

    def _bytes(self, token: int) -> bytes:
        """Returns the bytes of a token."""
        if self.pieces is None:
            return bytes([token])
        return bytes(map(byte_of().__getitem__, self._tokenizer.id_to_token(token)))

    def show(self, token: int) -> str:
        """Returns a token in readable form: ``'a'``, ``'\\n'``, or ``0xc3`` for a byte outside ASCII."""
        is_raw = self.unit == "byte" and 127 < token < 256
        return f"0x{token:02x}" if is_raw else repr(self.decode([token]))


def _check_characters(characters: str) -> None:
    if not isinstance(characters, str):
        raise ValueError(f"`characters` must be a string, got {type(characters).__name__}")
    if not characters or len(set(characters)) < len(characters):
        raise ValueError(f"`characters` must be distinct, at least one, got {printable(repr(characters), 100)}")
    try:
        characters.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"`characters` must be Unicode, got {characters[error.start]!r} at position {error.start}"
        ) from error


def learn_pieces(texts: Iterable[str], size: int, symbols: Sequence[str] = (), by_line: bool = False) -> Vocabulary:
    """Trains a vocabulary of subword units by byte pair encoding (Sennrich et al. 2016, arXiv:1508.07909).

    Merges start from bytes, as in GPT-2, so every text can be encoded. Words of more than 1024 characters are split, in
    training and encoding, because the training time grows with the square of the length of a word.

    Args:
        texts: Texts, such as the lines of a file.
        size: The size of the vocabulary, with the 256 bytes and the symbols. It is smaller if the texts have fewer
            merges.
        symbols: Special symbols that do not occur in text, such as ``"<end>"``.
        by_line: Whether lines (as in ``str.splitlines``) are encoded separately, so that a text has the same tokens as
            its lines.

    Raises:
        ValueError: ``size`` is not from 256 to 2^20, or a symbol contains characters other than printable ASCII.
    """
    return Vocabulary(pieces=learn(texts, size, symbols, by_line))
