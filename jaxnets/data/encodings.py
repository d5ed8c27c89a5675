"""Text encodings: UTF-8, and UTF-16 and UTF-32 with a byte order mark."""

import codecs

import numpy as np

BYTE_ORDER_MARK = "\ufeff"
# UTF-32 comes before UTF-16: the mark of UTF-16-LE is a prefix of that of UTF-32-LE.
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
    """Decodes a text file: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    The mark U+FEFF is removed at the beginning and everywhere else, because files with marks may be concatenated
    (``cat a.txt b.txt``). Line ends and all other characters are preserved.

    Args:
        content: The bytes of the file.
        source: The file name in error messages.
        fix: The advice in error messages about other encodings.

    Raises:
        ValueError: A byte is invalid, or the file is probably UTF-16 or UTF-32 without a mark.
    """
    mark, encoding = next((each for each in _MARKS if content.startswith(each[0])), (b"", "utf-8"))
    if encoding == "utf-8" and _is_wide(content):
        raise ValueError(
            f"{source} must be UTF-8, or UTF-16 or UTF-32 with a byte order mark, got a control character in every "
            f"second byte; {fix}"
        )
    try:
        return content[len(mark) :].decode(encoding).replace(BYTE_ORDER_MARK, "")
    except UnicodeDecodeError as error:
        position = len(mark) + error.start
        raise ValueError(
            f"{source} must be {encoding.upper()}, got 0x{content[position]:02x} as byte {position} "
            f"({error.reason}); {fix}"
        ) from error


def _is_wide(content: bytes) -> bool:
    """Returns whether bytes are probably UTF-16 or UTF-32 without a mark.

    Such files of Latin or Cyrillic text can be valid UTF-8. But their letters are U+00xx or U+04xx, so every second
    byte is a control character, 0 or 4, which is rare in UTF-8 text.
    """
    counts, lengths = np.zeros(2, np.int64), ((len(content) + 1) // 2, len(content) // 2)
    for begin in range(0, len(content), _BLOCK):  # in blocks: one pass would double the memory
        control = _CONTROL[np.frombuffer(content[begin : begin + _BLOCK], np.uint8)]
        counts += np.count_nonzero(control[::2]), np.count_nonzero(control[1::2])
    return len(content) > 1 and bool(np.any(4 * counts >= 3 * np.array(lengths)))
