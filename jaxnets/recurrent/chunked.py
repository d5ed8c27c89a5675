"""The sequential executor: a scan in chunks whose gradient comes from the cell's own step.

The forward pass goes chunk by chunk: one product projects the chunk's inputs while they are in cache, then the steps
run with one state product each. Only the carries are kept. The backward pass goes through the chunks in reverse. Since
every carry of a chunk is known, all its state products and everything elementwise are recomputed at once, and the
step's linearisation with them; what remains sequential is one product a step and the multiply-adds around it. Weight
gradients are one large product a chunk. No cell writes a backward pass: the engine gets it by differentiating the
cell's step with a ``dot`` whose result is known.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.recurrent.cell import Carry, Cell, Params, matmul, plain_dot, split_params


class Plan(NamedTuple):
    """How the executor runs: all static."""

    chunk: int
    keep: str
    unroll: int
    reverse: bool
    axis: int  # of time in xs and ys
    dtype: Any  # of the products and outputs


class Control(NamedTuple):
    """What decides about steps, time first, ``[T, *batch]`` bool; None where there is nothing to decide.

    Attributes:
        active: False where a step is padding: the carry goes by, the output is zero.
        reset: True where a step starts from the initial carry.
    """

    active: jax.Array | None = None
    reset: jax.Array | None = None


# Parameters and xs come in two parts: what is differentiated (floating point), and what is not (masks of noise, keys).
# ``initial`` is the carry that a reset brings back, () without resets.


def full_step(cell: Cell, rest: Params, dot: Callable, dtype: Any) -> Callable:
    """``(carry, u, control, initial) -> (carry, y)``: the cell's step, with padding and resets around it."""

    def step(carry, u, control, initial):
        if control.reset is not None:
            carry = jax.tree.map(functools.partial(_where, control.reset), initial, carry)
        new, y = cell.step(rest, carry, u, dot)
        y = y.astype(dtype)
        if control.active is not None:
            new = jax.tree.map(functools.partial(_where, control.active), new, carry)
            y = _where(control.active, y, jnp.zeros_like(y))
        return new, y

    return step


def projection(cell: Cell, control: Control) -> Callable:
    """The cell's ``project``; padding is zeroed first, so that not even a NaN in it has an effect."""

    def project(source, xs):
        if control.active is not None:
            zeroed = lambda x: _where(control.active, x, jnp.zeros_like(x))
            floats, others = parted(xs)
            xs = joined(jax.tree.map(zeroed, floats), others)
        return cell.project(source, xs)

    return project


def parted(tree: Any) -> tuple[Any, Any]:
    """Two trees like the one given: one with its floating point leaves, one with the others, None elsewhere."""
    floating = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)
    return (
        jax.tree.map(lambda x: x if floating(x) else None, tree),
        jax.tree.map(lambda x: None if floating(x) else x, tree),
    )


def joined(floats: Any, others: Any) -> Any:
    """The inverse of ``parted``."""
    return jax.tree.map(lambda a, b: b if a is None else a, floats, others, is_leaf=lambda leaf: leaf is None)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def chunked(
    cell: Cell, plan: Plan, params: Params, xs: Any, carry: Carry, initial: Carry, others: Any, control: Control
) -> tuple[Carry, jax.Array]:
    """The last carry and ys.

    Args:
        cell, plan: Static.
        params, xs: Their floating point parts; T is a multiple of the chunk and not 0.
        carry, initial: Before the first step, and after a reset (or ()).
        others: The other parts of params and xs.
        control: Padding and resets.
    """
    plan = plan._replace(keep="nothing")
    return _forward(cell, plan, params, xs, carry, initial, others, control)[:2]


def _chunked_fwd(cell, plan, params, xs, carry, initial, others, control):
    last, ys, kept = _forward(cell, plan, params, xs, carry, initial, others, control)
    return (last, ys), (params, xs, initial, others, control, kept)


