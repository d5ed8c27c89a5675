"""Decodes the bytes of text files by their byte order mark."""

import codecs

import numpy as np

BYTE_ORDER_MARK = "\ufeff"
# UTF-32 before UTF-16: the mark of UTF-16-LE begins that of UTF-32-LE.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_BLOCK = 2**18  # bytes; even
_CONTROL = np.array([byte < 32 and byte not in b"\t\n\v\f\r\x1b" for byte in range(256)])


def decode_text(content: bytes, source: object, fix: str = "convert it to UTF-8") -> str:
    """Decodes a text file: UTF-8, or UTF-16 or UTF-32 where it begins with a byte order mark.

    The mark is no part of the text. It is removed at the beginning and wherever else U+FEFF occurs: files with marks
    are joined as they are (``cat a.txt b.txt``). Line ends and all other characters are kept.

    Args:
        content: The bytes of the file.
        source: The file, for messages.
        fix: What to do with a file in another encoding, for messages.

    Raises:
        ValueError: A byte is invalid (the file and the place are named), or the file is probably UTF-16 or UTF-32
            without a mark.
    """
    mark, encoding = next((each for each in _MARKS if content.startswith(each[0])), (b"", "utf-8"))
    if encoding == "utf-8" and _is_wide(content):
        raise ValueError(
            f"{source} must be UTF-8, or UTF-16 or UTF-32 with a byte order mark, got a control character in every "
            f"second byte, which is UTF-16 or UTF-32; {fix}"
        )
    try:
        return content[len(mark) :].decode(encoding).replace(BYTE_ORDER_MARK, "")
    except UnicodeDecodeError as error:
        place = len(mark) + error.start
        raise ValueError(
            f"{source} is not {encoding.upper()}: byte {place} is 0x{content[place]:02x} ({error.reason}); {fix}"
        ) from error


def _is_wide(content: bytes) -> bool:
    """Whether bytes are probably UTF-16 or UTF-32 without a mark.

    Such a file of Latin or Cyrillic text can be valid UTF-8, too. But its letters are U+00xx or U+04xx, so that every
    second byte is 0 or 4, a control character, and UTF-8 text has next to none of those.
    """
    counts, lengths = np.zeros(2, np.int64), ((len(content) + 1) // 2, len(content) // 2)
    for begin in range(0, len(content), _BLOCK):  # the whole at once would take as much memory again
        control = _CONTROL[np.frombuffer(content[begin : begin + _BLOCK], np.uint8)]
        counts += np.count_nonzero(control[::2]), np.count_nonzero(control[1::2])
    return len(content) > 1 and bool(np.any(4 * counts >= 3 * np.array(lengths)))
