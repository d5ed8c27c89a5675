"""Activation functions, selected by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxnets.ops.checks import check_choice

Activation = Callable[[jax.Array], jax.Array]
ACTIVATIONS: dict[str, Activation] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "elu": jax.nn.elu,
    "silu": jax.nn.silu,
}


def activation(name: str) -> Activation:
    """Returns an elementwise activation function.

    Args:
        name: ``"relu"``, ``"tanh"``, ``"gelu"`` (tanh approximation), ``"elu"`` or ``"silu"``.

    Raises:
        ValueError: The name is unknown.
    """
    check_choice("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
