"""Text to token numbers and back."""

import codecs
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens are the 256 bytes of UTF-8, or characters.

    Attributes:
        characters: The known characters in the order of their numbers; None for bytes.
    """

    characters: str | None = None

    @property
    def size(self) -> int:
        return 256 if self.characters is None else len(self.characters)

    @property
    def unit(self) -> str:
        return "byte" if self.characters is None else "character"

    @property
    def start(self) -> str:
        """Where a text may begin: after a new line, where there are any."""
        return "\n" if self.characters is None or "\n" in self.characters else self.characters[0]

    def encode(self, text: str) -> np.ndarray:
        """``text`` as int32 ``[T]``.

        Raises:
            ValueError: It has characters outside the vocabulary; they are named.
        """
        if self.characters is None:
            return np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        unknown = sorted(set(text) - set(self.characters))
        if unknown:
            raise ValueError(
                f"characters outside the vocabulary of this run: {', '.join(repr(c) for c in unknown)}; "
                f"it knows {self.characters!r}"
            )
        number = {character: i for i, character in enumerate(self.characters)}
        return np.fromiter((number[c] for c in text), np.int32, len(text))

    def decode(self, tokens) -> str:
        """The text of token numbers ``[T]``; bytes that are no UTF-8 become U+FFFD."""
        if self.characters is None:
            return bytes(int(token) for token in tokens).decode(errors="replace")
        return "".join(self.characters[int(token)] for token in tokens)

    def decoder(self):
        """A function from one token to the text that is complete with it (a UTF-8 character has up to 4 bytes)."""
        if self.characters is None:
            incremental = codecs.getincrementaldecoder("utf-8")(errors="replace")
            return lambda token: incremental.decode(bytes([int(token)]))
        return lambda token: self.decode([token])

    def show(self, token: int) -> str:
        """One token as a person reads it: ``'a'``, ``'\\n'``, or ``0xc3`` for a byte that is no character."""
        return f"0x{token:02x}" if self.characters is None and token > 127 else repr(self.decode([token]))
