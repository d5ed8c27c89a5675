"""The gradient of the sequential executor, from the cell's own step.

Since every carry of a chunk is known, all its state products and everything elementwise are recomputed at once, and
the step's linearisation with them; what remains sequential is one product a step and the multiply-adds around it.
Weight gradients are one large product a chunk. No cell writes a backward pass: the engine gets it by differentiating
the cell's step with a ``dot`` whose result is known.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.recurrent.cell import Carry, Cell, Params, matmul, plain_dot, split_params
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
    where,
)


class Kept(NamedTuple):
    """What a forward pass leaves to ``backward``.

    Attributes:
        firsts: The carry before each chunk ``[n, ...]``.
        of_steps: By ``plan.keep``. "carries": the carry before each step, without what is in ys too. "products": that,
            and the state products of each step. "linearisation": what the steps multiplied and the leaves of their
            pullbacks. Else None: the chunks run once more.
        ys: The outputs.
    """

    firsts: Carry
    of_steps: Any
    ys: jax.Array


def without(carry: Carry, new: Carry, y: jax.Array) -> list[jax.Array | None]:
    """The leaves of a carry, None for one that the step before has put out as it is."""
    pairs = zip(jax.tree.leaves(carry), jax.tree.leaves(new), strict=True)
    return [None if after is y else before for before, after in pairs]


def backward(cell, plan, residuals, cotangents):
    """The reverse rule of ``chunked``."""
    params, xs, initial, others, control, kept = residuals
    last_carry, ys = cotangents
    source, recurrent, rest = split_params(params)
    other_source, _, other_rest = split_params(others[0])
    weights = ready(cell, recurrent, plan.dtype)
    linearise = linearised(cell, plan, weights, rest, other_rest)
    times = jnp.arange(plan.chunk)

    def carries_of(k, first, leaves):
        """The carry before each step of a chunk, from what is kept of it."""
        ours, tree = jax.tree.flatten(first)
        beside = take(kept.ys, k, plan)

        def before(first, leaf):
            if leaf is not None:
                return leaf
            first = jnp.expand_dims(first, plan.axis)
            if plan.reverse:
                return jnp.concatenate([lax.slice_in_dim(beside, 1, None, axis=plan.axis), first], plan.axis)
            return jnp.concatenate([first, lax.slice_in_dim(beside, 0, -1, axis=plan.axis)], plan.axis)

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
        here = take(control, k, plan)
        other_xs = take(others[1], k, plan)

        def project(source, xs):
            return parted(projection(cell, here)(joined(source, other_source), joined(xs, other_xs)))

        u, project_vjp, other_u = jax.vjp(project, source, take(xs, k, plan), has_aux=True)
        of_steps, products = take(kept.of_steps, k, plan), None
        if plan.keep == "products":
            of_steps, products = of_steps
        carries = rerun(first, joined(u, other_u), here) if of_steps is None else carries_of(k, first, of_steps)
        known = take(kept.ys, k, plan), products
        if here.active is not None:  # zeros there: a number that no derivative divides by
            known = where(here.active, known[0], jnp.full_like(known[0], 0.5)), products
        states, pullback = _at_all_times(linearise, plan, (carries, u, other_u, here), known, initial)

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
    state = (last_carry, sums, zeros(xs))
    (carry_gradient, sums, x_gradients), _ = lax.scan(chunk, state, (chunks, kept.firsts), reverse=not plan.reverse)
    gradients = {**sums["rest"], "input": sums["input"], "recurrent": sums["recurrent"]}
    return gradients, x_gradients, carry_gradient, sums["initial"], None, None


def _at_all_times(linearise: Callable, plan: Plan, sequences: tuple, known: tuple, initial: Any) -> Any:
    """States and pullbacks of every step of a chunk, with time where it is in the sequences."""
    trees = []

    def flat(sequences, known, initial):
        _, states, _, pullback = linearise(*sequences, initial, *known)
        leaves, tree = jax.tree.flatten(pullback)
        trees.append(tree)
        return states, leaves

    now = jax.eval_shape(lambda: flat(at(sequences, 0, plan), at(known, 0, plan), initial))
    axes = jax.tree.map(lambda leaf: min(plan.axis, leaf.ndim), now)
    states, leaves = jax.vmap(flat, (plan.axis, plan.axis, None), axes)(sequences, known, initial)
    return states, jax.tree.unflatten(trees[-1], leaves)


def linearised(cell: Cell, plan: Plan, weights: Params, rest: Any, other_rest: Any) -> Callable:
    """``(carry, u, other_u, control, initial, y=None, products=None) -> ((carry, y), states, products, pullback)``.

    Of one step, of which output and state products may be known. ``states`` are what it multiplied, as ``{name: h}`` in
    the order of its products. ``pullback`` goes from the gradients of (carry, y) to those of carry, u, rest, initial
    and of each product; through it flows everything but the gradients of the recurrent weights.
    """
    dot, known = plain_dot(cell, weights, plan.dtype), _known_product(cell, weights, plan.dtype)

    def linearise(carry, u, other_u, control, initial, y=None, products=None):
        states: list[dict[str, jax.Array]] = []
        computed: list[jax.Array] = []

        def record(name, h):
            computed.append(dot(name, h) if products is None else products[len(states)])
            states.append({name: h})
            return computed[-1]

        full_step(cell, joined(rest, other_rest), record, plan.dtype)(carry, joined(u, other_u), control, initial)
        tree = None

        def linear():
            """The cell's own output, the outputs, and the leaves of the pullback."""
            nonlocal tree
            own = []

            def noted(*arguments):
                new, y = cell.step(*arguments)
                own.append(y)
                return new, y

            def step(carry, u, rest, initial, products):
                remaining = iter(products)
                replay = lambda name, h: known(name, next(remaining), h)
                one = full_step(cell._replace(step=noted), joined(rest, other_rest), replay, plan.dtype)
                return one(carry, joined(u, other_u), control, initial), own.pop()

            outputs, pullback, y = jax.vjp(step, carry, u, rest, initial, computed, has_aux=True)
            leaves, tree = jax.tree.flatten(pullback)
            return y, outputs, leaves

        _, outputs, leaves = linear() if y is None else _with_first_output(linear, y)
        return outputs, states, computed, jax.tree.unflatten(tree, leaves)

    return linearise


def _with_first_output(f: Callable, value: jax.Array) -> Any:
    """``f()``, whose first output is known: what else is computed from it is computed from that value.

    What was needed for that output alone is not computed at all. An Elman network's tanh, whose derivative is one of
    its value, needs no products then.
    """
    closed, shapes = jax.make_jaxpr(f, return_shape=True)()
    jaxpr = closed.jaxpr
    first = jaxpr.outvars[0]
    others = [eqn for eqn in jaxpr.eqns if first not in eqn.outvars]
    if len(others) + 1 != len(jaxpr.eqns) or first.aval != jax.typeof(value):  # not computed, or rounded since
        return f()
    changed = jaxpr.replace(invars=[first], eqns=others, debug_info=jaxpr.debug_info.with_unknown_names())
    return jax.tree.unflatten(jax.tree.structure(shapes), jax.core.eval_jaxpr(changed, closed.consts, value))


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
