"""Regular files: opened so that a name that is a pipe, a device or a link can neither hang nor mislead its reader."""

import os
import stat
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: Path, follow: bool = True) -> None:
    """Raises where a path is not a regular file.

    Args:
        path: The path.
        follow: Whether it may be a symbolic link to a regular file.

    Raises:
        ValueError: It is something else, which is named.
        OSError: There is nothing, or it cannot be reached.
    """
    mode = os.stat(path, follow_symlinks=follow).st_mode
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} must be a regular file, got {KINDS[stat.S_IFMT(mode)]}")


def open_regular(path: Path, follow: bool = True) -> BufferedReader:
    """A regular file, open to be read; arguments and errors are those of ``check_regular``."""
    check_regular(path, follow)  # before it is opened: to open a device may have an effect
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    return open(path, "rb", opener=lambda name, _: os.open(name, flags))


def read_regular(path: Path, limit: int, follow: bool = True) -> bytes:
    """The content of a regular file of at most ``limit`` bytes.

    Raises:
        ValueError: It is larger, or not a regular file.
        OSError: It cannot be read.
    """
    with open_regular(path, follow) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} must have at most {limit:,} bytes, got {os.stat(path).st_size:,}")
    return content


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all, whatever happens in between; a link in its place is replaced.

    A surrogate, as in names of files that are not UTF-8, becomes ``\\udce9``, which is its form in JSON too.
    """
    fresh = path.with_name(f".{path.name}.tmp")
    fresh.unlink(missing_ok=True)  # left by a kill, or a link to something else: that would be overwritten
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    with open(fresh, "xb", opener=_create) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def open_to_append(path: Path) -> BufferedWriter:
    """A regular file, made where there is none, open to be written at its end.

    Raises:
        ValueError: It is not a regular file.
        OSError: It cannot be written.
    """
    if os.path.lexists(path):
        check_regular(path, follow=False)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return open(path, "ab", opener=lambda name, _: os.open(name, flags, 0o666))


def check_tree(folder: Path) -> None:
    """Raises a ``ValueError`` where something below a folder is neither a folder nor a regular file.

    Symbolic links count as something else. What vanishes meanwhile does not matter.
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
