"""npz files: messages for files of other formats and for missing arrays."""

import gzip
import io
import zipfile

import numpy as np
import pytest
import scipy.io

from jaxnets import data


def written(save, *arguments, **options) -> bytes:
    file = io.BytesIO()
    save(file, *arguments, **options)
    return file.getvalue()


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("table.csv", "1,2\n")
    return file.getvalue()


ARRAYS = {"x_train": np.zeros((9, 3)), "y_train": np.zeros(9), "x_test": np.zeros((2, 3)), "y_test": np.zeros(2)}
OBJECTS = {**ARRAYS, "y_test": np.array([{}, 1], object)}
FIX = r"; np.savez\(path, x_train=..., ...\) writes arrays as npz"
WRONG = {
    "CSV": (b"x,y\n1,2\n", "it is text, such as CSV" + FIX),
    "CSV, gzipped": (gzip.compress(b"x,y\n1,2\n"), "it is a gzip file" + FIX),
    "npz, gzipped": (gzip.compress(written(np.savez, **ARRAYS)), "it is a gzip file" + FIX),
    "npy": (written(np.save, np.zeros((9, 3))), "it is one array of np.save" + FIX),
    "pickled npy": (written(np.save, np.array([{}], object)), "it is one array of np.save" + FIX),
    "MATLAB": (written(scipy.io.savemat, {"x": np.zeros(3)}), "it is a MATLAB file" + FIX),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "it is an HDF5 file" + FIX),
    "empty": (b"", "it is an empty file" + FIX),
    "noise": (bytes(range(256)), "it is something else" + FIX),
    "objects": (written(np.savez, **OBJECTS), "y_test: Object arrays cannot be loaded .*; convert them with .astype"),
    "truncated": (written(np.savez, **ARRAYS)[:-40], "must be an npz file of plain arrays, got an error"),
    "other archive": (archive(), "must have the arrays x_train, y_train, x_test, y_test, got table.csv"),
    "other names": (written(np.savez, a=np.zeros(3)), "must have the arrays x_train, y_train, x_test, y_test, got a$"),
}


READERS = [data.series, data.labeled_sets, data.image_arrays]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content, message", WRONG.values(), ids=WRONG)
def test_other_files_are_rejected_with_their_format(tmp_path, reader, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        reader(str(tmp_path / "a"))


def test_missing_arrays_of_encoded_images_are_listed(tmp_path):
    (tmp_path / "a.npz").write_bytes(written(np.savez, **ARRAYS))
    with pytest.raises(ValueError, match="must have the arrays jpg_train, off_train, jpg_test, off_test, got x_train"):
        data.jpeg_images(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("reader", [*READERS, data.jpeg_images])
def test_folders_and_missing_files_are_rejected(tmp_path, reader):
    with pytest.raises(ValueError, match="must be an npz file, got a folder"):
        reader(str(tmp_path))
    with pytest.raises(ValueError, match="nowhere must be an npz file, got no such file"):
        reader(str(tmp_path / "nowhere"))
