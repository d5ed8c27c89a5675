"""Weights of the U-Net of diffusion models from and to ``UNet2DModel`` of diffusers.

The ``UNet2DModel`` of a ``generative.UNet`` has ``downsample_padding=0``, ``norm_eps=1e-6``, ``flip_sin_to_cos=False``
and ``freq_shift=1``, as in DDPM, and ``attention_head_dim`` is the number of channels of a head (None: a single head).
Its ``num_class_embeds`` is ``num_classes + 1``: the last row stands for no class. Its ``out_channels`` are twice
``in_channels`` for learned variances.
"""

import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.generative.diffusion.unet import UNet
from jaxnets.weights.check import compare
from jaxnets.weights.mapping import (
    Rules,
    TorchForm,
    from_state_dict,
    minus_one,
    to_state_dict,
    torch_form,
    torch_shapes,
)

# Former names of attention layers, which the loader of diffusers also accepts, and the current ones.
FORMER_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def from_diffusers(
    state_dict: Mapping[str, Any] | str | PathLike[str], model: UNet, prefix: str = ""
) -> dict[str, Any]:
    """Converts weights of ``UNet2DModel`` of diffusers to variables of a U-Net.

    Args:
        state_dict: State dict of the torch module, with tensors or arrays, or the path of a safetensors file, such as
            ``"unet/diffusion_pytorch_model.safetensors"``. Attention layers may have their former names, such as
            ``query`` for ``to_q``.
        model: The U-Net. Its attributes must equal the settings of the ``UNet2DModel``: most of them, such as
            ``num_heads``, cannot be recognized in the weights.
        prefix: Prefix of the module's keys in the state dict of a larger module, such as ``"unet."``. Other keys are
            ignored.

    Returns:
        ``{"params": ...}``, float32.

    Raises:
        ValueError: If keys are missing or extra or shapes are wrong (the message lists at most ten); a weight is not
            floating point; the model attends to sequences (``context_dim``), as no ``UNet2DModel`` does; or the file
            cannot be read.
    """
    return from_state_dict(_form(model), state_dict, prefix, _current_name)


def to_diffusers(variables: Mapping[str, Any], model: UNet) -> dict[str, np.ndarray]:
    """Converts variables of a U-Net to a state dict of ``UNet2DModel``, the inverse of ``from_diffusers``.

    Args:
        variables: ``{"params": ...}``.
        model: The U-Net.

    Returns:
        The state dict, with NumPy arrays.

    Raises:
        ValueError: If the model has no ``UNet2DModel``, or if the variables belong to another model.
    """
    form = _form(model)
    state = to_state_dict(form, variables)
    compare(state, torch_shapes(form), "`variables` as weights of diffusers")
    return state


def _form(model: UNet) -> TorchForm:
    if not isinstance(model, UNet):
        kind = model if isinstance(model, type) else type(model)
        raise ValueError(f"`model` must be a jaxnets.generative.UNet, got {kind.__module__}.{kind.__qualname__}")
    if model.context_dim:
        raise ValueError(
            f"UNet2DModel of diffusers has no cross-attention; `context_dim` must be 0, got {model.context_dim}"
        )
    images, times = jnp.zeros((1, *model.image_shape)), jnp.zeros(1)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, times))
    return torch_form("diffusers", "UNet", _rules(model), shapes, ("shortcut",))


def _rules(model: UNet) -> Rules:
    last = len(model.multipliers) - 1
    return [
        (r"^down_(\d+)_", r"down_blocks/\1/"),
        (r"^up_(\d+)_", lambda match: f"up_blocks/{last - int(match[1])}/"),  # in the order of the computation
        ("^middle_attention", "mid_block/attentions/0"),
        ("^middle_", "mid_block/"),
        (r"/block_(\d+)", minus_one("/resnets/{0}")),
        (r"/(\d+)_attention", minus_one("/attentions/{0}")),
        ("/downsample$", "/downsamplers/0/conv"),
        ("/upsample/", "/upsamplers/0/"),
        (r"/(norm|conv)_(\d)$", r"/\1\2"),
        ("/time$", "/time_emb_proj"),
        ("/shortcut$", "/conv_shortcut"),
        ("/norm$", "/group_norm"),
        ("/query$", "/to_q"),
        ("/key$", "/to_k"),
        ("/value$", "/to_v"),
        ("/out$", "/to_out/0"),
        (r"^time_(\d)$", r"time_embedding/linear_\1"),
        ("^classes$", "class_embedding"),
        ("^norm_out$", "conv_norm_out"),
    ]


def _current_name(name: str) -> str:
    pattern = rf"(\.attentions\.\d+\.)({'|'.join(FORMER_NAMES)})(?=\.(?:weight|bias)$)"
    return re.sub(pattern, lambda match: match[1] + FORMER_NAMES[match[2]], name)
