r"""Associative executor: parallel over time, for cells that are linear in their state.

.. math::
    s_t = a_t \odot s_{t-1} + b_t

The composition of steps, :math:`(a, b) \circ (a', b') = (a a', a b' + b)`, is associative, so that K steps are computed
in a tree of depth log K (Blelloch 1990, "Prefix sums and their applications"; Martin and Cundy 2018, "Parallelizing
linear recurrent neural nets over sequence length", arXiv:1709.04057). Decays are multiplied and never divided by, which
is stable at any length for decays in the unit disc.

Blocks of K steps run one after another, which limits the memory of intermediate values to one block. The backward pass
visits the blocks in reverse. Its recurrence is linear too: with :math:`g_t` the gradient of :math:`s_t` through
:math:`y_t`,

.. math::
    \bar s_t = g_t + a_{t+1}^* \odot \bar s_{t+1}, \quad \bar b_t = \bar s_t, \quad \bar a_t = s_{t-1}^* \odot \bar s_t
"""

import dataclasses
import functools
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.recurrent.cell import (
    Carry,
    Cell,
    LinearStep,
    Params,
    elementwise_product,
    flatten_rows,
    matmul,
    split_params,
)
from jaxnets.recurrent.executors.method import Arguments, Traversal, check_chunks, run_in_chunks, sequence_size
from jaxnets.recurrent.executors.steps import (
    Plan,
    StepMasks,
    add_trees,
    combine,
    explain_tracer_leaks,
    get_chunk,
    masked_projection,
    partition,
    select_steps,
    set_chunk,
)

# Largest number of elements of the states of a block. On a CPU they fit into the cache: larger blocks take up to twice
# the time. Other devices need enough elements for thousands of cores.
BLOCK_SIZES = {"cpu": 2**16}
DEFAULT_BLOCK_SIZE = 2**22


@dataclasses.dataclass(frozen=True)
class Associative:
    """Associative method: parallel over time, in blocks, for cells with a ``LinearStep``.

    Attributes:
        chunk: Number of steps of a block. None selects it from the sizes. T does not need to be a multiple of it.
        keep: The states saved for the backward pass: ``"carries"``, the state of every step, or ``"boundaries"``, the
            state before each block, from which the others are recomputed.
    """

    chunk: int | None = None
    keep: str = "carries"

    def __post_init__(self):
        check_chunks(self.chunk, self.keep, ("carries", "boundaries"))

    def check(self, cell: Cell, traversal: Traversal, masks: StepMasks) -> None:
        """Raises a ValueError if the cell is not linear in its state."""
        check_linear('method "associative"', cell)

    def run(self, cell: Cell, traversal: Traversal, arguments: Arguments) -> tuple[Carry, jax.Array]:
        """Runs the cell, as ``Method.run``."""
        block = self.chunk or block_length(sequence_size(cell, arguments.xs, traversal.axis)[0], arguments.carry)
        plan = Plan(block, self.keep, 1, *traversal)
        return run_in_chunks(associative_scan, cell, plan, arguments)


