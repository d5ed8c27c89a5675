"""Regular files: readers and writers that neither block on pipes or devices nor follow unwanted links."""

import os
import stat
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path

FILE_TYPES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: Path, follow: bool = True) -> None:
    """Raises unless a path is a regular file.

    Args:
        path: The path.
        follow: Whether to accept a symbolic link to a regular file.

    Raises:
        ValueError: The path is of another type.
        OSError: The path does not exist or is not accessible.
    """
    mode = os.stat(path, follow_symlinks=follow).st_mode
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} must be a regular file, got {FILE_TYPES[stat.S_IFMT(mode)]}")


def open_regular(path: Path, follow: bool = True) -> BufferedReader:
    """Opens a regular file for reading; arguments and errors as in ``check_regular``."""
    check_regular(path, follow)  # first, because opening a device can have side effects
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    return open(path, "rb", opener=lambda name, _: os.open(name, flags))


def read_regular(path: Path, limit: int, follow: bool = True) -> bytes:
    """Returns the content of a regular file of at most ``limit`` bytes.

    Raises:
        ValueError: The file is larger or not a regular file.
        OSError: The file cannot be read.
    """
    with open_regular(path, follow) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} must have at most {limit:,} bytes, got {os.stat(path).st_size:,}")
    return content


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file completely or not at all; a symbolic link at ``path`` is replaced.

    Surrogates, which stand for bytes of file names that are not UTF-8, are escaped as ``\\udce9``, as in JSON.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # left by a killed process, or a link whose target would be overwritten
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    with open(temporary, "xb", opener=_create) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def open_for_append(path: Path) -> BufferedWriter:
    """Opens a regular file for appending, and creates it if necessary.

    Raises:
        ValueError: The path is not a regular file.
        OSError: The file cannot be written.
    """
    if os.path.lexists(path):
        check_regular(path, follow=False)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return open(path, "ab", opener=lambda name, _: os.open(name, flags, 0o666))


def check_tree(folder: Path) -> None:
    """Raises a ``ValueError`` unless a folder contains only folders and regular files, at any depth.

    Symbolic links are refused. Files that are deleted during the check are ignored.
    """
    for entry in _walk(folder):
        if not entry.is_dir(follow_symlinks=False):
            try:
                check_regular(Path(entry.path), follow=False)
            except FileNotFoundError:
                continue


def _walk(folder: Path) -> Iterator[os.DirEntry]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def _create(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
