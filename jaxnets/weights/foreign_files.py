"""Explanations of files that are not safetensors: what they are, and the lines that convert them."""

import zipfile
from pathlib import Path

from jaxnets.ops.compressed import open_archive
from jaxnets.ops.files import open_regular
from jaxnets.ops.printable import printable
from jaxnets.weights.check import listed

TORCH = (
    "a torch file, which is a pickle and can run code when it is read; if you trust it, convert it: "
    "safetensors.torch.save_file(torch.load({path!r}, weights_only=True), {new!r})"
)
PICKLE = (
    "a pickle, which can run code when it is read; if you trust it, convert the dict of arrays in it: "
    "jaxnets.weights.write({new!r}, pickle.load(open({path!r}, 'rb')))"
)
NPZ = "a numpy file; convert it: jaxnets.weights.write({new!r}, dict(numpy.load({path!r})))"
NPY = "a numpy file; convert it: jaxnets.weights.write({new!r}, {{'NAME': numpy.load({path!r})}})"
KERAS = "a Keras file; let Keras read it: jaxnets.weights.from_keras(keras.saving.load_model({path!r}).layers)"
HDF5 = KERAS.replace("a Keras file", "an HDF5 file, perhaps of Keras")
INDEX = "the index of a file in several parts; pass one dict of all parts, each read by safetensors.numpy.load_file"
REASON = 120  # characters of the message of another library
POINTER = "a Git LFS pointer, not the file itself; git lfs pull fetches it"

BEGINNINGS = {
    b"\x89HDF\r\n\x1a\n": HDF5,
    b"\x93NUMPY": NPY,
    b"version https://git-lfs": POINTER,
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": TORCH,  # torch before 1.6: a pickled magic number
    **{bytes([0x80, protocol]): PICKLE for protocol in range(2, 6)},
}
SUFFIXES = {
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt"), TORCH),
    **dict.fromkeys((".pkl", ".pickle"), PICKLE),
    ".npz": NPZ,
    ".npy": NPY,
    **dict.fromkeys((".h5", ".hdf5"), HDF5),
    ".keras": KERAS,
    ".json": INDEX,
}


def what_is_wrong(path: Path, error: Exception) -> str:
    """Why ``path`` is not read, and what to do; ``error`` is what its reader raised."""
    if path.is_dir():
        inside = listed(sorted(each.name for each in path.glob("*.safetensors"))) or "none"
        return f"it is a folder; safetensors files in it: {inside}"
    exists = path.is_file()
    reason = (
        printable(str(error).removeprefix("Error while deserializing header: "), REASON)
        if exists
        else "there is no such file"
    )
    kind = (_by_content(path) if exists else None) or SUFFIXES.get(path.suffix.lower())
    if kind is None:
        return reason
    text = kind.format(path=printable(path), new=printable(path.with_suffix(".safetensors")))
    return f"it is {text}" if exists else f"{reason}, and by its name it would be {text}"


def _by_content(path: Path) -> str | None:
    try:
        with open_regular(path) as file:
            start = file.read(64)
        if start.startswith(b"PK"):
            return _of_zip(path)
    except (OSError, ValueError):
        return None
    return next((kind for beginning, kind in BEGINNINGS.items() if start.startswith(beginning)), None)


def _of_zip(path: Path) -> str | None:
    """The kind of a zip archive, by the names in it alone."""
    try:
        with open_regular(path) as file, open_archive(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return None
    if any(name.endswith("data.pkl") for name in names):
        return TORCH
    if any(name.endswith(".weights.h5") for name in names):
        return KERAS
    return NPZ if names and all(name.endswith(".npy") for name in names) else None