def check_linear(caller: str, cell: Cell) -> None:
    """Raises a ValueError, on behalf of ``caller``, if the cell is not linear in its state."""
    if not isinstance(cell.step, LinearStep):
        raise ValueError(
            f"`cell` of {caller} must be linear in its state, such as min_gru, min_lstm or lru, got one with a step "
            "that is not a LinearStep"
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def associative_scan(
    cell: Cell, plan: Plan, params: Params, xs: Any, carry: Carry, initial: Carry, nondiff: Any, masks: StepMasks
) -> tuple[Carry, jax.Array]:
    """Computes the last carry and ys of a cell with a ``LinearStep``; the arguments are as in ``sequential_scan``.

    ``plan.chunk`` is the number of steps of a block. ``plan.unroll`` is not used.
    """
    plan = plan._replace(keep="nothing")
    return _forward(cell, plan, params, xs, carry, initial, nondiff, masks)[:2]


def block_length(length: int, carry: Carry) -> int:
    """Returns the number of steps of a block: the largest one within ``BLOCK_SIZES``, or a divisor of the length."""
    block_size = BLOCK_SIZES.get(jax.default_backend(), DEFAULT_BLOCK_SIZE)
    max_steps = max(block_size // max(sum(leaf.size for leaf in jax.tree.leaves(carry)), 1), 1)
    if length <= max_steps:
        return max(length, 1)
    even = math.ceil(length / math.ceil(length / max_steps))
    return next((size for size in range(max_steps, max_steps // 2, -1) if length % size == 0), even)


def _associative_scan_fwd(cell, plan, params, xs, carry, initial, nondiff, masks):
    last, ys, saved = _forward(cell, plan, params, xs, carry, initial, nondiff, masks)
    return (last, ys), (params, xs, initial, nondiff, masks, saved)


def _forward(cell, plan, params, xs, carry, initial, nondiff, masks) -> tuple[Carry, jax.Array, Any]:
    """Returns the last carry, ys, and for each block the state before it and, if they are saved, its states."""
    source, recurrent, rest = split_params(combine(params, nondiff[0]))
    all_xs = combine(xs, nondiff[1])

    def run_block(first, k):
        chunk_masks = _get_block(masks, k, plan)
        u = masked_projection(cell, chunk_masks)(source, _get_block(all_xs, k, plan))
        states = linear_states(*_coefficients(cell, chunk_masks, rest, u, initial), first)
        return states, _outputs(cell, plan, chunk_masks, recurrent, rest, states, u)

    def body(state, k):
        first, ys = state
        states, y = run_block(first, k)
        saved = {"boundaries": (first, None), "nothing": None}.get(plan.keep, (first, states))
        return (_index_time(states, -1), _set_block(ys, y, k, plan)), saved

    y = jax.eval_shape(run_block, carry, 0)[1]
    length = jax.tree.leaves(xs)[0].shape[plan.axis]
    buffer = jnp.zeros((*y.shape[1 : plan.axis + 1], length, *y.shape[plan.axis + 1 :]), plan.dtype)
    (carry, ys), saved = lax.scan(body, (carry, buffer), jnp.arange(length // plan.chunk), reverse=plan.reverse)
    return carry, ys, saved


@explain_tracer_leaks()
def _associative_scan_bwd(cell, plan, residuals, cotangents):
    params, xs, initial, nondiff, masks, saved = residuals
    last_carry, ys = cotangents
    source, recurrent, rest = split_params(params)
    nondiff_source, nondiff_recurrent, nondiff_rest = split_params(nondiff[0])

    def body(state, inputs):
        carry_gradient, sums, x_gradients = state
        k, (first, states) = inputs
        chunk_masks = _get_block(masks, k, plan)
        nondiff_xs = _get_block(nondiff[1], k, plan)

        def project(source, xs):
            return partition(
                masked_projection(cell, chunk_masks)(combine(source, nondiff_source), combine(xs, nondiff_xs))
            )

        def coefficients(rest, u, initial):
            return _coefficients(cell, chunk_masks, combine(rest, nondiff_rest), combine(u, nondiff_u), initial)

        def outputs(recurrent, rest, states, u):
            weights, rest, u = combine(recurrent, nondiff_recurrent), combine(rest, nondiff_rest), combine(u, nondiff_u)
            return _outputs(cell, plan, chunk_masks, weights, rest, states, u)

        def next_states(rest, u, initial):
            decay, increment = coefficients(rest, u, initial)
            return add_trees(elementwise_product(decay, before), increment)

        u, project_vjp, nondiff_u = jax.vjp(project, source, _get_block(xs, k, plan), has_aux=True)
        decay, increment = coefficients(rest, u, initial)
        if plan.keep == "boundaries":
            states = linear_states(decay, increment, first)
        before = jax.tree.map(lambda a, s: jnp.concatenate([a[None], s[:-1]]), first, states)

        output_vjp = jax.vjp(outputs, recurrent, rest, states, u)[1]
        drecurrent, output_drest, output_dstates, output_du = output_vjp(_get_block(ys, k, plan))
        dstates = _state_gradients(decay, output_dstates, carry_gradient)
        state_drest, state_du, dinitial = jax.vjp(next_states, rest, u, initial)[1](dstates)
        dinput, dx = project_vjp(add_trees(output_du, state_du))

        gradients = {
            "input": dinput,
            "recurrent": drecurrent,
            "rest": add_trees(output_drest, state_drest),
            "initial": dinitial,
        }
        carry_gradient = elementwise_product(_conjugate(_index_time(decay, 0)), _index_time(dstates, 0))
        return (carry_gradient, add_trees(sums, gradients), _set_block(x_gradients, dx, k, plan)), None

    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    sums = zeros({"input": source, "recurrent": recurrent, "rest": rest, "initial": initial})
    count = jax.tree.leaves(xs)[0].shape[plan.axis] // plan.chunk
    (carry_gradient, sums, x_gradients), _ = lax.scan(
        body, (last_carry, sums, zeros(xs)), (jnp.arange(count), saved), reverse=not plan.reverse
    )
    gradients = {**sums["rest"], "input": sums["input"], "recurrent": sums["recurrent"]}
    return gradients, x_gradients, carry_gradient, sums["initial"], None, None


associative_scan.defvjp(_associative_scan_fwd, _associative_scan_bwd)


# ---- one block, with arrays [time, ...] in the order of the traversal


def _coefficients(cell: Cell, masks: Any, rest: Params, u: Any, initial: Carry) -> tuple[Any, Any]:
    """Returns the decays and increments of a block, with resets and padding.

    A reset becomes a decay of 0 and an increment that includes the decayed initial carry. Padding becomes a decay of 1
    and an increment of 0. Decays that are equal for all rows keep batch axes of size 1.
    """
    decay, increment = cell.step.coefficients(rest, u)  # type: ignore[attr-defined]
    like = jax.tree.leaves(increment)[0]
    decay = jax.tree.map(functools.partial(_broadcast_over_time, like), decay)
    if masks.reset is not None:
        first_state = add_trees(elementwise_product(decay, jax.tree.map(lambda a: a[None], initial)), increment)
        increment = jax.tree.map(functools.partial(select_steps, masks.reset), first_state, increment)
        decay = jax.tree.map(lambda a: select_steps(masks.reset, jnp.zeros_like(a), a), decay)
    if masks.valid is not None:
        one = (1.0, 0.0) if isinstance(decay, tuple) else 1.0
        decay = jax.tree.map(lambda a, b: select_steps(masks.valid, a, jnp.full_like(a, b)), decay, one)
        increment = jax.tree.map(lambda b: select_steps(masks.valid, b, jnp.zeros_like(b)), increment)
    return decay, increment


def _broadcast_over_time(like: jax.Array, a: jax.Array) -> jax.Array:
    """Gives ``a`` the rank and the number of steps of ``like``; ``a`` may have no time axis."""
    a = a.reshape((1,) * (like.ndim - a.ndim) + a.shape)
    return jnp.broadcast_to(a, (len(like), *a.shape[1:]))


def linear_states(decay: Any, increment: Any, first: Carry) -> Carry:
    """Computes all states ``s_t = a_t s_{t-1} + b_t``, time first, from the state before the first step."""
    chex.assert_equal_shape_prefix(jax.tree.leaves((decay, increment)), 1)
    first_state = add_trees(elementwise_product(_index_time(decay, 0), first), _index_time(increment, 0))
    return _linear_scan(decay, jax.tree.map(lambda b, new: b.at[0].set(new), increment, first_state))


def _state_gradients(decay: Any, output_gradients: Any, last: Any) -> Any:
    """Computes the gradients of all states from those through the outputs, and from the gradient of the last state."""
    output_gradients = jax.tree.map(lambda g, end: g.at[-1].add(end), output_gradients, last)
    next_decay = jax.tree.map(lambda a: jnp.roll(a, -1, axis=0), _conjugate(decay))
    return _linear_scan(next_decay, output_gradients, reverse=True)


def _linear_scan(decay: Any, increment: Any, reverse: bool = False) -> Any:
    """Computes the states of a linear recurrence that starts from 0."""
    if isinstance(decay, tuple):
        # Complex arrays instead of pairs: XLA compiles them in a third of the time, and they run as fast.
        states = _linear_scan(lax.complex(*decay), lax.complex(*increment), reverse)
        return states.real, states.imag
    compose = lambda earlier, later: (later[0] * earlier[0], later[0] * earlier[1] + later[1])
    return lax.associative_scan(compose, (decay, increment), reverse=reverse)[1]


def _conjugate(a: Any) -> Any:
    return (a[0], -a[1]) if isinstance(a, tuple) else a


def _outputs(cell: Cell, plan: Plan, masks: Any, recurrent: Params, rest: Params, states: Carry, u: Any):
    """Computes the outputs of a block."""

    def dot(name, h):
        h = h.astype(plan.dtype)
        if cell.product is not matmul:
            return jax.vmap(functools.partial(cell.product, recurrent[name]))(h)
        # Flattened because a weight gradient that contracts two axes is slow on a CPU.
        product = matmul(recurrent[name], flatten_rows(h))
        return product.reshape(*h.shape[:-1], product.shape[-1])

    y = cell.step.output(rest, states, u, dot).astype(plan.dtype)  # type: ignore[attr-defined]
    return y if masks.valid is None else select_steps(masks.valid, y, jnp.zeros_like(y))


def _index_time(tree: Any, t: int) -> Any:
    return jax.tree.map(lambda a: a[t], tree)


def _get_block(tree: Any, k: Any, plan: Plan) -> Any:
    """Returns block k of a sequence, with time first."""
    time_first = lambda a: jnp.moveaxis(a, plan.axis, 0)
    return jax.tree.map(lambda a: time_first(a)[::-1] if plan.reverse else time_first(a), get_chunk(tree, k, plan))


def _set_block(buffers: Any, blocks: Any, k: Any, plan: Plan) -> Any:
    """Replaces block k of a sequence."""
    restore_axes = lambda a: jnp.moveaxis(a[::-1] if plan.reverse else a, 0, plan.axis)
    return set_chunk(buffers, jax.tree.map(restore_axes, blocks), k, plan)
