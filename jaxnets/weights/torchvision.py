"""Weights of convolutional models from and to torchvision, with their batch statistics.

A convolutional ``kernel [height, width, in, out]`` is ``weight [out, in, height, width]`` in torch, a dense kernel is
transposed, and the ``scale`` of a norm is ``weight``. ``num_batches_tracked`` of torch is ignored by
``from_torchvision``, and 0 in the result of ``to_torchvision``.
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

from jaxnets.weights.check import as_array, compare, listed, rename_keys
from jaxnets.weights.state_dicts import missing_hint, read_state_dict, select_prefix
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
    image_shape: Sequence[int] = IMAGES,
    prefix: str = "",
) -> dict[str, Any]:
    """Converts torchvision weights to variables of a model of ``jaxnets.convolution``.

    Args:
        state_dict: State dict of the torch module, with tensors or arrays; a checkpoint that contains it, such as
            ``{"state_dict": ..., "epoch": 3}``; or the path of a safetensors file. Keys may contain ``module.`` of
            DataParallel or ``_orig_mod.`` of torch.compile, or may be the former keys of DenseNet. Auxiliary heads of
            GoogLeNet are ignored if the model has none.
        model: The model, such as ``convolution.resnet50()``.
        image_shape: Shape ``[B, H, W, C]`` of the images. It matters only if shapes of parameters depend on it.
        prefix: Prefix of the module's keys in the state dict of a larger module, such as ``"backbone."``. Other keys
            are ignored.

    Returns:
        ``{"params": ..., "batch_stats": ...}``, float32; without ``batch_stats`` if the model has none.

    Raises:
        ValueError: If keys are missing or extra or shapes are wrong (the message lists at most ten), for example for a
            different depth; a weight is not floating point; torchvision has no such model; or the file cannot be read.
    """
    rules = _rules(model)
    state = read_state_dict(state_dict)
    kind = type(model).__name__
    source = f"weights of torchvision for {kind}"
    selected = {name: value for name, value in select_prefix(state, prefix).items() if not is_unused(model, name)}
    found = rename_keys(selected, lambda name: current_name(kind, name), source)
    shapes = _shapes(model, image_shape)
    names = _names(rules, shapes, kind)
    expected = {
        names[path]: _to_torch_axes(path, np.empty(leaf.shape, np.bool_)).shape for path, leaf in shapes.items()
    }
    compare(found, expected, source, missing_hint(state, expected))
    arrays = {path: as_array(found[name], name).astype(np.float32) for path, name in names.items()}
    return unflatten_dict({path: _from_torch_axes(path, arrays[path]).reshape(shapes[path].shape) for path in shapes})


def to_torchvision(variables: Mapping[str, Any], model: nn.Module) -> dict[str, np.ndarray]:
    """Converts variables of a model to a torchvision state dict, the inverse of ``from_torchvision``.

    Args:
        variables: ``{"params": ..., "batch_stats": ...}``.
        model: The model, such as ``convolution.resnet50()``.

    Returns:
        The state dict, with NumPy arrays.

    Raises:
        ValueError: If torchvision has no such model, or if the variables belong to another model.
    """
    rules = _rules(model)
    if not isinstance(variables, Mapping):
        raise ValueError(f"`variables` must be a nested dict of arrays, got {type(variables).__name__}")
    leaves = flatten_dict(dict(variables))
    # Only names are compared, since shapes depend on the images.
    differences = sorted("/".join(map(str, path)) for path in leaves.keys() ^ _shapes(model).keys())
    if differences:
        kind = type(model).__name__
        raise ValueError(f"`variables` must match this {kind}; missing or extra: {listed(differences)}")
    state: dict[str, np.ndarray] = {}
    for path, name in _names(rules, leaves, type(model).__name__).items():
        state[name] = np.ascontiguousarray(_to_torch_axes(path, as_array(leaves[path], "/".join(path))))
        if path[-1] == "var":
            state[f"{name.removesuffix(LEAVES['var'])}{COUNTER}"] = np.zeros((), np.int64)
    return state


def _shapes(model: nn.Module, images: Sequence[int] = IMAGES) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    if not isinstance(images, Sequence):
        raise ValueError(f"`images` must be a shape [B, H, W, C], such as {IMAGES}, got {images!r}")
    return flatten_dict(jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(tuple(images)))))


def _rules(model: nn.Module) -> Rules:
    if not isinstance(model, nn.Module):
        given = getattr(model, "__name__", type(model).__name__)
        raise ValueError(f"`model` must be a Linen module, such as convolution.resnet18(), got {given}")
    kind = type(model).__name__
    if kind not in NAMES:
        raise ValueError(f"torchvision has no {kind}; `model` must be one of {', '.join(NAMES)}")
    return NAMES[kind](model)


def _names(rules: Rules, paths: Iterable[tuple[str, ...]], kind: str) -> dict[tuple[str, ...], str]:
    """Returns the torch names of parameters. Duplicates mean that torchvision has no such model."""
    names = {path: torch_name(rules, path) for path in paths}
    if len(set(names.values())) < len(names):
        duplicates = sorted(name for name, count in Counter(names.values()).items() if count > 1)
        raise ValueError(
            f"torchvision has no {kind} with these attributes: several parameters would be named {listed(duplicates)}"
        )
    return names


def torch_name(rules: Rules, path: tuple[str, ...]) -> str:
    """Returns the torch name of the parameter at ``path``, which starts with its collection."""
    module = "/".join(path[1:-1])
    for pattern, replacement in rules:
        module = re.sub(pattern, replacement, module)
    return f"{module.replace('/', '.')}.{LEAVES[path[-1]]}"


def _to_torch_axes(path: tuple[str, ...], value: np.ndarray) -> np.ndarray:
    if path[-1] == "layer_scale":
        return value.reshape(-1, 1, 1)
    if path[-1] != "kernel":
        return value
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T


def _from_torch_axes(path: tuple[str, ...], value: np.ndarray) -> np.ndarray:
    if path[-1] == "layer_scale":
        return value.reshape(-1)
    if path[-1] != "kernel":
        return value
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
