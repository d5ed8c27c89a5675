"""Names of files and classes as text: valid Unicode for the files of a run, one printable line for messages."""

import os
import re
import unicodedata

LONGEST = 200  # characters of a name in a message
LONGEST_MESSAGE = 300  # characters of a message about a foreign file: one line that a terminal shows whole
# Embeddings, overrides and isolates: they turn the direction of what is shown after them.
TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def valid_unicode(name: str) -> str:
    r"""A name without surrogates, which no encoding has: a byte that is not UTF-8 becomes ``\xe9``."""
    return re.sub(r"[\ud800-\udfff]", lambda found: _escaped(found[0]), name)


def printable(name: object, longest: int = LONGEST) -> str:
    r"""A name in one line of valid Unicode; of one of more than ``longest`` characters, the beginning and the end.

    Control characters, line separators, bidirectional overrides and surrogates become escapes such as ``\n``, ``\x1b``,
    ``\u202e`` and ``\xe9``.
    """
    text = os.fsdecode(name) if isinstance(name, os.PathLike | bytes) else str(name)
    text = "".join(_escaped(c) if _is_odd(c) else c for c in _shortened(text, longest))
    return text if len(text) <= longest + 1 else _shortened(text, longest)  # escapes may have made it longer


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[-(longest // 2) :]}"


def _is_odd(character: str) -> bool:
    odd = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return odd or unicodedata.bidirectional(character) in TURNING


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte of a file's name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
