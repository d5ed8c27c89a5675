"""Runs a model that ``jaxnets.export`` wrote, with jax alone: these files need no others of jaxnets.

    from load import load

    model = load("FOLDER")
    answers = model(inputs)  # or model(inputs, lengths=lengths), ...: what model.about says it reads

and, where it writes token by token:

    carry = model.begin(batch=1)  # a translator: model.begin(source, lengths=lengths)
    carry, logits = model.step(carry, token)

jax reads functions with the ``flatbuffers`` package, which lies beside this folder. Nothing is unpickled.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from .arrays import REST
from .files import LARGEST, check_about, function, read, read_safetensors, short, whole
from .model import Model

__all__ = ["FUNCTIONS", "LARGEST", "REST", "Model", "load", "read_safetensors"]

FUNCTIONS = ("forward", "begin", "step")


def load(folder: str | Path) -> Model:
    """The model in a folder that ``python -m jaxnets.export`` wrote.

    Raises:
        ValueError: There is none, a file of it is missing or damaged, or this jax cannot read its functions.
        ImportError: This file was copied without ``flatbuffers``, and that is not installed.
    """
    folder = Path(folder)
    if not os.path.lexists(folder / "model.json"):
        raise ValueError(f"no exported model in {folder}: no model.json there")
    content = read(folder / "model.json", LARGEST)
    try:
        about = json.loads(content)
        check_about(about)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder / 'model.json'} is damaged: {short(error)}") from error
    names = [name for name in FUNCTIONS if name in about["functions"]]
    expected = {weight["name"]: weight for weight in about["weights"]}
    path = folder / "weights.safetensors"
    weights = read_safetensors(path, whole(path, about))
    found = {name: {"name": name, "shape": list(a.shape), "dtype": str(a.dtype)} for name, a in weights.items()}
    wrong = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    if wrong:
        raise ValueError(f"{path}: {short(min(wrong))} is not what model.json says")
    functions: dict[str, Callable] = {name: jax.jit(function(folder / f"{name}.jax_export", about)) for name in names}
    return Model(about, {name: jnp.asarray(weights[name]) for name in expected}, functions)
