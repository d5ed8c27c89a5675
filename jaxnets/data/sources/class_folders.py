"""Folders of labeled files: discovery of splits and classes."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnets.data.checks import path_of
from jaxnets.data.formats.image_decoding import suffixes
from jaxnets.ops.host.printable import printable, valid_unicode

SPLIT_NAMES = {  # accepted names of each split, in lower case
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
KINDS_SHOWN = 5  # suffixes of skipped files, in a description


class Kind(NamedTuple):
    """A kind of files.

    Attributes:
        noun: The plural in messages.
        accepts: Whether a file is of this kind, by its name.
    """

    noun: str
    accepts: Callable[[Path], bool]


IMAGES = Kind("images", lambda path: path.suffix.lower() in suffixes())
TEXTS = Kind("text files", lambda path: path.suffix.lower() == ".txt")
FILES = Kind("files", lambda path: True)


class LabeledFiles(NamedTuple):
    """Labeled files of one split.

    Attributes:
        files: Paths, sorted within each class.
        labels: int ``[N]``, class indices.
    """

    files: list[Path]
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> "LabeledFiles":
        return LabeledFiles([self.files[i] for i in rows], self.labels[rows])


class ClassFolders(NamedTuple):
    """Contents of a root folder of class folders.

    Attributes:
        names: Names of the classes, sorted by folder name. Bytes that are not UTF-8 are escaped.
        splits: ``"train"``, and ``"validation"`` and ``"test"`` if they have folders.
        skipped: Counts of skipped entries for the description, such as
            ``"; 3 files skipped: 2 .txt, 1 hidden; 1 linked folder skipped"``.
    """

    names: tuple[str, ...]
    splits: dict[str, LabeledFiles]
    skipped: str


def scan(path: str, kind: Kind = IMAGES) -> ClassFolders:
    """Finds the classes and splits of a root folder.

    A root of class folders is one split, ``"train"``. Links to files, split folders and class folders are followed.
    Skipped and counted are files of another kind, files next to the class folders, files and folders whose
    names begin with "." (and class folders whose names begin with "__"), linked folders within a class, FIFOs and
    devices.

    Raises:
        ValueError: If there is no such folder, a folder cannot be read, there is no training split, there are fewer
            than two classes, a class has no file, or splits differ in their classes. The message names the folders.
    """
    root, shown, skipped = folder_at(path), printable(path), Skipped(Counter(), Counter())
    folders: dict[str, Path] = {}
    inside = _folders(root, skipped)
    for folder in inside:
        split = next((split for split, names in SPLIT_NAMES.items() if folder.name.lower() in names), "")
        if split in folders:
            raise ValueError(f"{shown} must have one folder for {split}, got {folders[split].name} and {folder.name}")
        if split:
            folders[split] = folder
    if folders and len(folders) == len(inside) and "train" not in folders:
        raise ValueError(f"{shown} must have a folder train, got {', '.join(folder.name for folder in inside)}")
    if folders and len(folders) < len(inside) and "train" in folders:
        others = [folder.name for folder in inside if folder not in folders.values()]
        raise ValueError(
            f"{shown} must have folders of splits or of classes, got both: {folders['train'].name} and "
            f"{_listed(others)}"
        )
    if "train" not in folders:  # class folders only; one of them may be called "test"
        folders, skipped = {"train": root}, Skipped(Counter(), Counter())
    classes_of = {split: _classes(folders[split], skipped, kind) for split in SPLIT_NAMES if split in folders}
    names = tuple(classes_of["train"])
    for split, classes in classes_of.items():
        train, other = folders["train"].name, folders[split].name
        differences = [
            f"{len(missing)} of {one} not in {another}: {_listed(missing)}"
            for one, another, missing in (
                (train, other, [name for name in names if name not in classes]),
                (other, train, [name for name in classes if name not in names]),
            )
            if missing
        ]
        if differences:
            alike = _composed(names) & _composed(classes) - _composed(set(names) & set(classes))
            hint = "; some names differ only in their Unicode normalization" if alike else ""
            raise ValueError(f"{shown} must have the same classes in all splits, got {'; '.join(differences)}{hint}")
    splits = {split: _labeled(classes.values()) for split, classes in classes_of.items()}
    return ClassFolders(tuple(map(valid_unicode, names)), splits, skipped.described())


def files_below(path: str, kind: Kind = IMAGES) -> list[Path]:
    """Returns the file at a path, or the sorted files of a kind in a folder and its subfolders.

    Raises:
        ValueError: If the folders have no files, or one cannot be read.
    """
    file = path_of(path)
    if file.is_file():
        return [file]
    found = _files(folder_at(path), Skipped(Counter(), Counter()), kind)
    if not found:
        raise ValueError(f"{printable(path)} must have {kind.noun}, got none")
    return found


def classes_below(path: str, kind: Kind = IMAGES) -> dict[str, list[Path]]:
    """Returns the files of each class folder, by class name; hidden folders are skipped.

    Raises:
        ValueError: If there is no class folder, a class folder has no file, or a folder cannot be read.
    """
    skipped = Skipped(Counter(), Counter())
    found = {valid_unicode(folder.name): _files(folder, skipped, kind) for folder in _folders(folder_at(path), skipped)}
    empty = next((name for name, files in found.items() if not files), None)
    if empty is not None or not found:
        given = "none" if empty is None else f"none in {printable(empty, 60)}"
        raise ValueError(f"{printable(path)} must have a folder of {kind.noun} for each class, got {given}")
    return found


def folder_at(path: str) -> Path:
    """Returns the folder at a path, in which "~" is expanded.

    Raises:
        ValueError: If there is no folder.
    """
    root = os.path.expanduser(os.fsdecode(path))
    if os.path.isdir(root):
        return Path(root)
    hint = " (it is a file; data.image_arrays and data.jpeg_images read npz files)" if os.path.isfile(root) else ""
    raise ValueError(f"no folder at {printable(path) or repr('')}{hint}")


class Skipped(NamedTuple):
    """Counts of skipped entries.

    Attributes:
        files: Number of files of each kind: a suffix, ``"without suffix"``, ``"hidden"``, ...
        others: Number of other entries of each kind.
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


