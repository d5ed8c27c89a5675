"""Text to token numbers and back."""

import codecs
import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxnets.data.encodings import BYTE_ORDER_MARK
from jaxnets.data.pieces import byte_of, checked, encode, learn, tokenizer_of
from jaxnets.ops.printable import printable

_NEW_LINES = ("\n", "\r")  # where a text may begin, in the order of preference


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens are the 256 bytes of UTF-8, or characters, or pieces of words.

    Attributes:
        characters: The known characters in the order of their numbers; None for bytes and pieces.
        pieces: A tokenizer of the ``tokenizers`` library, as its JSON, such as ``learn_pieces`` makes; None for bytes
            and characters.

    Raises:
        ValueError: Both are given, ``characters`` is not text of different characters, or ``pieces`` is not a tokenizer
            of the form that ``learn_pieces`` makes. Nothing in it is executed.
    """

    characters: str | None = None
    pieces: str | None = None

    def __post_init__(self) -> None:
        if self.pieces is not None:
            if self.characters is not None:
                raise ValueError("a vocabulary must have characters or pieces, got both")
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
        if self.pieces is not None:
            return self._tokenizer.get_vocab_size()
        return 256 if self.characters is None else len(self.characters)

    @property
    def unit(self) -> str:
        if self.pieces is not None:
            return "piece"
        return "byte" if self.characters is None else "character"

    @property
    def start(self) -> str:
        """Where a text may begin: after a new line, where there are any."""
        if self.characters is None:
            return _NEW_LINES[0]
        return next((end for end in _NEW_LINES if end in self.characters), self.characters[:1])

    def symbol(self, name: str) -> int:
        """The number of a symbol that pieces were learned with, such as ``"<end>"``; it is part of no text.

        Raises:
            ValueError: There is none of this name.
        """
        number = None if self.pieces is None else self._tokenizer.token_to_id(name)
        if number is None:
            raise ValueError(f"no symbol {name} in this vocabulary of {self.unit}s")
        return number

    def encode(self, text: str) -> np.ndarray:
        """``text`` as int32 ``[T]``, the tokens that ``data.read`` gives for a file of this text.

        Line ends are characters like all others. The byte order mark U+FEFF is left out, unless the units are bytes or
        the vocabulary has it. Bytes of a command line or a file name that are not UTF-8 (``surrogateescape``) are
        themselves where the units are bytes.

        Raises:
            ValueError: It has characters outside the vocabulary; they are named.
        """
        if self.characters is not None:
            number = self._number
            unknown = sorted(set(text) - number.keys() - {BYTE_ORDER_MARK})
            if unknown:
                raise ValueError(
                    f"characters outside the vocabulary of this run: {printable(', '.join(map(repr, unknown)), 100)}; "
                    f"it knows {printable(repr(self.characters), 100)}"
                )
            return np.array([number[c] for c in text if c in number], np.int32)
        try:
            if self.pieces is None:
                return np.frombuffer(text.encode(errors="surrogateescape"), np.uint8).astype(np.int32)
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text must be Unicode characters, got {text[error.start]!r} at place {error.start}, half a character "
                "or a byte that is not UTF-8"
            ) from error
        text = text.replace(BYTE_ORDER_MARK, "")
        return encode(self._tokenizer, text)

    def decode(self, tokens) -> str:
        """The text of token numbers ``[T]``; bytes that are no UTF-8 become U+FFFD.

        Raises:
            ValueError: A number is outside the vocabulary.
        """
        numbers = [self._checked(token) for token in tokens]
        if self.characters is None:
            return b"".join(map(self._bytes, numbers)).decode(errors="replace")
        return "".join(self.characters[number] for number in numbers)

    def decoder(self):
        """A function from one token to the text that is complete with it (a UTF-8 character has up to 4 bytes)."""
        if self.characters is not None:
            return lambda token: self.decode([token])
        incremental = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return lambda token: incremental.decode(self._bytes(self._checked(token)))

    def _checked(self, token) -> int:
        number = int(token)
        if not 0 <= number < self._count:
            raise ValueError(f"token must be from 0 to {self._count - 1}, the last {self.unit}, got {number}")
        return number

    @functools.cached_property
    def _count(self) -> int:
        return self.size

    def _bytes(self, token: int) -> bytes:
        """What a byte or a piece stands for."""
        if self.pieces is None:
            return bytes([token])
        return bytes(map(byte_of().__getitem__, self._tokenizer.id_to_token(token)))

    def show(self, token: int) -> str:
        """One token as a person reads it: ``'a'``, ``'\\n'``, or ``0xc3`` for a byte that is no character."""
        no_character = self.unit == "byte" and 127 < token < 256
        return f"0x{token:02x}" if no_character else repr(self.decode([token]))


def _check_characters(characters: str) -> None:
    if not isinstance(characters, str):
        raise ValueError(f"characters must be text, got {type(characters).__name__}")
    if not characters or len(set(characters)) < len(characters):
        raise ValueError(f"characters must be different ones, at least one, got {printable(repr(characters), 100)}")
    try:
        characters.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"characters must be Unicode, got {characters[error.start]!r} at place {error.start}"
        ) from error


def learn_pieces(texts: Iterable[str], size: int, symbols: Sequence[str] = (), by_line: bool = False) -> Vocabulary:
    """A vocabulary of the pieces that are most frequent in some texts, by merging pairs of bytes (BPE).

    Sennrich et al. 2016 (arXiv:1508.07909), on bytes as in GPT-2: every text can be written with it.

    Args:
        texts: Such as the lines of a file.
        size: How many pieces, 256 bytes and the symbols among them; fewer where the texts have not that many.
        symbols: Pieces that are part of no text, such as ``"<end>"``.
        by_line: Whether every line, as ``str.splitlines`` has it, is encoded by itself, so that a text has the same
            pieces as a whole and line by line.

    Words of more than 1024 characters are cut, to learn from and to be encoded: the time to learn from one grows with
    the square of its length.

    Raises:
        ValueError: ``size`` is below 256 or above 2^20, or a symbol has other characters than printable ones of ASCII.
    """
    return Vocabulary(pieces=learn(texts, size, symbols, by_line))
