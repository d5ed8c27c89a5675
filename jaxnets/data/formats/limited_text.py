"""Text of plain or gzipped files, with a size limit."""

import re
import zlib
from collections.abc import Iterator

from jaxnets.data.checks import open_data, size_of
from jaxnets.data.encodings import decode_text
from jaxnets.ops.host.compressed import MAX_OVERHEAD, append_blocks, read_blocks
from jaxnets.ops.host.printable import printable

LINE_END = re.compile("\r\n|\n|\r")  # str.splitlines would also split at characters within a sentence


def read_text(path: str, most: int) -> str:
    """Reads text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Args:
        path: A plain or gzipped file.
        most: The maximum number of uncompressed bytes.

    Raises:
        ValueError: The file cannot be read, is not regular, is too large, or cannot be decoded.
    """
    content = bytearray()
    limit = f"{printable(path)} must have at most {most:,} bytes of text"
    with open_data(path) as file:
        try:
            if size_of(file) > 2 * most + MAX_OVERHEAD:  # gzipped or not
                raise ValueError(f"{limit}, got a file of {size_of(file):,}")
            append_blocks(content, read_blocks(file), most + 1)
        except OSError as error:
            raise ValueError(f"cannot read {printable(path)}: {error.strerror or error}") from error
        except (EOFError, zlib.error) as error:
            raise ValueError(
                f"{printable(path)} must be text, plain or gzipped, got a damaged gzip file: {error}"
            ) from error
    if len(content) > most:
        raise ValueError(f"{limit}, got more")
    return decode_text(bytes(content), printable(path))


def lines(text: str) -> Iterator[str]:
    """Yields the lines of a text; a list of short lines would take fifty times the memory of the text."""
    begin = 0
    for end in LINE_END.finditer(text):
        yield text[begin : end.start()]
        begin = end.end()
    yield text[begin:]
