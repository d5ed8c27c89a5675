"""Weights of convolutional models from and to torchvision, with their batch statistics.

``num_batches_tracked`` of torch is ignored by ``from_torchvision``, and 0 in the result of ``to_torchvision``.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets.weights.mapping import LEAVES, Rules, from_state_dict, to_state_dict, torch_form
from jaxnets.weights.torchvision_names import NAMES, current_name, is_unused

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
    rules, kind = _rules(model), type(model).__name__
    form = torch_form("torchvision", kind, rules, _shapes(model, image_shape))
    return from_state_dict(
        form, state_dict, prefix, lambda name: current_name(kind, name), lambda name: is_unused(model, name)
    )


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
    form = torch_form("torchvision", type(model).__name__, rules, _shapes(model))
    state: dict[str, np.ndarray] = {}
    for name, array in to_state_dict(form, variables).items():
        state[name] = array
        if name.endswith(f".{LEAVES['var']}"):
            state[f"{name.removesuffix(LEAVES['var'])}{COUNTER}"] = np.zeros((), np.int64)
    return state


def _shapes(model: nn.Module, images: Sequence[int] = IMAGES) -> dict[str, Any]:
    if not isinstance(images, Sequence):
        raise ValueError(f"`images` must be a shape [B, H, W, C], such as {IMAGES}, got {images!r}")
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(tuple(images))))


def _rules(model: nn.Module) -> Rules:
    if not isinstance(model, nn.Module):
        given = getattr(model, "__name__", type(model).__name__)
        raise ValueError(f"`model` must be a Linen module, such as convolution.resnet18(), got {given}")
    kind = type(model).__name__
    if kind not in NAMES:
        raise ValueError(f"torchvision has no {kind}; `model` must be one of {', '.join(NAMES)}")
    return NAMES[kind](model)
