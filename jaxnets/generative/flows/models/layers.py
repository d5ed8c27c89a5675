"""Layers of normalizing flows. Each computes a bijector in the direction of the argument ``inverse``."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.generative.flows.affine import actnorm, actnorm_parameters, invertible_linear, orthogonal_lu
from jaxnets.generative.flows.bijector import Bijector
from jaxnets.modules.dense import Dense
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.dtypes import at_least_float32

Transformed = tuple[Float[Array, "B ..."], Float[Array, " B"]]
Layer = Callable[[Float[Array, "B ..."], bool], Transformed]


def directed(bijector: Bijector, xs: Float[Array, "B ..."], inverse: bool) -> Transformed:
    """Applies a bijector in one of its directions."""
    return bijector.inverse(xs) if inverse else bijector.forward(xs)


class ActNorm(nn.Module):
    """Activation normalization, initialized by the batch of ``init``; see ``actnorm`` and ``actnorm_parameters``.

    Parameters: ``bias [C]``, ``log_scale [C]``. If ``init`` runs in the inverse direction, they are 0.
    """

    @nn.compact
    def __call__(self, xs: Float[Array, "B ... C"], inverse: bool = False) -> Transformed:
        """Maps ``[B, ..., C]``; also returns the log-determinants, ``[B]``."""
        initial = [jnp.zeros(xs.shape[-1:], jnp.float32)] * 2
        if self.is_initializing() and not inverse:
            initial = [each.astype(jnp.float32) for each in actnorm_parameters(xs)]
        bias = self.param("bias", lambda key: initial[0])
        log_scale = self.param("log_scale", lambda key: initial[1])
        return directed(actnorm(bias, log_scale), xs, inverse)


class InvertibleLinear(nn.Module):
    """The invertible 1 x 1 convolution, initialized by a random orthogonal matrix; see ``invertible_linear``.

    Parameter: ``lu [C, C]``; collection ``constants``: ``permutation [C]`` and ``signs [C]``.
    """

    @nn.compact
    def __call__(self, xs: Float[Array, "B ... C"], inverse: bool = False) -> Transformed:
        """Maps ``[B, ..., C]``; also returns the log-determinants, ``[B]``."""
        initial: Any = orthogonal_lu(self.make_rng("params"), xs.shape[-1]) if self.is_initializing() else (None,) * 3
        lu = self.param("lu", lambda key: initial[0])
        permutation = self.variable("constants", "permutation", lambda: initial[1]).value
        # Integers, which a moving average of the variables copies exactly.
        signs = self.variable("constants", "signs", lambda: initial[2].astype(jnp.int32)).value.astype(lu.dtype)
        return directed(invertible_linear(lu, permutation, signs), xs, inverse)


class Conditioner(nn.Module):
    """A perceptron whose outputs are initially 0, so that the bijector it conditions is initially the identity.

    Attributes:
        num_outputs: Number of outputs.
        hidden_sizes: Sizes of the hidden layers.
        dtype: Compute dtype; outputs are at least float32.
    """

    num_outputs: int
    hidden_sizes: Sequence[int]
    dtype: Dtype

    @nn.compact
    def __call__(self, xs: Float[Array, "B D"]) -> Float[Array, "B outputs"]:
        """Maps ``[B, D]`` to ``[B, num_outputs]``."""
        for layer, size in enumerate(self.hidden_sizes):
            xs = nn.relu(Dense(size, dtype=self.dtype, name=f"layer_{layer}")(xs))
        dtype = at_least_float32(self.dtype)
        return Dense(self.num_outputs, kernel_init=nn.initializers.zeros, dtype=dtype, name="head")(xs)


def repeated(layer: nn.Module, length: int, xs: Float[Array, "B ..."], inverse: bool, scan_layers: bool) -> Transformed:
    """Applies a layer several times, each with its own parameters, stacked along a first axis.

    Args:
        layer: A module ``(xs, inverse) -> (ys, log_det)`` from its input to the same shape.
        length: How often.
        xs: ``[B, ...]``.
        inverse: Whether to apply the inverses, in reverse order.
        scan_layers: Whether the compiled program has a loop. A loop compiles faster, but convolutions in it take three
            times as long on a CPU. Initialization always has one.
    """

    def step(layer: nn.Module, carry: Transformed, _: None) -> tuple[Transformed, None]:
        xs, total = carry
        ys, log_det = layer(xs, inverse)
        return (ys, total + log_det), None

    loop = nn.scan(
        step,
        variable_axes={"params": 0, "constants": 0},
        split_rngs={"params": True},
        length=length,
        reverse=inverse,
        unroll=1 if scan_layers or layer.is_initializing() else length,
    )
    zeros = jnp.zeros(xs.shape[:1], at_least_float32(xs.dtype))
    (xs, log_det), _ = loop(layer, (xs, zeros), None)
    return xs, log_det


def in_order(layers: Sequence[Layer], xs: Float[Array, "B ..."], inverse: bool) -> Transformed:
    """Applies layers ``(xs, inverse) -> (ys, log_det)`` one after another, or their inverses in reverse order."""
    total = jnp.zeros(xs.shape[:1], at_least_float32(xs.dtype))
    for layer in reversed(layers) if inverse else layers:
        xs, log_det = layer(xs, inverse)
        total += log_det
    return xs, total


def layer_of(bijector: Bijector) -> Layer:
    """Returns a bijector as a layer ``(xs, inverse) -> (ys, log_det)``."""
    return lambda xs, inverse: directed(bijector, xs, inverse)
