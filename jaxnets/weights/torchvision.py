"""Weights of the convolutional models from and to torchvision, batch statistics included.

A kernel ``[height, width, in, out]`` is torch's ``weight [out, in, height, width]``, a dense one its transpose, a
norm's ``scale`` its ``weight``. torch's ``num_batches_tracked`` says nothing that a model here needs: it is not read,
and written as 0.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxnets.weights.check import as_array, compare
from jaxnets.weights.files import read_state
from jaxnets.weights.torchvision_names import NAMES, Rules

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
    "layer_scale": "layer_scale",
}
COUNTER = "num_batches_tracked"
IMAGES = (1, 224, 224, 3)


def from_torchvision(
    state_dict: Mapping[str, Any] | str | Path, model: nn.Module, images: Sequence[int] = IMAGES
) -> dict[str, Any]:
    """The variables of a model of ``jaxnets.convolution`` for the weights of its counterpart in torchvision.

    Args:
        state_dict: Of the torch module, as tensors or arrays, or the path of a safetensors file.
        model: Ours, such as ``convolution.resnet50()``.
        images: Shape of what it will be given, ``[B, H, W, C]``: of matter where a layer depends on it.

    Returns:
        ``{"params": ..., "batch_stats": ...}``, float32; without ``batch_stats`` where the model has none.

    Raises:
        ValueError: Keys are missing, extra or misshapen (all are listed), such as those of another depth; torchvision
            has no such model; or the file cannot be read.
    """
    rules = _rules(model)
    source = read_state(state_dict)
    found = {key: as_array(value) for key, value in source.items() if not key.endswith(COUNTER)}
    ours = _shapes(model, images)
    theirs = {path: name_of(rules, path) for path in ours}
    expected = {theirs[path]: _to_theirs(path, np.empty(leaf.shape, np.bool_)).shape for path, leaf in ours.items()}
    compare(found, expected, f"weights of torchvision for {type(model).__name__}")
    return unflatten_dict(
        {
            path: _to_ours(path, found[theirs[path]].astype(np.float32)).reshape(leaf.shape)
            for path, leaf in ours.items()
        }
    )


def to_torchvision(variables: Mapping[str, Any], model: nn.Module) -> dict[str, np.ndarray]:
    """The state dict of torchvision's counterpart: the inverse of ``from_torchvision``.

    Raises:
        ValueError: torchvision has no such model, or the variables are of another one (what only one has is listed).
    """
    rules = _rules(model)
    ours = flatten_dict(dict(variables))
    odd = sorted("/".join(path) for path in ours.keys() ^ _shapes(model).keys())  # not shapes: they depend on images
    if odd:
        raise ValueError(f"variables of another model than this {type(model).__name__}: {', '.join(odd)}")
    state: dict[str, np.ndarray] = {}
    for path, leaf in ours.items():
        name = name_of(rules, path)
        state[name] = np.ascontiguousarray(_to_theirs(path, np.asarray(leaf)))
        if path[-1] == "var":
            state[f"{name.removesuffix(LEAVES['var'])}{COUNTER}"] = np.zeros((), np.int64)
    return state


def _shapes(model: nn.Module, images: Sequence[int] = IMAGES) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    return flatten_dict(jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(tuple(images)))))


def _rules(model: nn.Module) -> Rules:
    kind = type(model).__name__
    if kind not in NAMES:
        raise ValueError(f"torchvision has no {kind}; it has the models of {', '.join(NAMES)}")
    return NAMES[kind](model)


def name_of(rules: Rules, path: tuple[str, ...]) -> str:
    """What torch calls the parameter at ``path``, which begins with its collection."""
    module = "/".join(path[1:-1])
    for pattern, replacement in rules:
        module = re.sub(pattern, replacement, module)
    return f"{module.replace('/', '.')}.{LEAVES[path[-1]]}"


def _to_theirs(path: tuple[str, ...], value: np.ndarray) -> np.ndarray:
    if path[-1] == "layer_scale":
        return value.reshape(-1, 1, 1)
    if path[-1] != "kernel":
        return value
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T


def _to_ours(path: tuple[str, ...], value: np.ndarray) -> np.ndarray:
    if path[-1] == "layer_scale":
        return value.reshape(-1)
    if path[-1] != "kernel":
        return value
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
