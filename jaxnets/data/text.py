"""Text of files, folders, or Python's own standard library, as token numbers."""

import sysconfig
from pathlib import Path

import numpy as np

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
        ValueError: Nothing is there, or the folder holds no file.
    """
    root = Path(path).expanduser()
    if root.is_file():
        return [root]
    if not root.exists():
        raise ValueError(f"no text file or folder at {path}")
    found = (p for p in root.rglob("*") if p.is_file())
    visible = [p for p in found if not any(part.startswith(".") for part in p.relative_to(root).parts)]
    if not visible:
        raise ValueError(f"the folder {path} holds no file")
    return sorted(visible)


def read(path: str = "", unit: str = "byte", pieces: int = 4096) -> tuple[np.ndarray, Vocabulary]:
    """Reads text as token numbers.

    Args:
        path: A text file, a folder of text files, or "" for the standard library's sources.
        unit: ``"byte"``; ``"character"`` (UTF-8; the vocabulary is the characters that occur); or ``"piece"``: pieces
            of words, learned from the text by merging pairs of bytes.
        pieces: How many of them.

    Returns:
        int32 ``[N]`` and the vocabulary.

    Raises:
        ValueError: Nothing is there, nothing is in it, or it is not UTF-8 (the file and the byte are named).
    """
    if unit not in ("byte", "character", "piece"):
        raise ValueError(f"unit: byte, character or piece; given {unit!r}")
    files = files_of(path) if path else standard_library()
    contents = [_content(file) for file in files]
    if not any(contents):
        raise ValueError(f"no text in {path or 'the standard library'}: {_count(files)}, all empty")
    if unit == "byte":
        return np.frombuffer(b"".join(contents), np.uint8).astype(np.int32), Vocabulary()
    text = "".join(_decoded(file, content) for file, content in zip(files, contents, strict=True))
    if unit == "piece":
        lines = text.splitlines(keepends=True)
        vocabulary = learn_pieces(lines, pieces)
        return np.concatenate([vocabulary.encode(line) for line in lines]), vocabulary
    points, tokens = np.unique(np.frombuffer(text.encode("utf-32-le"), np.uint32), return_inverse=True)
    return tokens.astype(np.int32), Vocabulary("".join(map(chr, points)))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from error


def _decoded(file: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not UTF-8: byte {error.start} is 0x{content[error.start]:02x} ({error.reason}); "
            "read it as bytes with --config.data.unit=byte"
        ) from error


def _count(files: list[Path]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files)} files"
