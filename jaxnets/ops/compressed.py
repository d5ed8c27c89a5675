"""Compressed files, read block by block: a few bytes can stand for more than any memory holds."""

import functools
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

GZIP = b"\x1f\x8b"
GZIP_FORMAT = 16 + zlib.MAX_WBITS
BLOCK = 2**18  # bytes

# Of a gzip file beyond twice its content, which deflate never makes longer by more than a thousandth: room for a name,
# zeros at the end, members of a few bytes. Without a limit a file with a hole of terabytes would be read to its end.
MAX_EMPTY = 2**22  # bytes

# Of an archive's list of members, which zipfile reads at once into objects of ten times its size. Archives of arrays
# have tens of members, of 50 to 150 bytes in the list each.
MAX_LIST = 2**20  # bytes


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The content of a plain or gzipped file, in blocks of at most ``BLOCK`` bytes.

    Raises:
        EOFError: A gzip file ends too early.
        zlib.error: It is damaged.
    """
    first = file.read(BLOCK)
    if first.startswith(GZIP):
        yield from _inflated(file, first)
    else:
        yield first
        yield from iter(functools.partial(file.read, BLOCK), b"")


def fill(content: bytearray, source: Iterator[bytes], size: int) -> None:
    """Appends blocks to ``content`` until it has ``size`` bytes or more, or there are no more blocks."""
    while len(content) < size and (block := next(source, None)) is not None:
        content += block


def _inflated(file: IO[bytes], packed: bytes) -> Iterator[bytes]:
    # Not the module gzip: it reads the zeros after the end, and a name, byte by byte.
    inflate, between, given = zlib.decompressobj(GZIP_FORMAT), False, 0
    while packed or (packed := file.read(BLOCK)):
        if file.tell() > 2 * given + MAX_EMPTY:
            raise zlib.error(f"{file.tell():,} bytes of it hold {given:,}")
        if between:  # a file may have several members, and zeros after each
            packed = packed.lstrip(b"\0")
            if not packed:
                continue
            inflate, between = zlib.decompressobj(GZIP_FORMAT), False
        block = inflate.decompress(packed, BLOCK)
        packed = inflate.unconsumed_tail
        given += len(block)
        yield block
        while not inflate.eof and not packed and block:  # what is left of it inside
            block = inflate.decompress(b"", BLOCK)
            given += len(block)
            yield block
        if inflate.eof:
            packed, between = inflate.unused_data, True
    if not between:
        raise EOFError("it ends before its end is marked")


class _LimitedReads:
    """A file for zipfile that refuses to give much at once."""

    def __init__(self, file: IO[bytes]):
        self._file, self.seek, self.tell, self.seekable = file, file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        limit = MAX_LIST if size < 0 else size
        content = self._file.read(limit + 1 if size < 0 else size) if limit <= MAX_LIST else b""
        if limit > MAX_LIST or len(content) > limit:
            raise ValueError(f"the list of an archive's members must have at most {MAX_LIST:,} bytes")
        return content


def open_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """A zip archive whose list of members has at most ``MAX_LIST`` bytes.

    Raises:
        ValueError: It has more.
        zipfile.BadZipFile: It is no archive.
    """
    return zipfile.ZipFile(_LimitedReads(file))
