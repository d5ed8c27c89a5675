"""Folders of images: which folder is which part of the data, which is a class, and parts drawn where none are given."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


class Part(NamedTuple):
    """Attributes:
    files: In order.
    labels: int ``[N]``, the numbers of their classes.
    """

    files: list[Path]
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> "Part":
        return Part([self.files[i] for i in rows], self.labels[rows])


def find(path: str) -> tuple[tuple[str, ...], dict[str, Part]]:
    """The names of the classes, sorted, and the parts: ``"train"``, and ``"validation"`` and ``"test"`` where given.

    A folder of classes is one part, ``"train"``. Files and folders that begin with "." or "__" are passed over.

    Raises:
        ValueError: No folder, no part to learn from, fewer than two classes, a class without an image, or parts with
            other classes (they are named).
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise ValueError(f"no folder at {path}")
    folders: dict[str, Path] = {}
    inside = _folders(root)
    for folder in inside:
        part = next((part for part, names in PARTS.items() if folder.name.lower() in names), "")
        if part in folders:
            raise ValueError(f"{path} has two folders for {part}: {folders[part].name} and {folder.name}")
        if part:
            folders[part] = folder
    if folders and len(folders) == len(inside) and "train" not in folders:
        raise ValueError(f"{path} has {', '.join(folder.name for folder in inside)}, but no train")
    if folders and len(folders) < len(inside) and "train" in folders:
        odd = [folder.name for folder in inside if folder not in folders.values()]
        raise ValueError(
            f"{path} has {folders['train'].name} beside {_listed(odd)}: parts or classes expected, not both"
        )
    if "train" not in folders:  # its folders are classes, one of them perhaps called "test"
        folders = {"train": root}
    found = {part: _classes(folders[part]) for part in PARTS if part in folders}
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
            raise ValueError(f"class folders of {path} differ; {'; '.join(differences)}")
    return names, {part: _part(classes.values()) for part, classes in found.items()}


def _part(classes: Iterable[list[Path]]) -> Part:
    groups = list(classes)
    labels = np.repeat(np.arange(len(groups)), [len(files) for files in groups])
    return Part([file for files in groups for file in files], labels)


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if not p.name.startswith((".", "__")) and p.is_dir())


def _classes(folder: Path) -> dict[str, list[Path]]:
    found = {below.name: _images(below) for below in _folders(folder)}
    if len(found) < 2:
        only = f"there is only {next(iter(found))}" if found else f"images there without one: {len(_images(folder))}"
        raise ValueError(f"{folder}: a folder for each of two or more classes expected; {only}")
    for name, files in found.items():
        if not files:
            raise ValueError(f"class folder {folder / name} holds no image ({', '.join(SUFFIXES)} are read)")
    return found


def _images(folder: Path) -> list[Path]:
    found = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    visible = (p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))
    return sorted(p for p in visible if p.is_file())


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def split(part: Part, share: float, random: np.random.Generator, name: str) -> tuple[Part, Part]:
    """Draws a share of each class, so that at least one image of each is left: what is left, and what is drawn.

    Raises:
        ValueError: There are too few for that.
    """
    order = random.permutation(len(part.labels))
    order = order[np.argsort(part.labels[order], kind="stable")]  # class by class, each in an order drawn
    _, begins, counts = np.unique(part.labels[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(begins, counts)
    size = np.repeat(counts, counts)
    ahead = np.where(place == size - 1, np.inf, (place + random.random(len(order))) / size)
    drawn = order[np.argsort(ahead)[: round(share * len(order))]]
    if not 0 < len(drawn) <= len(order) - len(counts):
        raise ValueError(f"too few images: {len(order)} of {len(counts)} classes leave {len(drawn)} for {name}")
    return part.take(np.setdiff1d(np.arange(len(order)), drawn)), part.take(np.sort(drawn))
