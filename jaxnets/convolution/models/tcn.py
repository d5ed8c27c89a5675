"""Temporal convolutional networks (Bai, Kolter and Koltun 2018, arXiv:1803.01271)."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.convolve import causal_convolve
from jaxnets.convolution.images import num_input_features, select_activations
from jaxnets.modules.dense import Dense
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.array_types import Array, Bool, Float, Integer
from jaxnets.ops.checks import check_choice, check_depth, check_floating, check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import valid_steps
from jaxnets.recurrent.checking import checked_lengths
from jaxnets.recurrent.layers.pooling import pool

# Uniform within 1 / sqrt(k D), torch's default. The published code sets a standard deviation of 0.01, but its weight
# normalization overwrites that before the first step.
UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def receptive_field(kernel_size: int, num_levels: int) -> int:
    """Computes the receptive field of a ``TCN`` in steps, ``1 + 2 (kernel_size - 1) (2^num_levels - 1)``."""
    return 1 + 2 * (kernel_size - 1) * (2**num_levels - 1)


class CausalConv(nn.Module):
    r"""A causal convolution over time with weight normalization (Salimans and Kingma 2016, arXiv:1602.07868).

    .. math::
        y_t = \sum_{i<k} W_i\, x_{t - d(k - 1 - i)} + b, \quad W = g \frac{v}{\lVert v \rVert}

    There is one norm g for each output feature; its initial value is the norm of v. Steps before the first one are
    zero.

    Parameters: ``kernel [k, D, features]`` (v), ``scale [features]`` (g), ``bias [features]`` (b).

    Attributes:
        features: Output features.
        kernel_size: Kernel size k.
        dilation: Dilation d.
        dtype: Compute dtype.
    """

    features: int
    kernel_size: int = 3
    dilation: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch T D"]) -> Float[Array, "*batch T features"]:
        """Maps ``[*batch, T, D]`` to ``[*batch, T, features]``."""
        direction = self.param("kernel", UNIFORM, (self.kernel_size, x.shape[-1], self.features), jnp.float32)
        norm = jnp.linalg.norm(direction.reshape(-1, self.features), axis=0)
        scale = self.param("scale", lambda key: norm)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        weights = ((scale / norm)[None, None] * direction).astype(self.dtype)
        return causal_convolve(x.astype(self.dtype), weights, bias.astype(self.dtype), self.dilation)


class TemporalBlock(nn.Module):
    r"""A residual block with two causal convolutions, each followed by ReLU and spatial dropout.

    .. math::
        y = \mathrm{relu}(s + f(x))

    where s is x, or a linear map of x if the width changes.

    Parameters: ``conv_1`` and ``conv_2`` of ``CausalConv``, and ``shortcut``, dense.

    Attributes:
        features: Output features.
        kernel_size, dilation: As in ``CausalConv``, for both convolutions.
        dropout: Rate of spatial dropout, which drops a feature of a sequence at all steps.
        dtype: Compute dtype.
    """

    features: int
    kernel_size: int = 3
    dilation: int = 1
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch T D"], train: bool = False) -> Float[Array, "*batch T features"]:
        """Maps ``[*batch, T, D]`` to ``[*batch, T, features]``."""
        y = x
        for i in (1, 2):
            y = CausalConv(self.features, self.kernel_size, self.dilation, self.dtype, name=f"conv_{i}")(y)
            y = Dropout(self.dropout, broadcast_dims=(-2,), deterministic=not train)(nn.relu(y))
        if x.shape[-1] != self.features:
            x = Dense(self.features, kernel_init=UNIFORM, dtype=self.dtype, name="shortcut")(x)
        return nn.relu(x + y)


class TCN(nn.Module):
    """A temporal convolutional network: causal residual blocks with dilations 1, 2, 4, ..., pooling, and a linear head.

    The receptive field is ``1 + 2 (kernel_size - 1) (2^num_levels - 1)`` steps (see ``receptive_field``). Choose
    ``num_levels`` and ``kernel_size`` such that it covers the whole series. Outputs do not depend on padding.

    Activations, in order: ``block_1``, ``block_2``, ..., ``pooled``, ``outputs``.
    Parameters: ``block_<i>`` of ``TemporalBlock``; ``head``.

    Attributes:
        num_outputs: Output features, such as logits of classes; 0: no head, the output is ``pooled``.
        channels: Features of each block.
        num_levels: Number of blocks.
        kernel_size: Kernel size of each convolution.
        pooling: Pooling over the valid steps: ``"last"`` (as in the paper), ``"max"``, ``"mean"``, or ``"none"`` for an
            output at each step.
        dropout: Rate of spatial dropout after each convolution.
        dtype: Compute dtype; parameters and outputs are float32.
    """

    num_outputs: int
    channels: int = 64
    num_levels: int = 4
    kernel_size: int = 3
    pooling: str = "last"
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @property
    def receptive_field(self) -> int:
        """The receptive field in steps."""
        return receptive_field(self.kernel_size, self.num_levels)

    @nn.compact
    def __call__(
        self,
        xs: Float[Array, "*batch T D"],
        *,
        lengths: Integer[Array, "*batch"] | None = None,
        train: bool = False,
        features: Sequence[str] | None = None,
    ) -> Float[Array, "..."] | dict[str, Float[Array, "..."]]:
        """Computes outputs, or the activations named in ``features``.

        Args:
            xs: ``[*batch, T, D]``.
            lengths: Integers ``[*batch]``, the valid steps of each sequence; None: all steps are valid.
            train: Whether dropout is on, which needs ``rngs={"dropout": key}``.
            features: Names of activations; None: the last one.

        Returns:
            ``[*batch, num_outputs]``, or ``[*batch, T, num_outputs]`` without pooling, float32. If ``features`` is
            given, a dict of activations, with zeros in padded steps.

        Raises:
            ValueError: If the series do not match the model, an attribute is out of range, or a name is unknown.
        """
        check_depth(num_levels=self.num_levels)
        check_series(
            self,
            xs,
            ("block_1", "conv_1"),
            channels=self.channels,
            num_levels=self.num_levels,
            kernel_size=self.kernel_size,
        )
        check_choice("pooling", self.pooling, ("last", "max", "mean", "none"))
        zero_padding = lambda ys: ys if lengths is None else jnp.where(step_mask(ys, lengths)[..., None], ys, 0)
        activations = {}
        ys = zero_padding(xs)
        for i in range(self.num_levels):
            block = TemporalBlock(
                self.channels, self.kernel_size, 2**i, self.dropout, self.dtype, name=f"block_{i + 1}"
            )
            activations[f"block_{i + 1}"] = ys = zero_padding(block(ys, train))
        if self.pooling != "none":
            activations["pooled"] = ys = pool(ys, self.pooling, lengths)
        if self.num_outputs:
            head = nn.Dense(self.num_outputs, dtype=at_least_float32(ys.dtype), name="head")
            activations["outputs"] = head(ys)
        return select_activations(activations, features)


def step_mask(xs: Float[Array, "*batch T D"], lengths: Integer[Array, "*batch"]) -> Bool[Array, "*batch T"]:
    """Returns the mask of valid steps of ``xs``.

    Args:
        xs: ``[*batch, T, D]``.
        lengths: Integers ``[*batch]``, the valid steps of each sequence.

    Returns:
        bool ``[*batch, T]``, True = valid.

    Raises:
        ValueError: If ``lengths`` are not integers ``[*batch]`` from 0 to T.
    """
    *batch, length, _ = xs.shape
    return valid_steps(checked_lengths(lengths, length, tuple(batch)), length)


def check_series(model: nn.Module, xs: Any, first_layer: Sequence[str], **sizes: int) -> None:
    """Checks the series that a model is called with, and attributes of the model.

    Args:
        model: The module that is being called.
        xs: The argument; it must be floating point ``[*batch, T, D]``.
        first_layer: Path of the first convolution's parameters, which determine the number of features.
        **sizes: Attributes that must be at least 1.

    Raises:
        ValueError: If the axes, the dtype or the number of features is wrong, or if a size is below 1.
    """
    name = type(model).__name__
    for attribute, size in sizes.items():
        check_integer(attribute, size)
    check_floating("xs", xs, "[*batch, T, D]", 2)
    if xs.shape[-1] == 0:
        raise ValueError(f"{name}: `xs` must have at least 1 feature, got shape {xs.shape}")
    if (features := num_input_features(model, first_layer, xs)) != xs.shape[-1]:
        raise ValueError(f"{name}: `xs` must have {features} features, got {xs.shape[-1]}")
