r"""Rectified flow: a velocity that moves noise to data along straight lines (Liu et al. 2023, arXiv:2209.03003).

.. math:: x_t = (1 - t) \epsilon + t x, \quad v = x - \epsilon, \quad \frac{d x_t}{dt} = v(x_t, t)

The same objective is conditional flow matching (Lipman et al. 2023, arXiv:2210.02747) with optimal-transport paths.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxnets.generative.flows.bijector import standard_normal_log_prob
from jaxnets.ops.array_types import Array, Float, Key
from jaxnets.ops.checks import check_choice, check_integer
from jaxnets.ops.dtypes import at_least_float32

METHODS = ("euler", "heun")

# (examples [B, ...], times [B] from 0, noise, to 1, data) -> velocities [B, ...]
Velocity = Callable[[Float[Array, "B ..."], Float[Array, " B"]], Float[Array, "B ..."]]


def straight_path(
    noise: Float[Array, "B ..."], data: Float[Array, "B ..."], times: Float[Array, " B"]
) -> Float[Array, "B ..."]:
    """Returns the points at times ``[B]`` on the lines from noise to data, ``[B, ...]`` each."""
    chex.assert_equal_shape([noise, data])
    weights = times.astype(data.dtype).reshape(-1, *(1,) * (data.ndim - 1))
    return (1 - weights) * noise + weights * data


def logit_normal_times(key: Key[Array, ""], count: int, mean: float = 0.0, std: float = 1.0) -> Float[Array, " B"]:
    """Draws times in (0, 1) whose logits are normal (Esser et al. 2024, arXiv:2403.03206), float32 ``[count]``."""
    return jax.nn.sigmoid(mean + std * jax.random.normal(key, (count,), jnp.float32))


def integrate(
    velocity: Callable[[Any, Float[Array, " B"]], Any],
    start: Any,
    num_steps: int,
    method: str = "euler",
    *,
    begin: float = 0.0,
    end: float = 1.0,
) -> Any:
    """Integrates examples along a velocity, in equal steps of time.

    Args:
        velocity: ``(examples [B, ...], times [B]) -> [B, ...]``.
        start: Examples at the time ``begin``, ``[B, ...]``: noise for new examples. Examples and velocities may also be
            trees of such arrays.
        num_steps: Steps.
        method: ``"euler"``, of first order, or ``"heun"``, of second order, with two velocities a step.
        begin, end: Times. From 1 to 0, data becomes noise.

    Returns:
        Examples at the time ``end``.
    """
    return integrate_path(velocity, start, num_steps, method, begin=begin, end=end)[0]


def integrate_path(
    velocity: Callable[[Any, Float[Array, " B"]], Any],
    start: Any,
    num_steps: int,
    method: str = "euler",
    *,
    begin: float = 0.0,
    end: float = 1.0,
) -> tuple[Any, Any]:
    """Integrates examples along a velocity, and returns the examples on the way too.

    Args:
        velocity, start, num_steps, method, begin, end: As in ``integrate``.

    Returns:
        Examples at the time ``end``, ``[B, ...]``, and those before each step, ``[S, B, ...]``.
    """
    check_integer("num_steps", num_steps)
    check_choice("method", method, METHODS)
    examples, width = jax.tree.leaves(start)[0], (end - begin) / num_steps
    dtype = at_least_float32(examples.dtype)
    times_of = lambda index: jnp.full(len(examples), begin + index * width, dtype)

    def advance(x, index):
        first = velocity(x, times_of(index))
        ahead = jax.tree.map(lambda value, slope: value + width * slope, x, first)
        if method == "euler":
            return ahead, x
        second = velocity(ahead, times_of(index + 1))
        return jax.tree.map(lambda value, a, b: value + width / 2 * (a + b), x, first, second), x

    return jax.lax.scan(advance, start, jnp.arange(num_steps, dtype=dtype))


def flow_matching_log_prob(
    velocity: Velocity, data: Float[Array, "B ..."], key: Key[Array, ""], num_steps: int = 50
) -> Float[Array, " B"]:
    r"""Estimates the log-density of examples under the flow, in nats, by the change of variables in time:

    .. math:: \log p(x) = \log N(x_0; 0, I) - \int_0^1 \mathrm{div}\, v(x_t, t)\, dt

    Heun's method integrates from data to noise. The divergence is estimated by :math:`u^T (\partial v / \partial x) u`
    with random signs u, the same at all times (Grathwohl et al. 2019, arXiv:1810.01367).

    Args:
        velocity: ``(examples [B, ...], times [B]) -> [B, ...]``, independent over examples.
        data: ``[B, ...]``.
        key: A random key.
        num_steps: Steps.

    Returns:
        ``[B]``.
    """
    signs = jax.random.rademacher(key, data.shape, data.dtype)

    def augmented(state, times):
        change, product = jax.jvp(lambda x: velocity(x, times), (state[0],), (signs,))
        return change, jnp.sum((signs * product).reshape(len(data), -1), axis=-1)

    start = data, jnp.zeros(len(data), data.dtype)
    noise, integral = integrate(
        augmented, start, num_steps, "heun", begin=1.0, end=0.0
    )  # of the divergence, from 1 to 0
    return standard_normal_log_prob(noise) + integral
