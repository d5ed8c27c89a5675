"""Text files, folders of them, or the standard library of Python, as token ids."""

import os
import stat
import sysconfig
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnets.data.checks import one_line_errors, open_data, path_of, size_of
from jaxnets.data.encodings import decode_text
from jaxnets.data.tokens.vocabulary import Vocabulary, learn_pieces
from jaxnets.ops.host.files import FILE_TYPES
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable

BYTES_IN_MEMORY = 5  # per byte of text, which is in memory together with its int32 token
CODE_POINTS = 0x110000  # of Unicode
_NOT_SOURCES = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


def standard_library() -> list[Path]:
    """Returns the source files of the standard library, sorted, without tests and installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    found = (path for path in root.rglob("*.py") if not _NOT_SOURCES.intersection(path.relative_to(root).parts))
    return sorted(filter(Path.is_file, found), key=lambda path: path.relative_to(root).as_posix())


class Found(NamedTuple):
    """Files to read.

    Attributes:
        files: The sorted files.
        skipped: A description of skipped ones, such as ``"; 1 named pipe skipped; 2 hidden files skipped"``.
    """

    files: list[Path]
    skipped: str = ""


@one_line_errors
def find(path: str) -> Found:
    """Returns the file ``path``, or the sorted files in the folder ``path`` and its subfolders.

    Names that begin with ".", links to folders, and everything that is not a regular file (broken links, named pipes,
    sockets, devices) are skipped and counted.

    Raises:
        ValueError: The path does not exist, the folder has no files, or a folder cannot be read.
    """
    root = path_of(path)
    if root.is_file():
        return Found([root])
    if not root.exists():
        raise ValueError(f"{printable(path)} must be a text file or a folder of text files, got no such path")
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
        raise ValueError(f"the folder {printable(path)} must contain text files, got none{_described(skipped)}")
    return Found(sorted(found), _described(skipped))


def _kind(path: Path) -> str:
    """Returns the kind of a folder entry; a link to a file is a file."""
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
    """Reads text files as one sequence of token ids.

    Bytes are read unchanged. For characters and subword units, files are decoded as UTF-8, or as UTF-16 or UTF-32 with
    a byte order mark, which is removed. Line ends (LF, CRLF or CR) are preserved. ``vocabulary.encode`` gives the same
    tokens for the same text, and ``vocabulary.decode`` is its inverse.

    Args:
        path: A text file, a folder of text files, or "" for the sources of the standard library.
        unit: ``"byte"``, ``"character"`` (the vocabulary consists of the characters in the text), or ``"piece"``
            (subword units, trained on the text by byte pair encoding).
        pieces: The number of subword units.

    Returns:
        Token ids int32 ``[N]``, and the vocabulary.

    Raises:
        ValueError: The path does not exist, is empty, is not regular, does not fit into memory, or cannot be decoded.
    """
    texts, vocabulary, _ = read_files(path, unit, pieces)
    return np.concatenate(texts), vocabulary


@one_line_errors
def read_files(path: str = "", unit: str = "byte", pieces: int = 4096) -> tuple[list[np.ndarray], Vocabulary, str]:
    """Reads text files like ``read``, and returns the tokens of each file and a description of skipped files."""
    if unit not in ("byte", "character", "piece"):
        raise ValueError(f"`unit` must be byte, character or piece, got {unit!r}")
    files, skipped = find(path) if path else Found(standard_library())
    check_memory(printable(path), BYTES_IN_MEMORY * sum(file.stat().st_size for file in files))
    contents = [_content(file) for file in files]
    texts: list[str] = []
    if unit != "byte":
        fix = "convert it to UTF-8, or read it as bytes with --config.data.unit=byte"
        texts = [decode_text(content, file, fix) for file, content in zip(files, contents, strict=True)]
    if not any(texts or contents):
        raise ValueError(f"{path or 'the standard library'} must contain text, got {_count(files)}, all empty")
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
    """Reads the text of a file, for ``Vocabulary.encode``.

    The file is decoded as in ``read``. For the unit ``"byte"``, bytes that are not UTF-8 are preserved
    (``surrogateescape``).

    Raises:
        ValueError: The file cannot be read or decoded, or does not fit into memory.
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
