"""Explanations of files in other formats than safetensors, with the code that converts them."""

import zipfile
from pathlib import Path

from jaxnets.ops.host.compressed import open_archive
from jaxnets.ops.host.files import open_regular
from jaxnets.ops.host.printable import printable
from jaxnets.weights.check import listed

TORCH = (
    "a torch file, which is a pickle and can execute code when it is loaded; if you trust it, convert it: "
    "safetensors.torch.save_file(torch.load({path!r}, weights_only=True), {new!r})"
)
PICKLE = (
    "a pickle, which can execute code when it is loaded; if you trust it, convert its dict of arrays: "
    "jaxnets.weights.write({new!r}, pickle.load(open({path!r}, 'rb')))"
)
NPZ = "a NumPy file; convert it: jaxnets.weights.write({new!r}, dict(numpy.load({path!r})))"
NPY = "a NumPy file; convert it: jaxnets.weights.write({new!r}, {{'NAME': numpy.load({path!r})}})"
KERAS = "a Keras file; load it with Keras: jaxnets.weights.from_keras(keras.saving.load_model({path!r}).layers)"
HDF5 = KERAS.replace("a Keras file", "an HDF5 file, possibly of Keras")
INDEX = "the index of a sharded file; load each shard with safetensors.numpy.load_file and pass one dict of all arrays"
MAX_REASON_LENGTH = 120  # characters of an error message of safetensors
LFS_POINTER = "a Git LFS pointer; git lfs pull downloads the file"

SIGNATURES = {
    b"\x89HDF\r\n\x1a\n": HDF5,
    b"\x93NUMPY": NPY,
    b"version https://git-lfs": LFS_POINTER,
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


def explain_error(path: Path, error: Exception) -> str:
    """Explains why ``path`` cannot be read, and how to convert it.

    Args:
        path: The file.
        error: The error raised by its reader.
    """
    if path.is_dir():
        shards = listed(sorted(each.name for each in path.glob("*.safetensors"))) or "none"
        return f"it is a folder; safetensors files in it: {shards}"
    exists = path.is_file()
    reason = (
        printable(str(error).removeprefix("Error while deserializing header: "), MAX_REASON_LENGTH)
        if exists
        else "the file does not exist"
    )
    file_format = (_format_of_content(path) if exists else None) or SUFFIXES.get(path.suffix.lower())
    if file_format is None:
        return reason
    text = file_format.format(path=printable(path), new=printable(path.with_suffix(".safetensors")))
    return f"it is {text}" if exists else f"{reason}; its suffix is that of {text}"


def _format_of_content(path: Path) -> str | None:
    try:
        with open_regular(path) as file:
            start = file.read(64)
        if start.startswith(b"PK"):
            return _format_of_zip(path)
    except (OSError, ValueError):
        return None
    return next((text for signature, text in SIGNATURES.items() if start.startswith(signature)), None)


def _format_of_zip(path: Path) -> str | None:
    """Returns the format of a zip archive, by the names of its members."""
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
