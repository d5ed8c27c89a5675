"""Names of files and classes as text: valid Unicode for the files of a run, one printable line for messages."""

import os
import re
import unicodedata

LONGEST = 200  # characters of a name in a message


def valid_unicode(name: str) -> str:
    r"""A name without surrogates, which no encoding has: a byte that is not UTF-8 becomes ``\xe9``."""
    return re.sub(r"[\ud800-\udfff]", lambda found: _escaped(found[0]), name)


def printable(name: object, longest: int = LONGEST) -> str:
    r"""A name in one line of valid Unicode; of a long one, the beginning and the end.

    Control characters, line separators, surrogates and what changes the direction of text become escapes such as
    ``\n``, ``\x1b`` and ``\xe9``.
    """
    text = os.fsdecode(name) if isinstance(name, os.PathLike | bytes) else str(name)
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[-(longest // 2) :]}"
    return "".join(_escaped(c) if _is_control(c) else c for c in text)


def _is_control(character: str) -> bool:
    turns = unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return turns or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte of a file's name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
