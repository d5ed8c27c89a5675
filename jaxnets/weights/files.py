"""Nested dicts of arrays as safetensors files, a format that holds numbers and nothing that could be executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file


def write(path: str | Path, tree: Mapping[str, Any]) -> None:
    """Writes a nested dict of arrays; the names of a leaf are joined with dots."""
    flat = {
        ".".join(str(entry.key) for entry in names): np.asarray(leaf, order="C")
        for names, leaf in jax.tree.leaves_with_path(dict(tree))
    }
    save_file(flat, path)


def read(path: str | Path) -> dict[str, Any]:
    """The nested dict of arrays that ``write`` wrote.

    Raises:
        ValueError: The file is missing or is no safetensors file.
    """
    tree: dict[str, Any] = {}
    for name, value in read_flat(path).items():
        *parents, last = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def read_flat(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file under their full names."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}") from error


def read_state(state_dict: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    """A state dict as it is given, or that of a safetensors file.

    Raises:
        ValueError: It is neither (a torch module, perhaps), or the file cannot be read.
    """
    if isinstance(state_dict, (str, Path)):
        return read_flat(state_dict)
    if not isinstance(state_dict, Mapping):
        given = type(state_dict).__name__
        raise ValueError(f"a state dict or the path of a safetensors file expected; given {given}")
    return state_dict
