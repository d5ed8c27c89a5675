"""Folders of images: which folder is which part of the data, which is a class, and parts drawn where none are given."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnets.data.checks import path_of
from jaxnets.data.formats.image_decoding import suffixes
from jaxnets.data.sources.parts import draw_by_class
from jaxnets.ops.printable import printable, valid_unicode

PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
KINDS_SHOWN = 5  # suffixes of skipped files in a description


class Part(NamedTuple):
    """Attributes:
    files: In order.
    labels: int ``[N]``, the numbers of their classes.
    """

    files: list[Path]
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> "Part":
        return Part([self.files[i] for i in rows], self.labels[rows])


class Found(NamedTuple):
    """Attributes:
    names: Of the classes, sorted by the names of their folders; bytes that are not UTF-8 are escaped.
    parts: ``"train"``, and ``"validation"`` and ``"test"`` where given.
    skipped: What was not read, for a description: ``"; 3 files skipped: 2 .txt, 1 hidden; 1 linked folder skipped"``.
    """

    names: tuple[str, ...]
    parts: dict[str, Part]
    skipped: str


def find(path: str) -> Found:
    """The classes, the parts and what is skipped.

    A folder of classes is one part, ``"train"``. Links to files, and to folders of parts and classes, are followed.
    Skipped and counted are files without a suffix of an image, files beside the folders of classes, files and folders
    that begin with "." (and folders of classes with "__"), linked folders within a class, FIFOs and devices.

    Raises:
        ValueError: No folder, one that cannot be read (it is named), no part to learn from, fewer than two classes, a
            class without an image, or parts with other classes (they are named).
    """
    root, shown, skipped = folder_at(path), printable(path), Skipped(Counter(), Counter())
    folders: dict[str, Path] = {}
    inside = _folders(root, skipped)
    for folder in inside:
        part = next((part for part, names in PARTS.items() if folder.name.lower() in names), "")
        if part in folders:
            raise ValueError(f"{shown} has two folders for {part}: {folders[part].name} and {folder.name}")
        if part:
            folders[part] = folder
    if folders and len(folders) == len(inside) and "train" not in folders:
        raise ValueError(f"{shown} has {', '.join(folder.name for folder in inside)}, but no train")
    if folders and len(folders) < len(inside) and "train" in folders:
        odd = [folder.name for folder in inside if folder not in folders.values()]
        raise ValueError(
            f"{shown} has {folders['train'].name} beside {_listed(odd)}: parts or classes expected, not both"
        )
    if "train" not in folders:  # its folders are classes, one of them perhaps called "test"
        folders, skipped = {"train": root}, Skipped(Counter(), Counter())
    found = {part: _classes(folders[part], skipped) for part in PARTS if part in folders}
    names = tuple(found["train"])
    for part, classes in found.items():
        here, there = folders["train"].name, folders[part].name
        differences = [
            f"{len(lacking)} of {one} not in {other}: {_listed(lacking)}"
            for one, other, lacking in (
                (here, there, [name for name in names if name not in classes]),
                (there, here, [name for name in classes if name not in names]),
            )
            if lacking
        ]
        if differences:
            alike = _composed(names) & _composed(classes) - _composed(set(names) & set(classes))
            because = "; some are the same text in other Unicode normal forms" if alike else ""
            raise ValueError(f"class folders of {shown} differ; {'; '.join(differences)}{because}")
    parts = {part: _part(classes.values()) for part, classes in found.items()}
    return Found(tuple(map(valid_unicode, names)), parts, skipped.described())


def files_below(path: str) -> list[Path]:
    """The files of images in a folder and the folders in it, in order, or the only one at a path.

    Raises:
        ValueError: There is none, or a folder cannot be read.
    """
    file = path_of(path)
    if file.is_file():
        return [file]
    found = _images(folder_at(path), Skipped(Counter(), Counter()))
    if not found:
        raise ValueError(f"{printable(path)} must hold images, got none")
    return found


def classes_below(path: str) -> dict[str, list[Path]]:
    """The files of images in each folder of a class, by its name; without hidden folders.

    Raises:
        ValueError: There is no folder of a class, one holds no image, or one cannot be read.
    """
    skipped = Skipped(Counter(), Counter())
    found = {valid_unicode(folder.name): _images(folder, skipped) for folder in _folders(folder_at(path), skipped)}
    empty = next((name for name, files in found.items() if not files), None)
    if empty is not None or not found:
        given = "none" if empty is None else f"none in {printable(empty, 60)}"
        raise ValueError(f"{printable(path)} must hold a folder of images for each class, got {given}")
    return found


def folder_at(path: str) -> Path:
    """The folder at a path that may begin with "~".

    Raises:
        ValueError: There is none.
    """
    root = os.path.expanduser(os.fsdecode(path))
    if os.path.isdir(root):
        return Path(root)
    because = (
        " (a file is there; data.image_arrays and data.jpeg_images read npz files)" if os.path.isfile(root) else ""
    )
    raise ValueError(f"no folder at {printable(path) or repr('')}{because}")


class Skipped(NamedTuple):
    """Attributes:
    files: How many of each kind: a suffix, ``"without suffix"``, ...
    others: How many of each kind.
    """

    files: Counter
    others: Counter

    def described(self) -> str:
        kinds = self.files.most_common()
        shown = [f"{count:,} {printable(kind, 30)}" for kind, count in kinds[:KINDS_SHOWN]]
        if rest := kinds[KINDS_SHOWN:]:
            shown.append(f"{sum(count for _, count in rest):,} of {len(rest)} other kinds")
        total = self.files.total()
        text = f"; {total:,} file{'s' * (total != 1)} skipped: {', '.join(shown)}" if total else ""
        for kind, count in sorted(self.others.items()):
            text += f"; {count:,} {kind}{'s' * (count != 1)} skipped"
        return text


def _part(classes: Iterable[list[Path]]) -> Part:
    groups = list(classes)
    labels = np.repeat(np.arange(len(groups)), [len(files) for files in groups])
    return Part([file for files in groups for file in files], labels)


def _folders(folder: Path, skipped: Skipped) -> list[Path]:
    """Those that are parts or classes; files beside them are skipped."""
    found = []
    for entry, kind in _entries(folder):
        if kind in ("folder", "linked folder"):
            if entry.name.startswith((".", "__")):
                skipped.others["hidden folder"] += 1
            else:
                found.append(entry)
        elif kind == "file":
            skipped.files["hidden" if entry.name.startswith(".") else "beside the classes"] += 1
        else:
            skipped.others[kind] += 1
    return sorted(found)


def _classes(folder: Path, skipped: Skipped) -> dict[str, list[Path]]:
    found = {}
    for below in _folders(folder, skipped):
        here = Skipped(Counter(), Counter())
        found[below.name] = _images(below, here)
        if not found[below.name]:
            raise ValueError(f"class folder {printable(below)} holds no image{here.described()}")
        skipped.files.update(here.files)
        skipped.others.update(here.others)
    if len(found) < 2:
        loose = sum(kind == "file" and _is_image(path) for path, kind in _entries(folder))
        only = f"there is only {printable(next(iter(found)))}" if found else f"images there without one: {loose}"
        raise ValueError(f"{printable(folder)}: a folder for each of two or more classes expected; {only}")
    return found


def _images(folder: Path, skipped: Skipped) -> list[Path]:
    """Those in a folder and the folders in it, in order."""
    found, left = [], [folder]
    while left:
        for entry, kind in _entries(left.pop()):
            if entry.name.startswith(".") and kind in ("folder", "linked folder"):
                skipped.others["hidden folder"] += 1
            elif kind == "folder":
                left.append(entry)
            elif kind != "file":
                skipped.others[kind] += 1
            elif entry.name.startswith("."):
                skipped.files["hidden"] += 1
            elif _is_image(entry):
                found.append(entry)
            else:
                skipped.files[entry.suffix.lower() or "without suffix"] += 1
    return sorted(found)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in suffixes()


def _entries(folder: Path) -> list[tuple[Path, str]]:
    """The entries of a folder, each with its kind; links to files are files."""
    try:
        with os.scandir(folder) as entries:
            return [(Path(entry.path), _kind(entry)) for entry in entries]
    except OSError as error:
        raise ValueError(f"cannot read folder {printable(folder)}: {error.strerror or error}") from error


def _kind(entry: os.DirEntry) -> str:
    linked = entry.is_symlink()
    try:
        mode = entry.stat().st_mode if linked or not entry.is_file(follow_symlinks=False) else stat.S_IFREG
    except OSError:
        return "broken link" if linked else "unknown entry"
    if stat.S_ISDIR(mode):
        return "linked folder" if linked else "folder"
    return "file" if stat.S_ISREG(mode) else "special file"


def _composed(names: Iterable[str]) -> set[str]:
    return {unicodedata.normalize("NFC", name) for name in names}


def _listed(names: list[str]) -> str:
    shown = ", ".join(printable(name, 60) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def split(part: Part, share: float, random: np.random.Generator, name: str) -> tuple[Part, Part]:
    """Draws a share of each class, so that at least one image of each is left: what is left, and what is drawn.

    Raises:
        ValueError: There are too few for that.
    """
    drawn, classes = draw_by_class(part.labels, share, random), len(np.unique(part.labels))
    if not 0 < len(drawn) <= len(part.labels) - classes:
        raise ValueError(f"too few images: {len(part.labels)} of {classes} classes leave {len(drawn)} for {name}")
    return part.take(np.setdiff1d(np.arange(len(part.labels)), drawn)), part.take(drawn)
