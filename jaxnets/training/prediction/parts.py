"""Outputs of a computation row by row, kept in parts so that it goes on where it was stopped."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets.data.formats.npz import member_names, npz_of, read_arrays
from jaxnets.ops.files import write_atomically


class Parts:
    """A folder beside the output, ``.NAME.parts``, with a file for every batch of rows that is computed.

    Args:
        output: The file or folder that is made of the parts at the end.
        identity: Says all that the outputs depend on; parts of another computation are removed.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, output: Path, identity: dict[str, Any]):
        self._folder = output.with_name(f".{output.name}.parts")
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
        noted = self._folder / "identity"
        if noted.is_file() and noted.read_text() == digest:
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        write_atomically(noted, digest)

    def __contains__(self, begin: int) -> bool:
        return self._path(begin).is_file()

    def save(self, begin: int, arrays: dict[str, np.ndarray]) -> None:
        """Writes the outputs of the rows from ``begin`` on, whole or not at all."""
        write_atomically(self._path(begin), npz_of(arrays))

    def read(self, begin: int) -> dict[str, np.ndarray]:
        """The outputs of the rows from ``begin`` on."""
        path = str(self._path(begin))
        return read_arrays(path, tuple(member_names(path)))

    def remove(self) -> None:
        """Removes all parts: they are in the output."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, begin: int) -> Path:
        return self._folder / f"{begin:012d}.npz"
