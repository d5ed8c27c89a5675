"""The text of a plain or gzipped file, read under a limit."""

import zlib

from jaxnets.data.checks import open_data, size_of
from jaxnets.data.encodings import decode_text
from jaxnets.ops.compressed import MAX_OVERHEAD, append_blocks, read_blocks
from jaxnets.ops.printable import printable


def read_text(path: str, most: int) -> str:
    """The text of a file, unpacked: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Args:
        path: Plain or gzipped.
        most: Bytes, unpacked, that it may have.

    Raises:
        ValueError: It cannot be read, is not a regular file, has more bytes, or cannot be decoded.
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
