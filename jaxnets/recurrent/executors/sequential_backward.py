"""The gradient of the sequential executor, from the cell's own step.

Since every carry of a chunk is known, all its state products and everything elementwise are recomputed at once, and
the step's linearization with them; what remains sequential is one product a step and the multiply-adds around it.
Weight gradients are one large product a chunk. No cell writes a backward pass: the engine gets it by differentiating
the cell's step with a ``dot`` whose result is known.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.recurrent.cell import Carry, Cell, joined_rows, matmul, plain_dot, split_params
from jaxnets.recurrent.executors.linearized import linearized, linearized_at_all_times
from jaxnets.recurrent.executors.steps import (
    Plan,
    add,
    at,
    full_step,
    joined,
    parted,
    projection,
    put,
    put_at,
    ready,
    room,
    take,
    untraced,
    where,
)


class Kept(NamedTuple):
    """What a forward pass leaves to ``backward``.

    Attributes:
        firsts: The carry before each chunk ``[n, ...]``.
        carries: The leaves of the carry before each step, None for one that is in ys too; or None: the chunks run once
            more.
        products: The state products of each step; or None: they are computed once more.
        ys: The outputs.
    """

    firsts: Carry
    carries: list[jax.Array | None] | None
    products: list[jax.Array] | None
    ys: jax.Array


@untraced()
def backward(cell, plan, residuals, cotangents):
    """The reverse rule of ``chunked``."""
    params, xs, initial, others, control, kept = residuals
    last_carry, ys = cotangents
    source, recurrent, rest = split_params(params)
    other_source, _, other_rest = split_params(others[0])
    weights = ready(cell, recurrent, plan.dtype)
    linearize = linearized(cell, plan, weights, rest, other_rest)
    times = jnp.arange(plan.chunk)
    # Where xs is like ys, the gradient of each chunk of xs takes the place of that of ys, which is not needed any more.
    shared = [(a.shape, a.dtype) for a in jax.tree.leaves(xs)] == [(ys.shape, ys.dtype)]

    def carries_of(first, leaves, y, active):
        """The carry before each step of a chunk, from what is kept of it."""
        ours, tree = jax.tree.flatten(first)

        def before(first, leaf):
            if leaf is not None:
                return leaf
            told = shifted(jnp.expand_dims(first, plan.axis), y, plan)
            if active is None:
                return told
            # Padding puts out nothing and leaves the carry alone: before it there is no step, or none that matters.
            past = shifted(jnp.zeros_like(lax.slice_in_dim(active, 0, 1, axis=plan.axis)), active, plan)
            return where(past, told, jnp.expand_dims(first, plan.axis))

        return jax.tree.unflatten(tree, list(map(before, ours, leaves)))

    def rerun(first, u, here):
        """The carry before each step of a chunk, computed once more."""
        one = full_step(cell, joined(rest, other_rest), plain_dot(cell, weights, plan.dtype), plan.dtype)

        def step(state, time):
            carry, carries = state
            new = one(carry, *at((u, here), time, plan), initial)[0]
            return (new, put_at(carries, carry, time, plan)), None

        state = (first, room(first, plan.chunk, plan))
        return lax.scan(step, state, times, reverse=plan.reverse, unroll=plan.unroll)[0][1]

    def chunk(state, inputs):
        carry_gradient, sums, x_gradients = state
        k, first = inputs
        arriving = jax.tree.leaves(x_gradients)[0] if shared else ys
        here = take(control, k, plan)
        other_xs = take(others[1], k, plan)

        @jax.named_scope("project")
        def project(source, xs):
            return parted(projection(cell, here)(joined(source, other_source), joined(xs, other_xs)))

        u, project_vjp, other_u = jax.vjp(project, source, take(xs, k, plan), has_aux=True)
        leaves, y, products = take((kept.carries, kept.ys, kept.products), k, plan)
        carries = (
            rerun(first, joined(u, other_u), here) if leaves is None else carries_of(first, leaves, y, here.active)
        )
        if here.active is not None:  # zeros there: a number that no derivative divides by
            y = where(here.active, y, jnp.full_like(y, 0.5))
        sequences = (carries, u, other_u, here)
        with jax.named_scope("linearize"):
            states, pullback = linearized_at_all_times(linearize, plan, sequences, (y, products), initial)

        def one_step(carry_gradient, time):
            """The gradients of the carry before a step, of parameters its step reads, of u and of its products."""
            carry_gradient, du, drest, dinitial, dproducts = at(pullback, time, plan)(
                (carry_gradient, at(arriving, k * plan.chunk + time, plan))
            )
            return carry_gradient, {"rest": drest, "initial": dinitial}, (du, dproducts)

        stored, room_for_one, restore = _each_once(lambda: one_step(carry_gradient, 0)[2])

        def back(state, time):
            carry_gradient, sums, gradients = state
            carry_gradient, now, made = one_step(carry_gradient, time)
            return (carry_gradient, add(sums, now), put_at(gradients, stored(made), time, plan)), None

        running = {name: sums[name] for name in ("rest", "initial")}
        state = (carry_gradient, running, room(room_for_one, plan.chunk, plan))
        with jax.named_scope("steps"):
            state = lax.scan(back, state, times, reverse=not plan.reverse, unroll=plan.unroll)[0]
        carry_gradient, running, gradients = state
        du, dproducts = restore(gradients)

        recurrent_sum = dict(sums["recurrent"])
        for made, dz in zip(states, dproducts, strict=True):
            ((name, h),) = made.items()
            with jax.named_scope("weight gradients"):
                gradient = weight_gradient(cell, recurrent[name], h.astype(plan.dtype), dz, plan)
            recurrent_sum[name] = add(recurrent_sum[name], gradient)
        input_gradient, dx = project_vjp(du)
        sums = {**running, "input": add(sums["input"], input_gradient), "recurrent": recurrent_sum}
        return (carry_gradient, sums, put(x_gradients, dx, k, plan)), None

    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    sums = zeros({"input": source, "recurrent": recurrent, "rest": rest, "initial": initial})
    chunks = jnp.arange(jax.tree.leaves(xs)[0].shape[plan.axis] // plan.chunk)
    state = (last_carry, sums, jax.tree.map(lambda _: ys, xs) if shared else zeros(xs))
    (carry_gradient, sums, x_gradients), _ = lax.scan(chunk, state, (chunks, kept.firsts), reverse=not plan.reverse)
    gradients = {**sums["rest"], "input": sums["input"], "recurrent": sums["recurrent"]}
    return gradients, x_gradients, carry_gradient, sums["initial"], None, None


def shifted(first: jax.Array, chunk: jax.Array, plan: Plan) -> jax.Array:
    """What was there before each step of a chunk: ``first`` before the first one, which comes last in reverse."""
    if plan.reverse:
        return jnp.concatenate([lax.slice_in_dim(chunk, 1, None, axis=plan.axis), first], plan.axis)
    return jnp.concatenate([first, lax.slice_in_dim(chunk, 0, -1, axis=plan.axis)], plan.axis)


def _each_once(make: Callable[[], Any]) -> tuple[Callable, list[Any], Callable]:
    """How to store the arrays that ``make`` returns, once each.

    A product's gradient is most often the gradients of u side by side: those are read off it then.

    Returns:
        ``stored``, from what ``make`` returns to the arrays to be stored; what those are like; and ``restore``, the
        inverse of ``stored``, for arrays with or without a time axis.
    """
    closed, shapes = jax.make_jaxpr(make, return_shape=True)()
    outputs, tree = closed.jaxpr.outvars, jax.tree.structure(shapes)
    made_by = {id(var): eqn for eqn in closed.jaxpr.eqns for var in eqn.outvars}
    part_of: dict[int, tuple[int, int, int]] = {}
    for i, var in enumerate(outputs):
        eqn = made_by.get(id(var))
        if eqn is not None and eqn.primitive.name == "concatenate" and eqn.params["dimension"] == var.aval.ndim - 1:
            start = 0
            for piece in eqn.invars:
                width = piece.aval.shape[-1]
                part_of.setdefault(id(piece), (i, start, start + width))
                start += width
    parts = [part_of.get(id(var)) for var in outputs]
    kept = [i for i, part in enumerate(parts) if part is None]

    def restore(arrays):
        found = dict(zip(kept, arrays, strict=True))
        for i, part in enumerate(parts):
            if part is not None:
                found[i] = found[part[0]][..., part[1] : part[2]]
        return jax.tree.unflatten(tree, [found[i] for i in range(len(parts))])

    stored = lambda made: [jax.tree.leaves(made)[i] for i in kept]
    return stored, [outputs[i].aval for i in kept], restore


def weight_gradient(cell: Cell, weight: Any, h: jax.Array, dz: jax.Array, plan: Plan) -> Any:
    """Of one recurrent weight over a chunk, as one large product."""
    chex.assert_equal_shape_prefix([h, dz], h.ndim - cell.axes)
    if cell.product is matmul:  # time and batch joined: XLA's contraction over two axes is slow on a CPU
        h, dz = joined_rows(h), joined_rows(dz)
        return jax.vjp(lambda w: matmul(w, h), weight)[1](dz)[0]
    z, pullback = jax.vjp(lambda w: cell.product(w, h), weight)
    return pullback(dz.astype(z.dtype))[0]
