"""Base class of image models, with named activations, and checks of their arguments."""

import difflib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxnets.ops.array_types import Array, Float, Shaped
from jaxnets.ops.checks import check_integer
from jaxnets.ops.dtypes import at_least_float32


class ImageModel(nn.Module):
    """Base class of image models with named activations; the output is the last activation.

    A subclass has the attributes ``num_classes`` and ``dtype``, and the method ``activations``.
    """

    @nn.compact
    def __call__(
        self, images: Float[Array, "B ..."], train: bool = False, features: Sequence[str] | None = None
    ) -> Float[Array, "B ..."] | dict[str, Float[Array, "B ..."]]:
        """Computes logits, or the activations named in ``features``.

        Args:
            images: ``[B, H, W, C]``, floating point.
            train: Whether norms use the statistics of the batch, which needs ``mutable=["batch_stats"]``, and dropout
                and stochastic depth are on, which needs ``rngs={"dropout": key}``.
            features: Names of activations; None: the last one.

        Returns:
            Logits ``[B, num_classes]``; if ``features`` is given, a dict of activations.

        Raises:
            ValueError: If the images do not match the model, an attribute is out of range, or a name is unknown.
        """
        return select_activations(self.activations(images, train), features)

    def activations(self, images: Float[Array, "B ..."], train: bool) -> dict[str, Float[Array, "B ..."]]:
        """Returns all activations by name, in the order of computation."""
        raise NotImplementedError

    def logits(self: Any, x: Float[Array, "B D"], **options: Any) -> Float[Array, "B classes"]:
        """Computes logits, at least float32, by a dense head; ``options`` are passed to ``flax.linen.Dense``."""
        return nn.Dense(self.num_classes, dtype=at_least_float32(self.dtype), name="head", **options)(x)


def check_images(model: nn.Module, images: Any, min_size: int, first_layer: Sequence[str]) -> None:
    """Checks the images that a model is called with.

    Args:
        model: The module that is being called.
        images: The argument; it must be floating point ``[B, H, W, C]``.
        min_size: The minimum of H and W for which no layer has an empty output.
        first_layer: Path of the first convolution's parameters, which determine the number of channels.

    Raises:
        ValueError: If the axes, the size, the dtype or the number of channels is wrong.
    """
    name = type(model).__name__
    if not hasattr(images, "ndim"):
        raise ValueError(f"{name}: `images` must be an array [B, H, W, C], got {type(images).__name__}")
    if not model.is_initializing() and "params" not in model.variables:
        raise ValueError(f'{name}: `variables` must have a collection "params", got none')
    check_integer("num_classes", getattr(model, "num_classes", 0), minimum=0)
    if images.ndim != 4:
        raise ValueError(f"{name}: `images` must be [B, H, W, C], got shape {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"{name}: `images` must be floating point, got {images.dtype} (divide bytes by 255)")
    if min(images.shape[1:3]) < min_size:
        size = " x ".join(map(str, images.shape[1:3]))
        raise ValueError(f"{name}: `images` must be at least {min_size} x {min_size}, got {size}")
    if images.shape[-1] == 0:
        raise ValueError(f"{name}: `images` must have at least 1 channel, got shape {images.shape}")
    if (channels := num_input_features(model, first_layer, images)) != images.shape[-1]:
        raise ValueError(f"{name}: `images` must have {channels} channels, got {images.shape[-1]}")


def num_input_features(model: nn.Module, layer: Sequence[str], x: Shaped[Array, "..."]) -> int:
    """Returns the input features of the layer at path ``layer``; the features of ``x`` if it has no parameters yet."""
    node = model.variables.get("params", {})
    for key in (*layer, "kernel"):
        node = node.get(key, {})
    return node.shape[-2] if hasattr(node, "shape") else x.shape[-1]


def select_activations(
    activations: dict[str, Float[Array, "..."]], features: Sequence[str] | None
) -> Float[Array, "..."] | dict[str, Float[Array, "..."]]:
    """Selects activations by name.

    Args:
        activations: The named activations of a model, in the order of computation.
        features: Names of activations; None: the last one.

    Returns:
        The last activation; if ``features`` is given, a dict of activations.

    Raises:
        ValueError: If a name is unknown.
    """
    if features is None:
        return next(reversed(activations.values()))
    if isinstance(features, str):
        raise ValueError(f"`features` must be a sequence of names, such as ({features!r},), got {features!r}")
    for name in features:
        if name not in activations:
            nearest = difflib.get_close_matches(name, activations, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"`features` must be among {', '.join(activations)}, got {name!r}{hint}")
    return {name: activations[name] for name in features}
