"""Outputs of a prediction, saved batch by batch, so that an interrupted prediction can be resumed."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets.data.formats.npz import member_names, npz_of, read_arrays
from jaxnets.ops.host.files import write_atomically


class SavedBatches:
    """A folder ``.NAME.parts`` next to the output, with one file per batch of outputs.

    Args:
        output: The final file or folder.
        identity: All that the outputs depend on. Saved batches of another identity are removed.

    Raises:
        OSError: The folder cannot be written.
    """

    def __init__(self, output: Path, identity: dict[str, Any]):
        self._folder = output.with_name(f".{output.name}.parts")
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
        saved = self._folder / "identity"
        if saved.is_file() and saved.read_text() == digest:
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        write_atomically(saved, digest)

    def __contains__(self, begin: int) -> bool:
        return self._path(begin).is_file()

    def save(self, begin: int, arrays: dict[str, np.ndarray]) -> None:
        """Writes the outputs of the batch that starts at row ``begin``, atomically."""
        write_atomically(self._path(begin), npz_of(arrays))

    def read(self, begin: int) -> dict[str, np.ndarray]:
        """Reads the outputs of the batch that starts at row ``begin``."""
        path = str(self._path(begin))
        return read_arrays(path, tuple(member_names(path)))

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, begin: int) -> Path:
        return self._folder / f"{begin:012d}.npz"
