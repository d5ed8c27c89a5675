"""The base of models of images: named activations, the head, and checks of what is given."""

import difflib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.ops.checks import check_integer
from jaxnets.ops.dtypes import at_least_float32


class ImageModel(nn.Module):
    """A model of images whose activations have names, the last of which is its answer.

    A subclass has the attributes ``classes`` and ``dtype``, and the method ``activations``.
    """

    @nn.compact
    def __call__(
        self, images: jax.Array, train: bool = False, features: Sequence[str] | None = None
    ) -> jax.Array | dict[str, jax.Array]:
        """``[B, H, W, C]`` to logits ``[B, classes]``, or a dict of the activations named in ``features``.

        Args:
            images: Floating point.
            train: Whether norms take the batch's statistics, which needs ``mutable=["batch_stats"]``, and dropout and
                stochastic depth are on, which need ``rngs={"dropout": key}``.
            features: Names of activations; None: the last one, not in a dict.

        Raises:
            ValueError: The images do not fit, an attribute is out of range, or a name is unknown.
        """
        return chosen(self.activations(images, train), features)

    def activations(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
        """All activations by their names, in the order in which they are made."""
        raise NotImplementedError

    def logits(self: Any, x: jax.Array, **options: Any) -> jax.Array:
        """Logits ``[B, classes]``, float32 at least, of ``x [B, D]``; ``options`` as of ``flax.linen.Dense``."""
        return nn.Dense(self.num_classes, dtype=at_least_float32(self.dtype), name="head", **options)(x)


def check_images(model: nn.Module, images: jax.Array, smallest: int, first: Sequence[str]) -> None:
    """Tells in the user's words what a model cannot read.

    Args:
        model: The module that is being called.
        images: Given: floating point ``[B, H, W, C]`` expected.
        smallest: The least H and W that leave every layer something to see.
        first: Where the parameters of the first convolution are, whose channels the model was made with.

    Raises:
        ValueError: The axes, size, type or number of channels do not fit.
    """
    name = type(model).__name__
    if not hasattr(images, "ndim"):
        raise ValueError(f"{name}: images must be an array [B, H, W, C], got {type(images).__name__}")
    if not model.is_initializing() and "params" not in model.variables:
        raise ValueError(f'{name}: variables must be those of init, {{"params": ..., ...}}, got none named "params"')
    check_integer("num_classes", getattr(model, "num_classes", 0), minimum=0)
    if images.ndim != 4:
        raise ValueError(f"{name}: images must be [B, H, W, C], got shape {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"{name}: images must be floating point, got {images.dtype} (divide bytes by 255)")
    if min(images.shape[1:3]) < smallest:
        given = " x ".join(map(str, images.shape[1:3]))
        raise ValueError(f"{name}: images must be at least {smallest} x {smallest}, got {given}")
    if images.shape[-1] == 0:
        raise ValueError(f"{name}: images must have at least 1 channel, got shape {images.shape}")
    if (channels := features_of(model, first, images)) != images.shape[-1]:
        raise ValueError(f"{name}: images must have {channels} channels, got {images.shape[-1]}")


def features_of(model: nn.Module, first: Sequence[str], given: jax.Array) -> int:
    """How many features the layer at ``first`` was made to read: those that are given, where it is made now."""
    node = model.variables.get("params", {})
    for part in (*first, "kernel"):
        node = node.get(part, {})
    return node.shape[-2] if hasattr(node, "shape") else given.shape[-1]


def chosen(found: dict[str, jax.Array], features: Sequence[str] | None) -> jax.Array | dict[str, jax.Array]:
    """The last of the activations, or those that are asked for, by name.

    Args:
        found: The named activations of a model, in the order in which it makes them.
        features: Names; None: the last one, not as a dict.

    Raises:
        ValueError: A name is not among them.
    """
    if features is None:
        return next(reversed(found.values()))
    if isinstance(features, str):
        raise ValueError(f"`features` must be names, such as ({features!r},), got the text {features!r}")
    for name in features:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"`features` must be among {', '.join(found)}, got {name!r}{hint}")
    return {name: found[name] for name in features}
