"""The sequential executor: a scan in chunks whose gradient comes from the cell's own step.

The forward pass goes chunk by chunk: one product projects the chunk's inputs while they are in cache, then the steps
run with one state product each. Only the carries are kept. The backward pass (``chunked_backward.py``) goes through
the chunks in reverse.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.recurrent.cell import Carry, Cell, Params, plain_dot, split_params
from jaxnets.recurrent.chunked_backward import backward
from jaxnets.recurrent.steps import (
    Control,
    Plan,
    at,
    full_step,
    joined,
    projection,
    put_at,
    ready,
    room,
    take,
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def chunked(
    cell: Cell, plan: Plan, params: Params, xs: Any, carry: Carry, initial: Carry, others: Any, control: Control
) -> tuple[Carry, jax.Array]:
    """The last carry and ys.

    Args:
        cell, plan: Static.
        params, xs: Their floating point parts; T is a multiple of the chunk and not 0.
        carry, initial: Before the first step, and after a reset (() without resets).
        others: The other parts of params and xs.
        control: Padding and resets.
    """
    plan = plan._replace(keep="nothing")
    return _forward(cell, plan, params, xs, carry, initial, others, control)[:2]


def _chunked_fwd(cell, plan, params, xs, carry, initial, others, control):
    last, ys, kept = _forward(cell, plan, params, xs, carry, initial, others, control)
    return (last, ys), (params, xs, initial, others, control, kept)


def _forward(cell, plan, params, xs, carry, initial, others, control) -> tuple[Carry, jax.Array, Any]:
    """Returns the last carry, ys, and what was kept: the carry before every step, or before each chunk ``[n, ...]``."""
    source, recurrent, rest = split_params(joined(params, others[0]))
    one = full_step(cell, rest, plain_dot(cell, ready(cell, recurrent, plan.dtype), plan.dtype), plan.dtype)
    xs = joined(xs, others[1])
    length = jax.tree.leaves(xs)[0].shape[plan.axis]

    def chunk(state, k):
        here = take(control, k, plan)
        u = projection(cell, here)(source, take(xs, k, plan))

        def step(state, time):
            carry, ys, carries = state
            new, y = one(carry, at(u, time, plan), at(here, time, plan), initial)
            time = k * plan.chunk + time
            carries = put_at(carries, carry, time, plan) if plan.keep == "carries" else None
            return (new, put_at(ys, y, time, plan), carries), None

        first = state[0] if plan.keep == "boundaries" else None
        return lax.scan(step, state, jnp.arange(plan.chunk), reverse=plan.reverse, unroll=plan.unroll)[0], first

    u = lambda: projection(cell, take(control, 0, plan))(source, take(xs, 0, plan))
    y = jax.eval_shape(lambda: one(carry, at(u(), 0, plan), at(control, 0, plan), initial)[1])
    carries = room(carry, length, plan) if plan.keep == "carries" else None
    state = (carry, room(y, length, plan), carries)
    (carry, ys, carries), firsts = lax.scan(chunk, state, jnp.arange(length // plan.chunk), reverse=plan.reverse)
    return carry, ys, carries if plan.keep == "carries" else firsts


chunked.defvjp(_chunked_fwd, backward)
