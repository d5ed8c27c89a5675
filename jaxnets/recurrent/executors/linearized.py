"""One step of a cell linearized, with state products that are known: what the sequential executor differentiates."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import get_opaque_trace_state

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Cell, Params, matmul, plain_dot
from jaxnets.recurrent.executors.steps import WRAPPED, Plan, at, full_step, joined


def linearized(cell: Cell, plan: Plan, weights: Params, rest: Any, other_rest: Any) -> Callable:
    """``(carry, u, other_u, control, initial, y=None, products=None) -> ((carry, y), states, products, pullback)``.

    Of one step, of which output and state products may be known. ``states`` are what it multiplied, as ``{name: h}`` in
    the order of its products. ``pullback`` goes from the gradients of (carry, y) to those of carry, u, rest, initial
    and of each product; through it flows everything but the gradients of the recurrent weights.
    """
    dot, known = plain_dot(cell, weights, plan.dtype), _known_product(cell, weights, plan.dtype)

    def linearize(carry, u, other_u, control, initial, y=None, products=None):
        outside = get_opaque_trace_state(convention="flax")
        states: list[dict[str, jax.Array]] = []
        computed: list[jax.Array] = []

        def record(name, h):
            # Noted here, it would leave the transformation that it was computed in.
            if get_opaque_trace_state(convention="flax") != outside:
                raise ValueError(WRAPPED)
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

    return linearize


def linearized_at_all_times(linearize: Callable, plan: Plan, sequences: tuple, known: tuple, initial: Any) -> Any:
    """States and pullbacks of every step of a chunk, with time where it is in the sequences."""
    trees = []

    def flat(sequences, known, initial):
        _, states, _, pullback = linearize(*sequences, initial, *known)
        leaves, tree = jax.tree.flatten(pullback)
        trees.append(tree)
        return states, leaves

    now = jax.eval_shape(lambda: flat(at(sequences, 0, plan), at(known, 0, plan), initial))
    axes = jax.tree.map(lambda leaf: min(plan.axis, leaf.ndim), now)
    states, leaves = jax.vmap(flat, (plan.axis, plan.axis, None), axes)(sequences, known, initial)
    return states, jax.tree.unflatten(trees[-1], leaves)


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
        return dz, state_gradient(name, h, dz).astype(at_least_float32(dtype))

    # A matrix product's gradient needs nothing of h: it is not kept.
    keep = (lambda h: None) if cell.product is matmul else (lambda h: h)
    known.defvjp(lambda name, z, h: (z, keep(h)), known_bwd)
    return known
