"""Printable text: names of files and classes as valid Unicode, and as one line for messages."""

import os
import re
import unicodedata

MAX_NAME_LENGTH = 200  # characters of a name in a message
MAX_MESSAGE_LENGTH = 300  # characters of a message about an untrusted file, such that a terminal shows it on one line
# Bidirectional embeddings, overrides and isolates, which change the direction of the text after them.
BIDI_CONTROLS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def valid_unicode(name: str) -> str:
    r"""Escapes surrogates, which no encoding can represent: a byte that is not UTF-8 becomes ``\xe9``."""
    return re.sub(r"[\ud800-\udfff]", lambda match: _escape(match[0]), name)


def printable(name: object, max_length: int = MAX_NAME_LENGTH) -> str:
    r"""Formats a name as one line of valid Unicode, with the middle of a long name left out.

    Control characters, line separators, bidirectional controls and surrogates become escapes such as ``\n``, ``\x1b``,
    ``\u202e`` and ``\xe9``.
    """
    text = os.fsdecode(name) if isinstance(name, os.PathLike | bytes) else str(name)
    text = "".join(_escape(c) if _is_unsafe(c) else c for c in _shorten(text, max_length))
    return text if len(text) <= max_length + 1 else _shorten(text, max_length)  # escapes make the text longer


def _shorten(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else f"{text[: max_length // 2]}…{text[-(max_length // 2) :]}"


def _is_unsafe(character: str) -> bool:
    is_control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return is_control or unicodedata.bidirectional(character) in BIDI_CONTROLS


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # Python's representation of a byte of a file name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
