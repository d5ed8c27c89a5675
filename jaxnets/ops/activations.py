"""Activations by their names."""

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
    """An elementwise function by its name: ``"relu"``, ``"tanh"``, ``"gelu"`` (its tanh form), ``"elu"``, ``"silu"``.

    Raises:
        ValueError: There is none of that name.
    """
    check_choice("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
