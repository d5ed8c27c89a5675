"""The files of a checkpoint's step: listed with their digests as it is written, compared before it is read."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxnets.ops.files import check_tree, open_regular, read_regular

LIST = "files.json"
LARGEST_LIST = 2**28  # bytes: a few million files


class Listed(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """Where orbax writes a step before it is whole: it becomes that step by a rename, and has its list by then."""

    async def finalize(self) -> None:
        final = self.get_final()
        if not final.name.isdecimal():  # no step's: a part of one
            return await super().finalize()
        self._final_path = final.with_name(f"{self.get().name}-listed")  # still one that is not whole, by its name
        await super().finalize()
        list_files(Path(self._final_path))
        self._final_path.rename(final)
        self._final_path = final


def list_files(step: Path) -> None:
    """Writes the list of a step's folder: ``{"files": {path: sha256}, "sha256": that of the files as JSON}``."""
    files = _digests(step, _names(step))
    (step / LIST).write_text(json.dumps({"files": files, "sha256": sha256(files)}, indent=1))


def check_files(step: Path) -> None:
    """Compares a step's files with its list; each of several processes its share of them.

    Raises:
        ValueError: The list or a file is missing, is not what was written, or is there and not in the list; or
            something is not a regular file.
    """
    check_tree(step)
    try:
        read = json.loads(read_regular(step / LIST, LARGEST_LIST, follow=False))
        files, digest = read["files"], read["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{LIST} is missing or damaged") from error
    if not isinstance(files, dict) or digest != sha256(files):
        raise ValueError(f"{LIST} is damaged")
    names = _names(step)  # only these are opened: a list may name anything
    for name in sorted({*files} ^ {*names}):
        raise ValueError(f"{name} is {'missing' if name in files else f'not in {LIST}'}")
    for name, found in _digests(step, names[jax.process_index() :: jax.process_count()]).items():
        if found != files[name]:
            raise ValueError(f"{name} is not what was saved")


def listed_digest(step: Path) -> str:
    """The digest of all files of a step, from its list, which ``check_files`` has checked."""
    return str(json.loads(read_regular(step / LIST, LARGEST_LIST, follow=False))["sha256"])


def is_complete(step: Path) -> bool:
    """Whether all files that a step's list names are there, whatever they hold."""
    try:
        listed = json.loads(read_regular(step / LIST, LARGEST_LIST, follow=False))["files"]
        return set(listed) <= set(_names(step))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def count_files(step: Path) -> int:
    """How many files a step has now."""
    try:
        return len(_names(step))
    except OSError:  # its folder has gone meanwhile
        return 0


def sha256(value: Any) -> str:
    """The digest of what JSON can say."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _names(step: Path) -> list[str]:
    names = (path.relative_to(step).as_posix() for path in step.rglob("*") if path.is_file())
    return sorted(name for name in names if name != LIST)


def _digests(folder: Path, names: list[str]) -> dict[str, str]:
    with ThreadPoolExecutor() as threads:  # hashlib lets others run while it computes
        return dict(zip(names, threads.map(lambda name: _digest(folder / name), names), strict=True))


def _digest(path: Path) -> str:
    with open_regular(path, follow=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
