"""The gradient of the sequential executor, from the cell's own step.

Since every carry of a chunk is known, all its state products and everything elementwise are recomputed at once, and
the step's linearisation with them; what remains sequential is one product a step and the multiply-adds around it.
Weight gradients are one large product a chunk. No cell writes a backward pass: the engine gets it by differentiating
the cell's step with a ``dot`` whose result is known.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.recurrent.cell import Cell, Params, matmul, plain_dot, split_params
from jaxnets.recurrent.steps import (
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
)


def backward(cell, plan, residuals, cotangents):
    """The reverse rule of ``chunked``."""
    params, xs, initial, others, control, kept = residuals
    last_carry, ys = cotangents
    source, recurrent, rest = split_params(params)
    other_source, _, other_rest = split_params(others[0])
    weights = ready(cell, recurrent, plan.dtype)
    linearise = _linearised(cell, plan, weights, rest, other_rest)
    times = jnp.arange(plan.chunk)

    def carries_of(k, first, u, here):
        """The carry before each step of a chunk."""
        if plan.keep == "carries":
            return take(kept, k, plan)
        one = full_step(cell, joined(rest, other_rest), plain_dot(cell, weights, plan.dtype), plan.dtype)

        def rerun(state, time):
            carry, carries = state
            new = one(carry, at(u, time, plan), at(here, time, plan), initial)[0]
            return (new, put_at(carries, carry, time, plan)), None

        state = (first, room(first, plan.chunk, plan))
        return lax.scan(rerun, state, times, reverse=plan.reverse, unroll=plan.unroll)[0][1]

    def chunk(state, inputs):
        carry_gradient, sums, x_gradients = state
        k, first = inputs
        here = take(control, k, plan)
        other_xs = take(others[1], k, plan)

        def project(source, xs):
            return parted(projection(cell, here)(joined(source, other_source), joined(xs, other_xs)))

        u, project_vjp, other_u = jax.vjp(project, source, take(xs, k, plan), has_aux=True)
        carries = carries_of(k, first, joined(u, other_u), here)
        states, pullback = _at_all_times(linearise, plan, (carries, u, other_u, here), initial)

        def one_step(carry_gradient, time):
            """The gradients of the carry before a step, of parameters its step reads, of u and of its products."""
            carry_gradient, du, drest, dinitial, dproducts = at(pullback, time, plan)(
                (carry_gradient, at(ys, k * plan.chunk + time, plan))
            )
            return carry_gradient, {"rest": drest, "initial": dinitial}, (du, dproducts)

        stored, room_for_one, restore = _each_once(lambda: one_step(carry_gradient, 0)[2])

        def back(state, time):
            carry_gradient, sums, gradients = state
            carry_gradient, now, made = one_step(carry_gradient, time)
            return (carry_gradient, add(sums, now), put_at(gradients, stored(made), time, plan)), None

        running = {name: sums[name] for name in ("rest", "initial")}
        state = (carry_gradient, running, room(room_for_one, plan.chunk, plan))
        state = lax.scan(back, state, times, reverse=not plan.reverse, unroll=plan.unroll)[0]
        carry_gradient, running, gradients = state
        du, dproducts = restore(gradients)

        recurrent_sum = dict(sums["recurrent"])
        for made, dz in zip(states, dproducts, strict=True):
            ((name, h),) = made.items()
            gradient = _weight_gradient(cell, recurrent[name], h.astype(plan.dtype), dz, plan)
            recurrent_sum[name] = add(recurrent_sum[name], gradient)
        input_gradient, dx = project_vjp(du)
        sums = {**running, "input": add(sums["input"], input_gradient), "recurrent": recurrent_sum}
        return (carry_gradient, sums, put(x_gradients, dx, k, plan)), None

    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    sums = zeros({"input": source, "recurrent": recurrent, "rest": rest, "initial": initial})
    chunks = jnp.arange(jax.tree.leaves(xs)[0].shape[plan.axis] // plan.chunk)
    firsts = kept if plan.keep == "boundaries" else None
    state = (last_carry, sums, zeros(xs))
    (carry_gradient, sums, x_gradients), _ = lax.scan(chunk, state, (chunks, firsts), reverse=not plan.reverse)
    gradients = {**sums["rest"], "input": sums["input"], "recurrent": sums["recurrent"]}
    return gradients, x_gradients, carry_gradient, sums["initial"], None, None


def _at_all_times(linearise: Callable, plan: Plan, sequences: tuple, initial: Any) -> Any:
    """``linearise`` of every step of a chunk, with time where it is in the sequences."""
    trees = []

    def flat(*arguments):
        states, pullback = linearise(*arguments)
        leaves, tree = jax.tree.flatten(pullback)
        trees.append(tree)
        return states, leaves

    now = jax.eval_shape(lambda sequences: flat(*at(sequences, 0, plan), initial), sequences)
    axes = jax.tree.map(lambda leaf: min(plan.axis, leaf.ndim), now)
    states, leaves = jax.vmap(flat, (*(plan.axis,) * len(sequences), None), axes)(*sequences, initial)
    return states, jax.tree.unflatten(trees[-1], leaves)


def _linearised(cell: Cell, plan: Plan, weights: Params, rest: Any, other_rest: Any) -> Callable:
    """``(carry, u, other_u, control, initial) -> (states, pullback)``, of one step, or of many at once.

    ``states`` are what the step multiplied, as ``{name: h}`` in the order of its products. ``pullback`` goes from the
    gradients of (carry, y) to those of carry, u, rest, initial and of each product; through it flows everything but
    the gradients of the recurrent weights.
    """
    dot, known = plain_dot(cell, weights, plan.dtype), _known_product(cell, weights, plan.dtype)

    def linearise(carry, u, other_u, control, initial):
        states: list[dict[str, jax.Array]] = []
        products: list[jax.Array] = []

        def record(name, h):
            states.append({name: h})
            products.append(dot(name, h))
            return products[-1]

        full_step(cell, joined(rest, other_rest), record, plan.dtype)(carry, joined(u, other_u), control, initial)

        def step(carry, u, rest, initial, products):
            remaining = iter(products)
            replay = lambda name, h: known(name, next(remaining), h)
            one = full_step(cell, joined(rest, other_rest), replay, plan.dtype)
            return one(carry, joined(u, other_u), control, initial)

        return states, jax.vjp(step, carry, u, rest, initial, products)[1]

    return linearise


def _known_product(cell: Cell, weights: Params, dtype: Any) -> Callable:
    """``known(name, z, h)`` is z, the product of h with the weight ``name``, and differentiates to both z and h."""
    if cell.product is matmul:
        # Transposed once here, outside the loops: a quarter of the time on a CPU.
        transposed = jax.tree.map(lambda w: w.T, weights)
        state_gradient = lambda name, h, dz: matmul(transposed[name], dz.astype(dtype))
    else:

        def state_gradient(name, h, dz):
            z, pullback = jax.vjp(lambda h: cell.product(weights[name], h.astype(dtype)), h)
            return pullback(dz.astype(z.dtype))[0]

    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def known(name, z, h):
        return z

    def known_bwd(name, h, dz):
        return dz, state_gradient(name, h, dz).astype(jnp.promote_types(dtype, jnp.float32))

    # A matrix product's gradient needs nothing of h: it is not kept.
    keep = (lambda h: None) if cell.product is matmul else (lambda h: h)
    known.defvjp(lambda name, z, h: (z, keep(h)), known_bwd)
    return known


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


def _weight_gradient(cell: Cell, weight: Any, h: jax.Array, dz: jax.Array, plan: Plan) -> Any:
    """Of one recurrent weight over a chunk, as one large product."""
    if cell.product is matmul:  # time and batch joined: XLA's contraction over two axes is slow on a CPU
        h, dz = h.reshape(-1, h.shape[-1]), dz.reshape(-1, dz.shape[-1])
        return jax.vjp(lambda w: matmul(w, h), weight)[1](dz)[0]
    z, pullback = jax.vjp(lambda w: cell.product(w, h), weight)
    return pullback(dz.astype(z.dtype))[0]
