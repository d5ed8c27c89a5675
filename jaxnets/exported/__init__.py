"""Loader of models that ``jaxnets.export`` has written. It needs jax, and no other part of jaxnets.

    from load import load

    model = load("FOLDER")
    outputs = model(inputs)  # or model(inputs, lengths=lengths), ...; model.about lists the arrays
    outputs = model(**model.encode(["a text", "another text"]))  # for a classifier of texts

A model that generates token by token also has:

    carry = model.begin(batch=1)  # for a translation model: model.begin(source, lengths=lengths)
    carry, logits = model.step(carry, token)

jax deserializes functions with the ``flatbuffers`` package, which an export contains. Nothing is unpickled.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from .arrays import REST
from .files import MAX_JSON_BYTES, check_about, read, read_function, read_safetensors, read_verified, short
from .model import Model

__all__ = ["FUNCTIONS", "MAX_JSON_BYTES", "REST", "Model", "load", "read_safetensors"]

FUNCTIONS = ("forward", "begin", "step")


def load(folder: str | Path) -> Model:
    """Loads a model from a folder that ``python -m jaxnets.export`` has written.

    Raises:
        ValueError: The folder has no model, a file is missing or damaged, or this version of jax cannot deserialize the
            functions.
        ImportError: ``flatbuffers`` is neither in the export nor installed.
    """
    folder = Path(folder)
    if not os.path.lexists(folder / "model.json"):
        raise ValueError(f"no exported model in {folder}: it has no model.json")
    content = read(folder / "model.json", MAX_JSON_BYTES)
    try:
        about = json.loads(content)
        check_about(about)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder / 'model.json'} is damaged: {short(error)}") from error
    names = [name for name in FUNCTIONS if name in about["functions"]]
    expected = {weight["name"]: weight for weight in about["weights"]}
    path = folder / "weights.safetensors"
    weights = read_safetensors(path, read_verified(path, about))
    found = {name: {"name": name, "shape": list(a.shape), "dtype": str(a.dtype)} for name, a in weights.items()}
    wrong = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    if wrong:
        raise ValueError(f"{path}: {short(min(wrong))} does not match model.json")
    functions: dict[str, Callable] = {
        name: jax.jit(read_function(folder / f"{name}.jax_export", about)) for name in names
    }
    return Model(about, {name: jnp.asarray(weights[name]) for name in expected}, functions)
