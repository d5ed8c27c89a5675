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
