"""Simple recurrent cell (Elman, "Finding structure in time", Cognitive Science 14, 1990)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import Cell, dense_carry, dense_gates, dense_init
from jaxnets.recurrent.checking import cached


@cached
def elman(hidden_size: int, activation: Callable[[jax.Array], jax.Array] = jnp.tanh, identity: bool = False) -> Cell:
    r"""The simple recurrent cell of Elman.

    .. math::
        h_t = g(x_t U + h_{t-1} W + b)

    Parameters: ``input = {kernel U [D, H], bias b [H]}``, ``recurrent = {kernel W [H, H]}``. U is initialized Glorot
    uniform, W orthogonal. The carry and the output are h.

    Args:
        hidden_size: H, the number of hidden units.
        activation: g, such as ``jnp.tanh`` or ``jax.nn.relu``.
        identity: Whether W is initialized to the identity. With relu this is the IRNN (Le, Jaitly and Hinton 2015,
            arXiv:1504.00941), which remembers longer.

    Returns:
        The cell.

    Raises:
        ValueError: ``hidden_size`` is not a positive integer, or ``activation`` is not a function.
    """
    check_integer("hidden_size", hidden_size)
    if not callable(activation):
        raise ValueError(f"`activation` must be a function, such as jnp.tanh or jax.nn.relu, got {activation!r}")

    def init(key, features):
        params = dense_init(key, features, hidden_size, 1, {"kernel": 1})
        return {**params, "recurrent": {"kernel": jnp.eye(hidden_size, dtype=jnp.float32)}} if identity else params

    def step(rest, h, u, dot):
        h = activation(u[0] + dot("kernel", h))
        return h, h

    return Cell(
        init=init,
        carry=dense_carry(hidden_size, 1),
        project=lambda params, xs: dense_gates(params, xs, 1),
        step=step,
    )