def _labeled(classes: Iterable[list[Path]]) -> LabeledFiles:
    """Returns the files of all classes, labeled in the order of the classes."""
    groups = list(classes)
    labels = np.repeat(np.arange(len(groups)), [len(files) for files in groups])
    return LabeledFiles([file for files in groups for file in files], labels)


def _folders(folder: Path, skipped: Skipped) -> list[Path]:
    """Returns the folders of splits or classes; files next to them are skipped."""
    found = []
    for entry, kind in _entries(folder):
        if kind in ("folder", "linked folder"):
            if entry.name.startswith((".", "__")):
                skipped.others["hidden folder"] += 1
            else:
                found.append(entry)
        elif kind == "file":
            skipped.files["hidden" if entry.name.startswith(".") else "outside of class folders"] += 1
        else:
            skipped.others[kind] += 1
    return sorted(found)


def _classes(folder: Path, skipped: Skipped, kind: Kind) -> dict[str, list[Path]]:
    """Returns the files of each class folder."""
    found = {}
    for below in _folders(folder, skipped):
        in_class = Skipped(Counter(), Counter())
        found[below.name] = _files(below, in_class, kind)
        if not found[below.name]:
            raise ValueError(f"class folder {printable(below)} must have {kind.noun}, got none{in_class.described()}")
        skipped.files.update(in_class.files)
        skipped.others.update(in_class.others)
    if len(found) < 2:
        loose = sum(entry == "file" and kind.accepts(path) for path, entry in _entries(folder))
        given = (
            f"only {printable(next(iter(found)))}" if found else f"none, and {loose} {kind.noun} outside of a folder"
        )
        raise ValueError(f"{printable(folder)} must have folders for two or more classes, got {given}")
    return found


def _files(folder: Path, skipped: Skipped, accepted: Kind) -> list[Path]:
    """Returns the files of a kind in a folder and its subfolders, sorted."""
    found, pending = [], [folder]
    while pending:
        for entry, kind in _entries(pending.pop()):
            if entry.name.startswith(".") and kind in ("folder", "linked folder"):
                skipped.others["hidden folder"] += 1
            elif kind == "folder":
                pending.append(entry)
            elif kind != "file":
                skipped.others[kind] += 1
            elif entry.name.startswith("."):
                skipped.files["hidden"] += 1
            elif accepted.accepts(entry):
                found.append(entry)
            else:
                skipped.files[entry.suffix.lower() or "without suffix"] += 1
    return sorted(found)


def _entries(folder: Path) -> list[tuple[Path, str]]:
    """Returns the entries of a folder with their kinds; a link to a file counts as a file."""
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
    """Returns the names in Unicode normal form C."""
    return {unicodedata.normalize("NFC", name) for name in names}


def _listed(names: list[str]) -> str:
    shown = ", ".join(printable(name, 60) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
