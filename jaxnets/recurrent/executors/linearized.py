"""Linearization of the step of a cell, with known state products, for backward passes."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import get_opaque_trace_state

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Cell, Params, matmul, plain_dot
from jaxnets.recurrent.executors.steps import TRACER_LEAK, Plan, combine, get_step, masked_step


def make_linearize(cell: Cell, plan: Plan, weights: Params, rest: Any, nondiff_rest: Any) -> Callable:
    """Returns a function that linearizes one step.

    It maps ``(carry, u, nondiff_u, masks, initial, y=None, products=None)`` to ``((carry, y), states, products,
    pullback)``. A known output ``y`` and known state products need not be computed again. ``states`` are the factors of
    the products, ``[{name: h}, ...]`` in the order of the ``dot`` calls. ``pullback`` maps the gradients of (carry, y)
    to those of carry, u, rest, initial and the products. The gradients of the recurrent weights follow from the states
    and the gradients of the products.
    """
    dot, known = plain_dot(cell, weights, plan.dtype), _known_product(cell, weights, plan.dtype)

    def linearize(carry, u, nondiff_u, masks, initial, y=None, products=None):
        outside = get_opaque_trace_state(convention="flax")
        states: list[dict[str, jax.Array]] = []
        computed: list[jax.Array] = []

        def record(name, h):
            # A value recorded under another trace would leak from its transformation.
            if get_opaque_trace_state(convention="flax") != outside:
                raise ValueError(TRACER_LEAK)
            computed.append(dot(name, h) if products is None else products[len(states)])
            states.append({name: h})
            return computed[-1]

        masked_step(cell, combine(rest, nondiff_rest), record, plan.dtype)(carry, combine(u, nondiff_u), masks, initial)
        tree = None

        def linear():
            """Returns the unmasked output of the cell, the outputs of the step, and the leaves of the pullback."""
            nonlocal tree
            cell_outputs = []

            def recording_step(*arguments):
                new, y = cell.step(*arguments)
                cell_outputs.append(y)
                return new, y

            def step(carry, u, rest, initial, products):
                remaining = iter(products)
                replay = lambda name, h: known(name, next(remaining), h)
                recording = cell._replace(step=recording_step)
                run_step = masked_step(recording, combine(rest, nondiff_rest), replay, plan.dtype)
                return run_step(carry, combine(u, nondiff_u), masks, initial), cell_outputs.pop()

            outputs, pullback, y = jax.vjp(step, carry, u, rest, initial, computed, has_aux=True)
            leaves, tree = jax.tree.flatten(pullback)
            return y, outputs, leaves

        _, outputs, leaves = linear() if y is None else _with_first_output(linear, y)
        return outputs, states, computed, jax.tree.unflatten(tree, leaves)

    return linearize


def linearize_all_steps(linearize: Callable, plan: Plan, sequences: tuple, known: tuple, initial: Any) -> Any:
    """Linearizes all steps of a chunk: returns their states and pullbacks, with the time axis of the sequences."""
    trees = []

    def flat(sequences, known, initial):
        _, states, _, pullback = linearize(*sequences, initial, *known)
        leaves, tree = jax.tree.flatten(pullback)
        trees.append(tree)
        return states, leaves

    shapes = jax.eval_shape(lambda: flat(get_step(sequences, 0, plan), get_step(known, 0, plan), initial))
    axes = jax.tree.map(lambda leaf: min(plan.axis, leaf.ndim), shapes)
    states, leaves = jax.vmap(flat, (plan.axis, plan.axis, None), axes)(sequences, known, initial)
    return states, jax.tree.unflatten(trees[-1], leaves)


def _with_first_output(f: Callable, value: jax.Array) -> Any:
    """Evaluates ``f()`` with a known value of its first output.

    Operations that only the first output depends on are not executed. The derivative of tanh is a function of its
    value, so that an Elman cell needs no products in its backward pass.
    """
    closed, shapes = jax.make_jaxpr(f, return_shape=True)()
    jaxpr = closed.jaxpr
    first = jaxpr.outvars[0]
    eqns = [eqn for eqn in jaxpr.eqns if first not in eqn.outvars]
    # The known value cannot be used if f does not compute its first output, or if the value has another dtype.
    if len(eqns) + 1 != len(jaxpr.eqns) or first.aval != jax.typeof(value):
        return f()
    reduced = jaxpr.replace(invars=[first], eqns=eqns, debug_info=jaxpr.debug_info.with_unknown_names())
    return jax.tree.unflatten(jax.tree.structure(shapes), jax.core.eval_jaxpr(reduced, closed.consts, value))


def _known_product(cell: Cell, weights: Params, dtype: Any) -> Callable:
    """Returns ``known(name, z, h)``: z, the known product of h and a weight, with gradients for z and h."""
    if cell.product is matmul:
        # Transposed once outside the loop, which saves a quarter of the time on a CPU.
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

    # The gradient of a matrix product does not depend on h, which is then not saved.
    keep = (lambda h: None) if cell.product is matmul else (lambda h: h)
    known.defvjp(lambda name, z, h: (z, keep(h)), known_bwd)
    return known
