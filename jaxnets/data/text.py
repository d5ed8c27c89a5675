"""Text of files, folders, or Python's own standard library, as token numbers."""

import os
import sysconfig
from pathlib import Path

import numpy as np

from jaxnets.data.checks import path_of
from jaxnets.data.encodings import decode_text
from jaxnets.data.vocabulary import Vocabulary, learn_pieces

_NOT_SOURCES = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


def standard_library() -> list[Path]:
    """The sources of Python's standard library, sorted, without tests and installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    found = (path for path in root.rglob("*.py") if not _NOT_SOURCES.intersection(path.relative_to(root).parts))
    return sorted(filter(Path.is_file, found), key=lambda path: path.relative_to(root).as_posix())


def files_of(path: str) -> list[Path]:
    """The file at ``path``, or the files below the folder at ``path`` in order, hidden ones left out.

    Raises:
        ValueError: Nothing is there, the folder holds no file, or a folder below it cannot be read.
    """
    root = path_of(path)
    if root.is_file():
        return [root]
    if not root.exists():
        raise ValueError(f"no text file or folder at {path}")
    if not root.is_dir():
        raise ValueError(f"{path} must be a text file or a folder of text files, got neither a file nor a folder")

    def unreadable(error: OSError) -> None:
        raise ValueError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    found: list[Path] = []
    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    files = sorted(filter(Path.is_file, found))
    if not files:
        raise ValueError(f"the folder {path} holds no file")
    return files


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
        ValueError: Nothing is there, nothing is in it, or it cannot be decoded (the file and the byte are named).
    """
    texts, vocabulary = read_files(path, unit, pieces)
    return np.concatenate(texts), vocabulary


def read_files(path: str = "", unit: str = "byte", pieces: int = 4096) -> tuple[list[np.ndarray], Vocabulary]:
    """As ``read``, the tokens of each file apart."""
    if unit not in ("byte", "character", "piece"):
        raise ValueError(f"unit: byte, character or piece; given {unit!r}")
    files = files_of(path) if path else standard_library()
    contents = [_content(file) for file in files]
    texts: list[str] = []
    if unit != "byte":
        fix = "convert it to UTF-8, or read it as bytes with --config.data.unit=byte"
        texts = [decode_text(content, file, fix) for file, content in zip(files, contents, strict=True)]
    if not any(texts or contents):
        raise ValueError(f"no text in {path or 'the standard library'}: {_count(files)}, all empty")
    if unit == "byte":
        return [np.frombuffer(content, np.uint8).astype(np.int32) for content in contents], Vocabulary()
    if unit == "piece":
        lines = [text.splitlines(keepends=True) for text in texts]
        vocabulary = learn_pieces((line for each in lines for line in each), pieces, by_line=True)
        # Line by line, which is what the vocabulary does with a whole text: a large text's encoding takes much memory.
        return [np.concatenate([vocabulary.encode(""), *map(vocabulary.encode, each)]) for each in lines], vocabulary
    points, tokens = np.unique(np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32), return_inverse=True)
    ends = np.cumsum([len(text) for text in texts])
    return np.split(tokens.astype(np.int32), ends[:-1]), Vocabulary("".join(map(chr, points)))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from error


def _count(files: list[Path]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files)} files"
