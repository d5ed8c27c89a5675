"""``Captions``: word ids of sentences that describe images."""

import dataclasses
import difflib
import functools

import numpy as np

from jaxnets.data.tokens.tokenizer import split
from jaxnets.ops.checks import check_integer, describe_value
from jaxnets.ops.host.printable import printable

MAX_CAPTION_WORDS = 2**16  # of a vocabulary, and of a caption


@dataclasses.dataclass(frozen=True)
class Captions:
    """Spec of captions of images as word ids, int32 ``[B, L]``, padded with 0, with ``lengths``.

    Attributes:
        words: The words in lower case, with the ids 1, 2, ...
        max_seq_len: L, the largest number of words of a caption.

    Raises:
        ValueError: Words are repeated, empty or not in lower case, or a size is out of range.
    """

    words: tuple[str, ...]
    max_seq_len: int

    def __post_init__(self) -> None:
        check_integer("max_seq_len", self.max_seq_len)
        if max(self.max_seq_len, len(self.words)) > MAX_CAPTION_WORDS:
            raise ValueError(f"`words` and `max_seq_len` must be at most {MAX_CAPTION_WORDS:,}, got more")
        if not all(isinstance(word, str) and split(word.lower(), "word") == [word] for word in self.words):
            raise ValueError("`words` must be single words in lower case")
        if not self.words or len(set(self.words)) < len(self.words):
            raise ValueError(f"`words` must be distinct, at least one, got {describe_value(self.words)}")

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words, start=1)}

    @property
    def size(self) -> int:
        """The number of ids, with that of the padding."""
        return len(self.words) + 1

    def encode(self, text: str) -> tuple[np.ndarray, int]:
        """Returns the word ids of a caption, int32 ``[L]``, and its number of words. Punctuation is ignored.

        Raises:
            ValueError: The caption is empty or too long, or has an unknown word.
        """
        if not isinstance(text, str):
            raise ValueError(f"`text` must be a string, got {describe_value(text)}")
        words = [word for word in split(text.lower(), "word") if word[0].isalnum()]
        if not 0 < len(words) <= self.max_seq_len:
            raise ValueError(f"a caption must have 1 to {self.max_seq_len} words, got {len(words):,}")
        unknown = next((word for word in words if word not in self._ids), None)
        if unknown is not None:
            close = ", ".join(map(repr, difflib.get_close_matches(unknown[:80], self.words, n=3)))
            hint = f"nearest: {close}" if close else f"known: {printable(', '.join(self.words), 300)}"
            raise ValueError(f"unknown word {printable(repr(unknown), 60)}; {hint}")
        tokens = np.zeros(self.max_seq_len, np.int32)
        tokens[: len(words)] = [self._ids[word] for word in words]
        return tokens, len(words)

    def decode(self, tokens: np.ndarray) -> str:
        """Returns the words of ids ``[T]``; 0 is left out.

        Raises:
            ValueError: An id is outside the vocabulary.
        """
        ids = [int(token) for token in tokens]
        wrong = [token for token in ids if not 0 <= token < self.size]
        if wrong:
            raise ValueError(f"token ids must be from 0 to {self.size - 1}, got {wrong[0]}")
        return " ".join(self.words[token - 1] for token in ids if token)
