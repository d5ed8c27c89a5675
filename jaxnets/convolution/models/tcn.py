"""The temporal convolutional network (Bai, Kolter and Koltun 2018, arXiv:1803.01271): causal, dilated, residual."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.convolve import causal_convolve
from jaxnets.convolution.images import chosen, features_of
from jaxnets.modules.dense import Dense
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.checks import check_choice, check_depth, check_floating, check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import valid_steps
from jaxnets.recurrent.checking import checked_lengths
from jaxnets.recurrent.layers.pooling import pool

# Uniform within 1 / sqrt(k D). The published program asks for a deviation of 0.01, but its weight norm overwrites that
# before the first step, and this, torch's default, remains.
UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def receptive_field(kernel_size: int, num_levels: int) -> int:
    """How many steps an output of a ``TCN`` sees, its own among them: ``1 + 2 (kernel - 1) (2^levels - 1)``."""
    return 1 + 2 * (kernel_size - 1) * (2**num_levels - 1)


class CausalConv(nn.Module):
    r"""A convolution over time that sees no later step, with its weights in polar form:

    .. math::
        y_t = \sum_{i<k} W_i\, x_{t - d(k - 1 - i)} + b, \quad W = g \frac{v}{\lVert v \rVert}

    with one length g for each output feature (Salimans and Kingma 2016, arXiv:1602.07868), at first that of v. What was
    before the first step is 0.

    Parameters: ``kernel [k, D, features]`` (v), ``scale [features]`` (g), ``bias [features]``.

    Attributes:
        features: Of the output.
        kernel_size: k.
        dilation: d.
        dtype: Compute type.
    """

    features: int
    kernel_size: int = 3
    dilation: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[*batch, T, D]`` to ``[*batch, T, features]``."""
        direction = self.param("kernel", UNIFORM, (self.kernel_size, x.shape[-1], self.features), jnp.float32)
        length = jnp.linalg.norm(direction.reshape(-1, self.features), axis=0)
        scale = self.param("scale", lambda key: length)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        weights = ((scale / length)[None, None] * direction).astype(self.dtype)
        return causal_convolve(x.astype(self.dtype), weights, bias.astype(self.dtype), self.dilation)


class TemporalBlock(nn.Module):
    r"""Two causal convolutions, each with ReLU and dropout of whole features, beside a shortcut:

    .. math::
        y = \mathrm{relu}(s + f(x))

    where s is x, or a linear map of x where the width changes.

    Parameters: ``conv_1`` and ``conv_2`` of ``CausalConv``, and ``shortcut``, dense.

    Attributes:
        features: Of the output.
        kernel_size, dilation: Of both convolutions.
        dropout: Probability of dropping a feature of a row, at all its steps, after each convolution.
        dtype: Compute type.
    """

    features: int
    kernel_size: int = 3
    dilation: int = 1
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """``[*batch, T, D]`` to ``[*batch, T, features]``."""
        y = x
        for i in (1, 2):
            y = CausalConv(self.features, self.kernel_size, self.dilation, self.dtype, name=f"conv_{i}")(y)
            y = Dropout(self.dropout, broadcast_dims=(-2,), deterministic=not train)(nn.relu(y))
        if x.shape[-1] != self.features:
            x = Dense(self.features, kernel_init=UNIFORM, dtype=self.dtype, name="shortcut")(x)
        return nn.relu(x + y)


class TCN(nn.Module):
    """Temporal blocks with dilations 1, 2, 4, ..., pooling over time, and a linear output.

    An output sees ``1 + 2 (kernel - 1) (2^levels - 1)`` steps, which ``receptive_field`` gives: choose levels and
    kernel such that the whole series fits. Padding after a row's last real step is never seen.

    Named activations, in order: ``block_1``, ``block_2``, ..., ``pooled``, ``num_outputs``.
    Parameters: ``block_<i>`` of ``TemporalBlock``; ``head``.

    Attributes:
        num_outputs: Numbers of one answer, such as the logits of classes; 0: no head, the answer is ``pooled``.
        channels: Features of every block.
        num_levels: How many blocks.
        kernel_size: Steps of a convolution.
        pooling: ``"last"`` (as in the paper), ``"max"``, ``"mean"``, or ``"none"``: an answer per step.
        dropout: Probability of dropping a feature after each convolution.
        dtype: Compute type; parameters and answers are float32.
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
        """How many steps an output sees, its own among them."""
        return receptive_field(self.kernel_size, self.num_levels)

    @nn.compact
    def __call__(
        self,
        xs: jax.Array,
        *,
        lengths: jax.Array | None = None,
        train: bool = False,
        features: Sequence[str] | None = None,
    ) -> jax.Array | dict[str, jax.Array]:
        """From ``xs [*batch, T, D]`` to ``[*batch, outputs]``, or ``[*batch, T, outputs]`` without pooling, float32.

        Args:
            xs: As above.
            lengths: Integers ``[*batch]``, how many steps of a row are real; None: all.
            train: Whether dropout is on; it needs ``rngs={"dropout": key}`` then.
            features: Names of activations to answer with, in a dict; what is not real is 0 in them.

        Raises:
            ValueError: The series do not fit, an attribute is out of range, or a name is unknown.
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
        keep = (lambda ys: ys) if lengths is None else lambda ys: jnp.where(real_steps(ys, lengths)[..., None], ys, 0)
        found = {}
        ys = keep(xs)
        for i in range(self.num_levels):
            block = TemporalBlock(
                self.channels, self.kernel_size, 2**i, self.dropout, self.dtype, name=f"block_{i + 1}"
            )
            found[f"block_{i + 1}"] = ys = keep(block(ys, train))
        if self.pooling != "none":
            found["pooled"] = ys = pool(ys, self.pooling, lengths)
        if self.num_outputs:
            head = nn.Dense(self.num_outputs, dtype=at_least_float32(ys.dtype), name="head")
            found["outputs"] = head(ys)
        return chosen(found, features)


def real_steps(xs: jax.Array, lengths: jax.Array) -> jax.Array:
    """Which steps of ``xs [*batch, T, D]`` are real, bool ``[*batch, T]``, where a row has that many in ``lengths``.

    Raises:
        ValueError: The lengths are no integers ``[*batch]`` from 0 to T.
    """
    *batch, length, _ = xs.shape
    return valid_steps(checked_lengths(lengths, length, tuple(batch)), length)


def check_series(model: nn.Module, xs: jax.Array, first: Sequence[str], **sizes: int) -> None:
    """Tells in the user's words what a model of series cannot read, or be.

    Args:
        model: The module that is being called.
        xs: Given: floating point ``[*batch, T, D]`` expected.
        first: Where the parameters of the first convolution are, whose features the model was made with.
        sizes: What must be at least 1.

    Raises:
        ValueError: The axes, type or number of features do not fit, or a size is too small.
    """
    name = type(model).__name__
    for attribute, size in sizes.items():
        check_integer(attribute, size)
    check_floating("xs", xs, "[*batch, T, D]", 2)
    if xs.shape[-1] == 0:
        raise ValueError(f"{name}: series must have at least 1 feature, got shape {xs.shape}")
    if (features := features_of(model, first, xs)) != xs.shape[-1]:
        raise ValueError(f"{name}: series must have {features} features, got {xs.shape[-1]}")
