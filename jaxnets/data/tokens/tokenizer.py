"""``Tokenizer``: token ids of texts for models that read texts, with an id for unknown words."""

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from jaxnets.data.tokens.vocabulary import Vocabulary, learn_pieces
from jaxnets.ops.checks import check_choice, check_integer
from jaxnets.ops.host.printable import printable

UNITS = ("word", "character", "byte", "piece")
UNKNOWN = "<unknown>"  # shown for the id 0 of words and characters
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")  # don't is one word, a punctuation mark another


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A mapping from texts to token ids: words, characters, bytes of UTF-8, or subword units.

    Words and characters that are not in the vocabulary have the id 0. Bytes and subword units cover every text.

    Attributes:
        unit: ``"word"``, ``"character"``, ``"byte"`` or ``"piece"``.
        symbols: The words or characters with the ids 1, 2, ...; empty for bytes and subword units.
        pieces: The subword units, as in ``Vocabulary``; None for the other units.
        lowercase: Whether texts are converted to lower case first.

    Raises:
        ValueError: The unit is unknown, symbols are repeated or empty, or do not fit the unit.
    """

    unit: str = "word"
    symbols: tuple[str, ...] = ()
    pieces: str | None = None
    lowercase: bool = False

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, UNITS)
        if (self.pieces is not None) != (self.unit == "piece"):
            raise ValueError(f"`pieces` must be given for the unit piece only, got unit {self.unit}")
        if self.symbols and self.unit not in ("word", "character"):
            raise ValueError(f"`symbols` must be empty for the unit {self.unit}, got {len(self.symbols)}")
        if not all(isinstance(symbol, str) and symbol for symbol in self.symbols):
            raise ValueError("`symbols` must be strings that are not empty")
        if len(set(self.symbols)) < len(self.symbols):
            repeated = next(name for name, count in collections.Counter(self.symbols).items() if count > 1)
            raise ValueError(f"`symbols` must be distinct, got {printable(repr(repeated), 60)} twice")
        if self.unit == "character" and any(len(symbol) > 1 for symbol in self.symbols):
            raise ValueError("`symbols` must be single characters for the unit character")

    @functools.cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(pieces=self.pieces)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.symbols, start=1)}

    @property
    def size(self) -> int:
        """The number of token ids."""
        return self._vocabulary.size if self.unit in ("byte", "piece") else len(self.symbols) + 1

    def encode(self, text: str) -> np.ndarray:
        """Returns the token ids of a text, int32 ``[T]``."""
        text = text.lower() if self.lowercase else text
        if self.unit in ("byte", "piece"):
            return self._vocabulary.encode(text)
        return self.ids(split(text, self.unit))

    def ids(self, tokens: Iterable[str]) -> np.ndarray:
        """Returns the ids of words or characters, int32 ``[T]``; 0 for unknown ones."""
        tokens = (token.lower() for token in tokens) if self.lowercase else tokens
        return np.fromiter((self._ids.get(token, 0) for token in tokens), np.int32)

    def encode_words(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Encodes the words of a sentence one by one, with an alignment for labels of words.

        Args:
            words: N words. Subword units and bytes of all words but the first begin with a space.

        Returns:
            The token ids, int32 ``[T]``, and the position of the first token of each word, int32 ``[N]``.
        """
        if self.unit == "word":
            return self.ids(words), np.arange(len(words), dtype=np.int32)
        encoded = [self.encode(word if index == 0 else f" {word}") for index, word in enumerate(words)]
        ends = np.cumsum([0, *map(len, encoded)])
        # The space before a word is a token of its own among characters and bytes.
        spaces = np.arange(len(words)) > 0 if self.unit != "piece" else np.zeros(len(words), bool)
        return np.concatenate([np.empty(0, np.int32), *encoded]), (ends[:-1] + spaces).astype(np.int32)

    def show(self, token: int) -> str:
        """Returns a token in readable form."""
        if self.unit in ("byte", "piece"):
            return self._vocabulary.show(token)
        if not 0 <= token < self.size:
            raise ValueError(f"token ids must be from 0 to {self.size - 1}, got {token}")
        return self.symbols[token - 1] if token else UNKNOWN


def split(text: str, unit: str) -> list[str]:
    """Splits a text into words and punctuation marks, or into characters."""
    return _WORD.findall(text) if unit == "word" else list(text)


def learn_tokenizer(
    texts: Iterable[str], unit: str = "word", max_size: int = 20_000, min_count: int = 1, lowercase: bool = False
) -> Tokenizer:
    """Returns the tokenizer with the most frequent tokens of texts.

    Args:
        texts: Texts, of the training split only.
        unit: As in ``Tokenizer``.
        max_size: Largest number of token ids. At least 256 for subword units; ignored for bytes.
        min_count: Smallest number of occurrences of a word or character.
        lowercase: As in ``Tokenizer``.

    Raises:
        ValueError: An argument is out of range.
    """
    check_choice("unit", unit, UNITS)
    check_integer("max_size", max_size, minimum=2)
    check_integer("min_count", min_count)
    lowered: Iterator[str] = (text.lower() if lowercase else text for text in texts)
    if unit == "byte":
        return Tokenizer(unit, lowercase=lowercase)
    if unit == "piece":
        return Tokenizer(unit, pieces=learn_pieces(lowered, max_size).pieces, lowercase=lowercase)
    counts = collections.Counter(token for text in lowered for token in split(text, unit))
    return most_frequent(counts, unit, max_size, min_count, lowercase)


def most_frequent(
    counts: "collections.Counter[str]", unit: str, max_size: int, min_count: int, lowercase: bool
) -> Tokenizer:
    """Returns the tokenizer of the most frequent words or characters; ties are in alphabetical order."""
    order = sorted((-count, symbol) for symbol, count in counts.items() if count >= min_count)
    return Tokenizer(unit, tuple(symbol for _, symbol in order[: max_size - 1]), lowercase=lowercase)
