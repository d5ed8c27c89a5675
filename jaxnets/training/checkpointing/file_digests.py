"""Digests of the files of a checkpoint, written when it is saved and verified before it is restored."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxnets.ops.host.files import check_tree, open_regular, read_regular

LIST = "files.json"
MAX_LIST_BYTES = 2**28  # bytes: a few million files


class TemporaryStep(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """A temporary folder for a step, which writes the list of files before it is renamed to the final folder."""

    async def finalize(self) -> None:
        final = self.get_final()
        if not final.name.isdecimal():  # an item of a step
            return await super().finalize()
        self._final_path = final.with_name(f"{self.get().name}-listed")  # still a temporary name
        await super().finalize()
        list_files(Path(self._final_path))
        self._final_path.rename(final)
        self._final_path = final


def list_files(step: Path) -> None:
    """Writes the list of files of a step: ``{"files": {path: sha256}, "sha256": digest of "files"}``."""
    files = _digests(step, _file_names(step))
    (step / LIST).write_text(json.dumps({"files": files, "sha256": sha256(files)}, indent=1))


def check_files(step: Path) -> None:
    """Verifies the files of a step. With several processes, each one verifies a share of the files.

    Raises:
        ValueError: The list or a file is missing or damaged, a file is not in the list, or the step contains something
            other than folders and regular files.
    """
    check_tree(step)
    try:
        content = json.loads(read_regular(step / LIST, MAX_LIST_BYTES, follow=False))
        files, digest = content["files"], content["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{LIST} is missing or damaged") from error
    if not isinstance(files, dict) or digest != sha256(files):
        raise ValueError(f"{LIST} is damaged")
    names = _file_names(step)  # open only these files: a manipulated list can contain any path
    for name in sorted({*files} ^ {*names}):
        raise ValueError(f"{name} is {'missing' if name in files else f'not in {LIST}'}")
    for name, digest in _digests(step, names[jax.process_index() :: jax.process_count()]).items():
        if digest != files[name]:
            raise ValueError(f"{name} differs from what was saved")


def listed_digest(step: Path) -> str:
    """Returns the digest of all files of a step from its list, which ``check_files`` must have verified."""
    return str(json.loads(read_regular(step / LIST, MAX_LIST_BYTES, follow=False))["sha256"])


def is_complete(step: Path) -> bool:
    """Returns whether all listed files of a step exist. Their content is not verified."""
    try:
        listed = json.loads(read_regular(step / LIST, MAX_LIST_BYTES, follow=False))["files"]
        return set(listed) <= set(_file_names(step))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def count_files(step: Path) -> int:
    """Returns the current number of files of a step."""
    try:
        return len(_file_names(step))
    except OSError:  # the folder has been removed
        return 0


def sha256(value: Any) -> str:
    """Returns the SHA-256 digest of a value that JSON can represent."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _file_names(step: Path) -> list[str]:
    names = (path.relative_to(step).as_posix() for path in step.rglob("*") if path.is_file())
    return sorted(name for name in names if name != LIST)


def _digests(folder: Path, names: list[str]) -> dict[str, str]:
    with ThreadPoolExecutor() as threads:  # hashlib releases the GIL
        return dict(zip(names, threads.map(lambda name: _digest(folder / name), names), strict=True))


def _digest(path: Path) -> str:
    with open_regular(path, follow=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