def _forward(cell, plan, params, xs, carry, initial, others, control) -> tuple[Carry, jax.Array, Any]:
    """Returns the last carry, ys, and what was kept: carries ``[n, chunk, ...]`` or boundaries ``[n, ...]``."""
    source, recurrent, rest = split_params(joined(params, others[0]))
    one = full_step(cell, rest, plain_dot(cell, ready(cell, recurrent, plan.dtype), plan.dtype), plan.dtype)
    whole = joined(xs, others[1])

    def step(carry, inputs):
        new, y = one(carry, *inputs, initial)
        return new, (y, carry if plan.keep == "carries" else None)

    def run_chunk(carry, k):
        here = _take(control, k, plan, 0)
        u = projection(cell, here)(source, _take(whole, k, plan))
        return lax.scan(step, carry, (u, here), reverse=plan.reverse, unroll=plan.unroll)

    def body(state, k):
        first, ys = state
        carry, (y, carries) = run_chunk(first, k)
        kept = {"carries": carries, "boundaries": first, "nothing": None}[plan.keep]
        return (carry, _put(ys, y, k, plan)), kept

    y = jax.eval_shape(run_chunk, carry, 0)[1][0]
    length = jax.tree.leaves(xs)[0].shape[plan.axis]
    batch, features = y.shape[1 : plan.axis + 1], y.shape[plan.axis + 1 :]
    buffer = jnp.zeros((*batch, length, *features), plan.dtype)
    (carry, ys), kept = lax.scan(body, (carry, buffer), jnp.arange(length // plan.chunk), reverse=plan.reverse)
    return carry, ys, kept


def _chunked_bwd(cell, plan, residuals, cotangents):
    params, xs, initial, others, control, kept = residuals
    last_carry, ys = cotangents
    source, recurrent, rest = split_params(params)
    other_source, _, other_rest = split_params(others[0])
    weights = ready(cell, recurrent, plan.dtype)
    dot = plain_dot(cell, weights, plan.dtype)
    known = _known_product(cell, weights, plan.dtype)

    def body(state, inputs):
        carry_gradient, sums, x_gradients = state
        k, kept = inputs
        here = _take(control, k, plan, 0)
        other_xs = _take(others[1], k, plan)

        def project(source, xs):
            return parted(projection(cell, here)(joined(source, other_source), joined(xs, other_xs)))

        u, project_vjp, other_u = jax.vjp(project, source, _take(xs, k, plan), has_aux=True)
        carries = kept
        if plan.keep == "boundaries":
            one = full_step(cell, joined(rest, other_rest), dot, plan.dtype)
            rerun = lambda carry, inputs: (one(carry, *inputs, initial)[0], carry)
            carries = lax.scan(rerun, kept, (joined(u, other_u), here), reverse=plan.reverse, unroll=plan.unroll)[1]

        names: list[str] = []

        def linearise(carry, u, other_u, control):
            """One step: the states it multiplied, and the pullback of everything but the recurrent weights."""
            states, products = [], []

            def record(name, h):
                names.append(name)
                states.append(h)
                products.append(dot(name, h))
                return products[-1]

            full_step(cell, joined(rest, other_rest), record, plan.dtype)(carry, joined(u, other_u), control, initial)

            def step(carry, u, rest, initial, products):
                known_products = iter(zip(names, products, strict=True))
                replay = lambda name, h: known(*next(known_products), h)
                one = full_step(cell, joined(rest, other_rest), replay, plan.dtype)
                return one(carry, joined(u, other_u), control, initial)

            return states, jax.vjp(step, carry, u, rest, initial, products)[1]

        states, pullbacks = jax.vmap(linearise)(carries, u, other_u, here)

        def back(state, inputs):
            carry_gradient, sums = state
            pullback, y_gradient = inputs
            carry_gradient, du, drest, dinitial, dproducts = pullback((carry_gradient, y_gradient))
            return (carry_gradient, add(sums, {"rest": drest, "initial": dinitial})), (du, dproducts)

        (carry_gradient, running), (du, dproducts) = lax.scan(
            back,
            (carry_gradient, {"rest": sums["rest"], "initial": sums["initial"]}),
            (pullbacks, _take(ys, k, plan)),
            reverse=not plan.reverse,
            unroll=plan.unroll,
        )
        recurrent_sum = dict(sums["recurrent"])
        for name, h, dz in zip(names, states, dproducts, strict=True):
            gradient = _weight_gradient(cell, recurrent[name], h.astype(plan.dtype), dz)
            recurrent_sum[name] = add(recurrent_sum[name], gradient)
        input_gradient, dx = project_vjp(du)
        sums = {**running, "input": add(sums["input"], input_gradient), "recurrent": recurrent_sum}
        return (carry_gradient, sums, _put(x_gradients, dx, k, plan)), None

    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    sums = zeros({"input": source, "recurrent": recurrent, "rest": rest, "initial": initial})
    count = jax.tree.leaves(xs)[0].shape[plan.axis] // plan.chunk
    (carry_gradient, sums, x_gradients), _ = lax.scan(
        body, (last_carry, sums, zeros(xs)), (jnp.arange(count), kept), reverse=not plan.reverse
    )
    gradients = {**sums["rest"], "input": sums["input"], "recurrent": sums["recurrent"]}
    return gradients, x_gradients, carry_gradient, sums["initial"], None, None


chunked.defvjp(_chunked_fwd, _chunked_bwd)


# ---- products


def ready(cell: Cell, recurrent: Params, dtype: Any) -> Params:
    """Recurrent weights as loops want them: those of plain products are cast once; other products see their own."""
    return jax.tree.map(lambda w: w.astype(dtype), recurrent) if cell.product is matmul else recurrent


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


def _weight_gradient(cell: Cell, weight: Any, h: jax.Array, dz: jax.Array) -> Any:
    """Of one recurrent weight over a chunk, as one large product; h ``[chunk, ...]``."""
    if cell.product is matmul:  # time and batch joined: XLA's contraction over two axes is slow on a CPU
        h, dz = h.reshape(-1, h.shape[-1]), dz.reshape(-1, dz.shape[-1])
        return jax.vjp(lambda w: matmul(w, h), weight)[1](dz)[0]
    joint = lambda w: jax.vmap(functools.partial(cell.product, w))(h)
    z, pullback = jax.vjp(joint, weight)
    return pullback(dz.astype(z.dtype))[0]


# ---- pytrees and chunks


def _take(tree: Any, k: Any, plan: Plan, axis: int | None = None) -> Any:
    """Chunk k of a sequence, time first."""
    axis = plan.axis if axis is None else axis
    take = lambda a: jnp.moveaxis(lax.dynamic_slice_in_dim(a, k * plan.chunk, plan.chunk, axis), axis, 0)
    return jax.tree.map(take, tree)


def _put(buffers: Any, chunks: Any, k: Any, plan: Plan) -> Any:
    """Writes chunk k, time first, into a sequence."""
    put = lambda a, c: lax.dynamic_update_slice_in_dim(a, jnp.moveaxis(c, 0, plan.axis), k * plan.chunk, plan.axis)
    return jax.tree.map(put, buffers, chunks)


def _where(mask: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """Chooses by batch element; mask ``[*batch]``, the others ``[*batch, ...]``."""
    return jnp.where(mask.reshape(*mask.shape, *(1,) * (new.ndim - mask.ndim)), new, old)


def add(left: Any, right: Any) -> Any:
    return jax.tree.map(lambda a, b: a + b.astype(a.dtype), left, right)
