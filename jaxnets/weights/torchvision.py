"""Weights of the convolutional models from and to torchvision, batch statistics included.

A kernel ``[height, width, in, out]`` is torch's ``weight [out, in, height, width]``, a dense one its transpose, a
norm's ``scale`` its ``weight``. torch's ``num_batches_tracked`` says nothing that a model here needs: it is not read,
and written as 0.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxnets.weights.check import as_array, compare, listed, renamed
from jaxnets.weights.state_dicts import at_prefix, missing_hint, read_state
from jaxnets.weights.torchvision_names import NAMES, Rules, current_name, is_unused

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
    state_dict: Mapping[str, Any] | str | PathLike[str],
    model: nn.Module,
    images: Sequence[int] = IMAGES,
    prefix: str = "",
) -> dict[str, Any]:
    """The variables of a model of ``jaxnets.convolution`` for the weights of its counterpart in torchvision.

    Args:
        state_dict: Of the torch module, as tensors or arrays, or the path of a safetensors file. It may be an entry of
            a checkpoint, ``{"state_dict": ..., "epoch": 3}``, and its keys may hold the ``module.`` of DataParallel or
            the ``_orig_mod.`` of torch.compile, or be those with which DenseNet was published. The auxiliary heads of
            GoogLeNet are left out where the model has none.
        model: Ours, such as ``convolution.resnet50()``.
        images: Shape of what it will be given, ``[B, H, W, C]``: of matter where a layer depends on it.
        prefix: Where the module stands in a larger one, such as ``"backbone."``; keys elsewhere are not looked at.

    Returns:
        ``{"params": ..., "batch_stats": ...}``, float32; without ``batch_stats`` where the model has none.

    Raises:
        ValueError: Keys are missing, extra or misshapen (at most ten are listed), such as those of another depth; an
            array does not hold floating-point numbers; torchvision has no such model; or the file cannot be read.
    """
    rules = _rules(model)
    state = read_state(state_dict)
    kind = type(model).__name__
    source = f"weights of torchvision for {kind}"
    at = {name: value for name, value in at_prefix(state, prefix).items() if not is_unused(model, name)}
    found = renamed(at, lambda name: current_name(kind, name), source)
    ours = _shapes(model, images)
    theirs = _names(rules, ours, kind)
    expected = {theirs[path]: _to_theirs(path, np.empty(leaf.shape, np.bool_)).shape for path, leaf in ours.items()}
    compare(found, expected, source, missing_hint(state, expected))
    return unflatten_dict(
        {
            path: _to_ours(path, as_array(found[theirs[path]], theirs[path]).astype(np.float32)).reshape(leaf.shape)
            for path, leaf in ours.items()
        }
    )


def to_torchvision(variables: Mapping[str, Any], model: nn.Module) -> dict[str, np.ndarray]:
    """The state dict of torchvision's counterpart: the inverse of ``from_torchvision``.

    Raises:
        ValueError: torchvision has no such model, or the variables are of another one (what only one has is listed).
    """
    rules = _rules(model)
    if not isinstance(variables, Mapping):
        raise ValueError(f"variables must be a nested dict of arrays, got {type(variables).__name__}")
    ours = flatten_dict(dict(variables))
    # Names alone: shapes depend on images.
    odd = sorted("/".join(map(str, path)) for path in ours.keys() ^ _shapes(model).keys())
    if odd:
        raise ValueError(f"variables of another model than this {type(model).__name__}: {listed(odd)}")
    state: dict[str, np.ndarray] = {}
    for path, name in _names(rules, ours, type(model).__name__).items():
        state[name] = np.ascontiguousarray(_to_theirs(path, as_array(ours[path], "/".join(path))))
        if path[-1] == "var":
            state[f"{name.removesuffix(LEAVES['var'])}{COUNTER}"] = np.zeros((), np.int64)
    return state


def _shapes(model: nn.Module, images: Sequence[int] = IMAGES) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    if not isinstance(images, Sequence):
        raise ValueError(f"images must be a shape [B, H, W, C], such as {IMAGES}, got {images!r}")
    return flatten_dict(jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(tuple(images)))))


def _rules(model: nn.Module) -> Rules:
    if not isinstance(model, nn.Module):
        given = getattr(model, "__name__", type(model).__name__)
        raise ValueError(f"model must be a model, such as convolution.resnet18(), got {given}")
    kind = type(model).__name__
    if kind not in NAMES:
        raise ValueError(f"torchvision has no {kind}; it has the models of {', '.join(NAMES)}")
    return NAMES[kind](model)


def _names(rules: Rules, paths: Iterable[tuple[str, ...]], kind: str) -> dict[tuple[str, ...], str]:
    """What torch calls each parameter; two of one name mean that torchvision has no model of this form."""
    names = {path: name_of(rules, path) for path in paths}
    if len(set(names.values())) < len(names):
        twice = sorted(name for name, count in Counter(names.values()).items() if count > 1)
        raise ValueError(f"torchvision has no such {kind}: several parameters would be named {listed(twice)}")
    return names


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
