"""Backward pass of the sequential executor, derived from the step of the cell.

All carries of a chunk are known in the backward pass. Its state products, its elementwise operations and the
linearization of its steps are therefore recomputed for all steps together. Only one product per step, and the
elementwise operations around it, remain sequential. The weight gradients of a chunk are one large product. Cells do not
define a backward pass: the executor differentiates their step, with a ``dot`` that returns known products.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.recurrent.cell import Carry, Cell, flatten_rows, matmul, plain_dot, split_params
from jaxnets.recurrent.executors.linearized import linearize_all_steps, make_linearize
from jaxnets.recurrent.executors.steps import (
    Plan,
    add_trees,
    cast_weights,
    combine,
    explain_tracer_leaks,
    get_chunk,
    get_step,
    masked_projection,
    masked_step,
    partition,
    select_steps,
    set_chunk,
    set_step,
    zeros_sequence,
)


class Residuals(NamedTuple):
    """The arrays that a forward pass saves for ``backward``.

    Attributes:
        chunk_carries: The carry before each chunk, ``[n, ...]``.
        carries: The leaves of the carry before each step, None for a leaf that equals ys; None to recompute all.
        products: The state products of each step; None to recompute them.
        ys: The outputs.
    """

    chunk_carries: Carry
    carries: list[jax.Array | None] | None
    products: list[jax.Array] | None
    ys: jax.Array


@explain_tracer_leaks()
def backward(cell, plan, residuals, cotangents):
    """Computes the gradients of ``sequential_scan`` from its residuals and the cotangents of its results."""
    params, xs, initial, nondiff, masks, saved = residuals
    last_carry, ys = cotangents
    source, recurrent, rest = split_params(params)
    nondiff_source, _, nondiff_rest = split_params(nondiff[0])
    weights = cast_weights(cell, recurrent, plan.dtype)
    linearize = make_linearize(cell, plan, weights, rest, nondiff_rest)
    times = jnp.arange(plan.chunk)
    # If xs and ys have the same shape, the gradient of each chunk of xs overwrites that of ys, which saves a buffer.
    shared = [(a.shape, a.dtype) for a in jax.tree.leaves(xs)] == [(ys.shape, ys.dtype)]

    def restore_carries(first, leaves, y, valid):
        """Returns the carry before each step of a chunk from its saved leaves and its outputs."""
        first_leaves, tree = jax.tree.flatten(first)

        def restore(first, leaf):
            if leaf is not None:
                return leaf
            previous_output = previous_steps(jnp.expand_dims(first, plan.axis), y, plan)
            if valid is None:
                return previous_output
            # Outputs of the padding are zero instead of the carry. After a padded step comes the first valid step,
            # which starts from the first carry, or more padding, of which the carry has no effect.
            was_valid = previous_steps(jnp.zeros_like(lax.slice_in_dim(valid, 0, 1, axis=plan.axis)), valid, plan)
            return select_steps(was_valid, previous_output, jnp.expand_dims(first, plan.axis))

        return jax.tree.unflatten(tree, list(map(restore, first_leaves, leaves)))

    def recompute_carries(first, u, chunk_masks):
        """Runs a chunk again, and returns the carry before each step."""
        run_step = masked_step(cell, combine(rest, nondiff_rest), plain_dot(cell, weights, plan.dtype), plan.dtype)

        def step(state, time):
            carry, carries = state
            new = run_step(carry, *get_step((u, chunk_masks), time, plan), initial)[0]
            return (new, set_step(carries, carry, time, plan)), None

        state = (first, zeros_sequence(first, plan.chunk, plan))
        return lax.scan(step, state, times, reverse=plan.reverse, unroll=plan.unroll)[0][1]

    def chunk(state, inputs):
        carry_gradient, sums, x_gradients = state
        k, first = inputs
        y_gradients = jax.tree.leaves(x_gradients)[0] if shared else ys
        chunk_masks = get_chunk(masks, k, plan)
        nondiff_xs = get_chunk(nondiff[1], k, plan)

        @jax.named_scope("project")
        def project(source, xs):
            return partition(
                masked_projection(cell, chunk_masks)(combine(source, nondiff_source), combine(xs, nondiff_xs))
            )

        u, project_vjp, nondiff_u = jax.vjp(project, source, get_chunk(xs, k, plan), has_aux=True)
        leaves, y, products = get_chunk((saved.carries, saved.ys, saved.products), k, plan)
        carries = (
            recompute_carries(first, combine(u, nondiff_u), chunk_masks)
            if leaves is None
            else restore_carries(first, leaves, y, chunk_masks.valid)
        )
        if chunk_masks.valid is not None:  # the derivative of an activation may divide by y, which is 0 in the padding
            y = select_steps(chunk_masks.valid, y, jnp.full_like(y, 0.5))
        sequences = (carries, u, nondiff_u, chunk_masks)
        with jax.named_scope("linearize"):
            states, pullback = linearize_all_steps(linearize, plan, sequences, (y, products), initial)

        def pull_back_step(carry_gradient, time):
            """Returns the gradients of the previous carry, of ``rest`` and ``initial``, and of u and the products."""
            carry_gradient, du, drest, dinitial, dproducts = get_step(pullback, time, plan)(
                (carry_gradient, get_step(y_gradients, k * plan.chunk + time, plan))
            )
            return carry_gradient, {"rest": drest, "initial": dinitial}, (du, dproducts)

        pack, packed_shapes, unpack = _deduplicate(lambda: pull_back_step(carry_gradient, 0)[2])

        def back(state, time):
            carry_gradient, sums, packed = state
            carry_gradient, parameter_gradients, step_gradients = pull_back_step(carry_gradient, time)
            packed = set_step(packed, pack(step_gradients), time, plan)
            return (carry_gradient, add_trees(sums, parameter_gradients), packed), None

        running = {name: sums[name] for name in ("rest", "initial")}
        state = (carry_gradient, running, zeros_sequence(packed_shapes, plan.chunk, plan))
        with jax.named_scope("steps"):
            state = lax.scan(back, state, times, reverse=not plan.reverse, unroll=plan.unroll)[0]
        carry_gradient, running, packed = state
        du, dproducts = unpack(packed)

        recurrent_sum = dict(sums["recurrent"])
        for state_of_product, dz in zip(states, dproducts, strict=True):
            ((name, h),) = state_of_product.items()
            with jax.named_scope("weight gradients"):
                gradient = weight_gradient(cell, recurrent[name], h.astype(plan.dtype), dz, plan)
            recurrent_sum[name] = add_trees(recurrent_sum[name], gradient)
        input_gradient, dx = project_vjp(du)
        sums = {**running, "input": add_trees(sums["input"], input_gradient), "recurrent": recurrent_sum}
        return (carry_gradient, sums, set_chunk(x_gradients, dx, k, plan)), None

    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    sums = zeros({"input": source, "recurrent": recurrent, "rest": rest, "initial": initial})
    chunks = jnp.arange(jax.tree.leaves(xs)[0].shape[plan.axis] // plan.chunk)
    state = (last_carry, sums, jax.tree.map(lambda _: ys, xs) if shared else zeros(xs))
    (carry_gradient, sums, x_gradients), _ = lax.scan(
        chunk, state, (chunks, saved.chunk_carries), reverse=not plan.reverse
    )
    gradients = {**sums["rest"], "input": sums["input"], "recurrent": sums["recurrent"]}
    return gradients, x_gradients, carry_gradient, sums["initial"], None, None


def previous_steps(first: jax.Array, chunk: jax.Array, plan: Plan) -> jax.Array:
    """Shifts a chunk by one step of the traversal, with ``first`` before its first step."""
    if plan.reverse:
        return jnp.concatenate([lax.slice_in_dim(chunk, 1, None, axis=plan.axis), first], plan.axis)
    return jnp.concatenate([first, lax.slice_in_dim(chunk, 0, -1, axis=plan.axis)], plan.axis)


def _deduplicate(function: Callable[[], Any]) -> tuple[Callable, list[Any], Callable]:
    """Finds outputs of a function that are slices of another output, so that each array is stored once.

    The gradient of a product is usually the concatenation of the gradients of u.

    Returns:
        ``pack``, from the outputs of ``function`` to the list of arrays to store; the shapes of these arrays; and
        ``unpack``, the inverse of ``pack``, for arrays with or without a time axis.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)()
    outputs, tree = closed.jaxpr.outvars, jax.tree.structure(shapes)
    producers = {id(var): eqn for eqn in closed.jaxpr.eqns for var in eqn.outvars}
    slice_of: dict[int, tuple[int, int, int]] = {}
    for i, var in enumerate(outputs):
        eqn = producers.get(id(var))
        if eqn is not None and eqn.primitive.name == "concatenate" and eqn.params["dimension"] == var.aval.ndim - 1:
            start = 0
            for operand in eqn.invars:
                width = operand.aval.shape[-1]
                slice_of.setdefault(id(operand), (i, start, start + width))
                start += width
    slices = [slice_of.get(id(var)) for var in outputs]
    stored = [i for i, bounds in enumerate(slices) if bounds is None]

    def unpack(arrays):
        values = dict(zip(stored, arrays, strict=True))
        for i, bounds in enumerate(slices):
            if bounds is not None:
                values[i] = values[bounds[0]][..., bounds[1] : bounds[2]]
        return jax.tree.unflatten(tree, [values[i] for i in range(len(slices))])

    pack = lambda values: [jax.tree.leaves(values)[i] for i in stored]
    return pack, [outputs[i].aval for i in stored], unpack


def weight_gradient(cell: Cell, weight: Any, h: jax.Array, dz: jax.Array, plan: Plan) -> Any:
    """Computes the gradient of one recurrent weight over a chunk, as one large product."""
    chex.assert_equal_shape_prefix([h, dz], h.ndim - cell.axes)
    if cell.product is matmul:  # flattened because XLA's contraction over two axes is slow on a CPU
        h, dz = flatten_rows(h), flatten_rows(dz)
        return jax.vjp(lambda w: matmul(w, h), weight)[1](dz)[0]
    z, pullback = jax.vjp(lambda w: cell.product(w, h), weight)
    return pullback(dz.astype(z.dtype))[0]
