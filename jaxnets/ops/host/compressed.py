"""Compressed files: block-by-block readers with limits, because a few bytes can expand beyond any memory."""

import functools
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

GZIP = b"\x1f\x8b"
GZIP_FORMAT = 16 + zlib.MAX_WBITS
BLOCK_SIZE = 2**18  # bytes

# Size of a gzip file beyond twice its content. Deflate adds at most a thousandth to its input, so this leaves room for
# a file name, trailing zeros and empty members. Without a limit, a sparse file of terabytes would be read to its end.
MAX_OVERHEAD = 2**22  # bytes

# Size of a zip archive's central directory, which zipfile loads at once into objects ten times as large. Archives of
# arrays have tens of members with directory entries of 50 to 150 bytes.
MAX_DIRECTORY = 2**20  # bytes


def read_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the content of a plain or gzipped file in blocks of at most ``BLOCK_SIZE`` bytes.

    Raises:
        EOFError: A gzip file is truncated.
        zlib.error: A gzip file is corrupt.
    """
    first = file.read(BLOCK_SIZE)
    if first.startswith(GZIP):
        yield from _inflate(file, first)
    else:
        yield first
        yield from iter(functools.partial(file.read, BLOCK_SIZE), b"")


def append_blocks(content: bytearray, blocks: Iterator[bytes], size: int) -> None:
    """Appends blocks to ``content`` until it has at least ``size`` bytes or the blocks are exhausted."""
    while len(content) < size and (block := next(blocks, None)) is not None:
        content += block


def _inflate(file: IO[bytes], packed: bytes) -> Iterator[bytes]:
    # The gzip module reads trailing zeros and file names byte by byte, which is too slow.
    inflate, between_members, num_bytes = zlib.decompressobj(GZIP_FORMAT), False, 0
    while packed or (packed := file.read(BLOCK_SIZE)):
        if file.tell() > 2 * num_bytes + MAX_OVERHEAD:
            raise zlib.error(f"{file.tell():,} compressed bytes hold only {num_bytes:,} bytes")
        if between_members:  # a file may have several members, each followed by zeros
            packed = packed.lstrip(b"\0")
            if not packed:
                continue
            inflate, between_members = zlib.decompressobj(GZIP_FORMAT), False
        block = inflate.decompress(packed, BLOCK_SIZE)
        packed = inflate.unconsumed_tail
        num_bytes += len(block)
        yield block
        while not inflate.eof and not packed and block:  # output that zlib has buffered
            block = inflate.decompress(b"", BLOCK_SIZE)
            num_bytes += len(block)
            yield block
        if inflate.eof:
            packed, between_members = inflate.unused_data, True
    if not between_members:
        raise EOFError("the gzip file is truncated")


class _LimitedReads:
    """A file whose single reads are limited to ``MAX_DIRECTORY`` bytes, for zipfile."""

    def __init__(self, file: IO[bytes]):
        self._file, self.seek, self.tell, self.seekable = file, file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        limit = MAX_DIRECTORY if size < 0 else size
        content = self._file.read(limit + 1 if size < 0 else size) if limit <= MAX_DIRECTORY else b""
        if limit > MAX_DIRECTORY or len(content) > limit:
            raise ValueError(f"the directory of a zip archive must have at most {MAX_DIRECTORY:,} bytes")
        return content


def open_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """Opens a zip archive whose central directory has at most ``MAX_DIRECTORY`` bytes.

    Raises:
        ValueError: The directory is larger.
        zipfile.BadZipFile: The file is not a zip archive.
    """
    return zipfile.ZipFile(_LimitedReads(file))
