"""Text of files, folders, or Python's own standard library, as token numbers."""

import os
import stat
import sysconfig
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnets.data.checks import one_line_errors, open_data, path_of, size_of
from jaxnets.data.encodings import decode_text
from jaxnets.data.vocabulary import Vocabulary, learn_pieces
from jaxnets.ops.files import FILE_TYPES
from jaxnets.ops.memory import check_memory
from jaxnets.ops.printable import printable

BYTES_IN_MEMORY = 5  # for each byte of a text, which is held beside its token, an int32
CODE_POINTS = 0x110000  # of Unicode
_NOT_SOURCES = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


def standard_library() -> list[Path]:
    """The sources of Python's standard library, sorted, without tests and installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    found = (path for path in root.rglob("*.py") if not _NOT_SOURCES.intersection(path.relative_to(root).parts))
    return sorted(filter(Path.is_file, found), key=lambda path: path.relative_to(root).as_posix())


class Found(NamedTuple):
    """Attributes:
    files: In order.
    skipped: What was not read, for a description: ``"; 1 named pipe skipped; 2 hidden files skipped"``.
    """

    files: list[Path]
    skipped: str = ""


@one_line_errors
def find(path: str) -> Found:
    """The file at ``path``, or the files below the folder at ``path`` in order.

    Skipped and counted are files and folders that begin with ".", links to folders, and what is not a regular file:
    broken links, named pipes, sockets, devices.

    Raises:
        ValueError: Nothing is there, the folder holds no file, or it or a folder below it cannot be read.
    """
    root = path_of(path)
    if root.is_file():
        return Found([root])
    if not root.exists():
        raise ValueError(f"no text file or folder at {printable(path)}")
    if not root.is_dir():
        raise ValueError(
            f"{printable(path)} must be a text file or a folder of text files, got neither a file nor a folder"
        )

    def unreadable(error: OSError) -> None:
        raise ValueError(f"cannot read the folder {printable(error.filename)}: {error.strerror}") from error

    found: list[Path] = []
    skipped: Counter[str] = Counter()
    for folder, folders, names in os.walk(root, onerror=unreadable):
        kinds = {name: _kind(Path(folder, name)) for name in (*folders, *names)}
        folders[:] = [name for name in folders if kinds[name] == "folder"]
        found += [Path(folder, name) for name in names if kinds[name] == "file"]
        skipped.update(kind for kind in kinds.values() if kind not in ("file", "folder"))
    if not found:
        raise ValueError(f"the folder {printable(path)} holds no file{_described(skipped)}")
    return Found(sorted(found), _described(skipped))


def _kind(path: Path) -> str:
    """What a name in a folder is; a link to a file counts as one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            return "broken link"
        raise ValueError(f"cannot read {printable(path)}: {error.strerror}") from error
    kind = "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else FILE_TYPES[stat.S_IFMT(mode)]
    kind = kind.removeprefix("a ")
    if path.name.startswith(".") and kind in ("file", "folder"):
        return f"hidden {kind}"
    return "link to a folder" if kind == "folder" and path.is_symlink() else kind


def _described(skipped: Counter[str]) -> str:
    plural = {"link to a folder": "links to folders"}
    return "".join(
        f"; {count:,} {kind if count == 1 else plural.get(kind, kind + 's')} skipped"
        for kind, count in sorted(skipped.items())
    )


def read(path: str = "", unit: str = "byte", pieces: int = 4096) -> tuple[np.ndarray, Vocabulary]:
    """Reads text as token numbers: that of all files, one after the other.

    Bytes are those of the files, whatever they are. For characters and pieces the files are decoded: UTF-8, or UTF-16
    or UTF-32 with a byte order mark; the marks are removed. Line ends are kept as they are in the file (LF, CRLF or
    CR), whatever the unit: ``vocabulary.encode`` gives the same tokens for the same text, and ``vocabulary.decode``
    gives it back.

    Args:
        path: A text file, a folder of text files, or "" for the standard library's sources.
        unit: ``"byte"``; ``"character"`` (the vocabulary is the characters that occur); or ``"piece"``: pieces of
            words, learned from the text by merging pairs of bytes.
        pieces: How many of them.

    Returns:
        int32 ``[N]`` and the vocabulary.

    Raises:
        ValueError: Nothing is there, nothing is in it, it is larger than memory, it is not a regular file, or it cannot
            be decoded (the file and the byte are named).
    """
    texts, vocabulary, _ = read_files(path, unit, pieces)
    return np.concatenate(texts), vocabulary


@one_line_errors
def read_files(path: str = "", unit: str = "byte", pieces: int = 4096) -> tuple[list[np.ndarray], Vocabulary, str]:
    """As ``read``, the tokens of each file apart; the third is what was skipped, for a description."""
    if unit not in ("byte", "character", "piece"):
        raise ValueError(f"unit: byte, character or piece; given {unit!r}")
    files, skipped = find(path) if path else Found(standard_library())
    check_memory(printable(path), BYTES_IN_MEMORY * sum(file.stat().st_size for file in files))
    contents = [_content(file) for file in files]
    texts: list[str] = []
    if unit != "byte":
        fix = "convert it to UTF-8, or read it as bytes with --config.data.unit=byte"
        texts = [decode_text(content, file, fix) for file, content in zip(files, contents, strict=True)]
    if not any(texts or contents):
        raise ValueError(f"no text in {path or 'the standard library'}: {_count(files)}, all empty")
    if unit == "byte":
        return [np.frombuffer(content, np.uint8).astype(np.int32) for content in contents], Vocabulary(), skipped
    contents.clear()
    if unit == "piece":
        vocabulary = learn_pieces(texts, pieces, by_line=True)
        return [vocabulary.encode(text) for text in texts], vocabulary, skipped
    known = np.zeros(CODE_POINTS, bool)
    for text in texts:
        known[_code_points(text)] = True
    number = (np.cumsum(known) - 1).astype(np.int32)
    vocabulary = Vocabulary("".join(map(chr, np.flatnonzero(known))))
    return [number[_code_points(text)] for text in texts], vocabulary, skipped


@one_line_errors
def text_of(path: str, unit: str = "character") -> str:
    """The text of a file, to be encoded by a ``Vocabulary`` of this unit.

    It is decoded as ``read`` does. Where the units are bytes, those that are not UTF-8 are kept (``surrogateescape``).

    Raises:
        ValueError: It cannot be read or decoded, or is larger than memory.
    """
    content = _content(path_of(path))
    if unit == "byte":
        return content.decode("utf-8", "surrogateescape")
    return decode_text(content, printable(path), "convert it to UTF-8")


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _content(file: Path) -> bytes:
    with open_data(file) as opened:
        try:
            check_memory(printable(file), BYTES_IN_MEMORY * size_of(opened))
            return opened.read()
        except OSError as error:
            raise ValueError(f"cannot read {printable(file)}: {error.strerror}") from error


def _count(files: list[Path]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files)} files"
