r"""The associative executor: cells that are linear in their state, in parallel over time.

.. math::
    s_t = a_t \odot s_{t-1} + b_t

Steps compose, :math:`(a, b) \circ (a', b') = (a a', a b' + b)`, and composition is associative, so that K of them are a
tree of depth log K (Blelloch 1990, "Prefix sums and their applications"; Martin and Cundy 2018, "Parallelizing linear
recurrent neural nets over sequence length", arXiv:1709.04057). Decays are multiplied and never divided by: products of
numbers in the unit disc are safe at any length.

Blocks of K steps run one after another, so that memory for what is computed on the way is that of a block. The backward
pass goes through the blocks in reverse. Its recurrence is linear, too: with :math:`g_t` the gradient that arrives at
:math:`s_t` from :math:`y_t`,

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

from jaxnets.recurrent.cell import Carry, Cell, LinearStep, Params, joined_rows, matmul, split_params, times
from jaxnets.recurrent.executors.method import Given, Traversal, check_chunks, extent, in_chunks
from jaxnets.recurrent.executors.steps import Control, Plan, add, joined, parted, projection, put, take, untraced, where

# How many numbers the states of a block hold: what fits a CPU's cache (there, larger blocks take up to twice the time),
# and elsewhere enough for thousands of cores.
NUMBERS = {"cpu": 2**16}
OTHERWISE = 2**22


@dataclasses.dataclass(frozen=True)
class Associative:
    """Parallel over time, in blocks, for cells that are linear in their state (their step is a ``LinearStep``).

    Attributes:
        chunk: Steps of a block; None chooses. T need not be a multiple.
        keep: What the backward pass keeps: ``"carries"``, the state of every step, or ``"boundaries"``, the one before
            each block, from which the others are computed once more.
    """

    chunk: int | None = None
    keep: str = "carries"

    def __post_init__(self):
        check_chunks(self.chunk, self.keep, ("carries", "boundaries"))

    def check(self, cell: Cell, traversal: Traversal, control: Control) -> None:
        """Raises a ValueError if the cell is not linear in its state."""
        check_linear("method: associative", cell)

    def run(self, cell: Cell, traversal: Traversal, given: Given) -> tuple[Carry, jax.Array]:
        """As ``Method.run``."""
        block = self.chunk or block_length(extent(cell, given.xs, traversal.axis)[0], given.carry)
        plan = Plan(block, self.keep, 1, *traversal)
        return in_chunks(associative, cell, plan, given)


def check_linear(what: str, cell: Cell) -> None:
    """Raises a ValueError if the cell is not linear in its state; ``what`` is what needs it."""
    if not isinstance(cell.step, LinearStep):
        raise ValueError(
            f"{what} needs a cell that is linear in its state, such as min_gru, min_lstm or lru; "
            "given one whose step is no LinearStep"
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def associative(
    cell: Cell, plan: Plan, params: Params, xs: Any, carry: Carry, initial: Carry, others: Any, control: Control
) -> tuple[Carry, jax.Array]:
    """The last carry and ys of a cell whose step is a ``LinearStep``; arguments as those of ``chunked``.

    ``plan.chunk`` is the length K of a block. ``plan.keep`` is ``"carries"``, every state, or ``"boundaries"``, the one
    before each block, from which the backward pass computes the others again. ``plan.unroll`` has no meaning here.
    """
    plan = plan._replace(keep="nothing")
    return _forward(cell, plan, params, xs, carry, initial, others, control)[:2]


def block_length(length: int, carry: Carry) -> int:
    """Steps per block: as many as ``NUMBERS`` allows, a divisor of the length where there is a large one."""
    numbers = NUMBERS.get(jax.default_backend(), OTHERWISE)
    most = max(numbers // max(sum(leaf.size for leaf in jax.tree.leaves(carry)), 1), 1)
    if length <= most:
        return max(length, 1)
    evenly = math.ceil(length / math.ceil(length / most))
    return next((size for size in range(most, most // 2, -1) if length % size == 0), evenly)


def _associative_fwd(cell, plan, params, xs, carry, initial, others, control):
    last, ys, kept = _forward(cell, plan, params, xs, carry, initial, others, control)
    return (last, ys), (params, xs, initial, others, control, kept)


def _forward(cell, plan, params, xs, carry, initial, others, control) -> tuple[Carry, jax.Array, Any]:
    """Returns the last carry, ys, and for each block the state before it and, where they are kept, all of its own."""
    source, recurrent, rest = split_params(joined(params, others[0]))
    whole = joined(xs, others[1])

    def run_block(first, k):
        here = _take(control, k, plan)
        u = projection(cell, here)(source, _take(whole, k, plan))
        states = linear_states(*_coefficients(cell, here, rest, u, initial), first)
        return states, _outputs(cell, plan, here, recurrent, rest, states, u)

    def body(state, k):
        first, ys = state
        states, y = run_block(first, k)
        kept = {"boundaries": (first, None), "nothing": None}.get(plan.keep, (first, states))
        return (_at(states, -1), _put(ys, y, k, plan)), kept

    y = jax.eval_shape(run_block, carry, 0)[1]
    length = jax.tree.leaves(xs)[0].shape[plan.axis]
    buffer = jnp.zeros((*y.shape[1 : plan.axis + 1], length, *y.shape[plan.axis + 1 :]), plan.dtype)
    (carry, ys), kept = lax.scan(body, (carry, buffer), jnp.arange(length // plan.chunk), reverse=plan.reverse)
    return carry, ys, kept


@untraced()
def _associative_bwd(cell, plan, residuals, cotangents):
    params, xs, initial, others, control, kept = residuals
    last_carry, ys = cotangents
    source, recurrent, rest = split_params(params)
    other_source, other_recurrent, other_rest = split_params(others[0])

    def body(state, inputs):
        carry_gradient, sums, x_gradients = state
        k, (first, states) = inputs
        here = _take(control, k, plan)
        other_xs = _take(others[1], k, plan)

        def project(source, xs):
            return parted(projection(cell, here)(joined(source, other_source), joined(xs, other_xs)))

        def coefficients(rest, u, initial):
            return _coefficients(cell, here, joined(rest, other_rest), joined(u, other_u), initial)

        def outputs(recurrent, rest, states, u):
            weights, rest, u = joined(recurrent, other_recurrent), joined(rest, other_rest), joined(u, other_u)
            return _outputs(cell, plan, here, weights, rest, states, u)

        def advance(rest, u, initial):  # the states once more, each from the known one before
            decay, increment = coefficients(rest, u, initial)
            return add(times(decay, before), increment)

        u, project_vjp, other_u = jax.vjp(project, source, _take(xs, k, plan), has_aux=True)
        decay, increment = coefficients(rest, u, initial)
        if plan.keep == "boundaries":
            states = linear_states(decay, increment, first)
        before = jax.tree.map(lambda a, s: jnp.concatenate([a[None], s[:-1]]), first, states)

        output_vjp = jax.vjp(outputs, recurrent, rest, states, u)[1]
        drecurrent, drest, arriving, du = output_vjp(_take(ys, k, plan))
        dstates = _state_gradients(decay, arriving, carry_gradient)
        more_drest, more_du, dinitial = jax.vjp(advance, rest, u, initial)[1](dstates)
        dinput, dx = project_vjp(add(du, more_du))

        gradients = {"input": dinput, "recurrent": drecurrent, "rest": add(drest, more_drest), "initial": dinitial}
        carry_gradient = times(_conjugate(_at(decay, 0)), _at(dstates, 0))
        return (carry_gradient, add(sums, gradients), _put(x_gradients, dx, k, plan)), None

    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    sums = zeros({"input": source, "recurrent": recurrent, "rest": rest, "initial": initial})
    count = jax.tree.leaves(xs)[0].shape[plan.axis] // plan.chunk
    (carry_gradient, sums, x_gradients), _ = lax.scan(
        body, (last_carry, sums, zeros(xs)), (jnp.arange(count), kept), reverse=not plan.reverse
    )
    gradients = {**sums["rest"], "input": sums["input"], "recurrent": sums["recurrent"]}
    return gradients, x_gradients, carry_gradient, sums["initial"], None, None


associative.defvjp(_associative_fwd, _associative_bwd)


# ---- one block; its arrays are time first, in the order of traversal


def _coefficients(cell: Cell, control: Any, rest: Params, u: Any, initial: Carry) -> tuple[Any, Any]:
    """The block's decays and increments, with resets and padding in them.

    A reset is a decay of 0 and the initial carry's part added; padding is a decay of 1 and an increment of 0. A decay
    that is the same for all rows keeps axes of size 1 for them.
    """
    decay, increment = cell.step.coefficients(rest, u)  # type: ignore[attr-defined]
    like = jax.tree.leaves(increment)[0]
    decay = jax.tree.map(functools.partial(_timed, like), decay)
    if control.reset is not None:
        begun = add(times(decay, jax.tree.map(lambda a: a[None], initial)), increment)
        increment = jax.tree.map(functools.partial(where, control.reset), begun, increment)
        decay = jax.tree.map(lambda a: where(control.reset, jnp.zeros_like(a), a), decay)
    if control.active is not None:
        one = (1.0, 0.0) if isinstance(decay, tuple) else 1.0
        decay = jax.tree.map(lambda a, b: where(control.active, a, jnp.full_like(a, b)), decay, one)
        increment = jax.tree.map(lambda b: where(control.active, b, jnp.zeros_like(b)), increment)
    return decay, increment


def _timed(like: jax.Array, a: jax.Array) -> jax.Array:
    """``a`` with as many axes as ``like`` and as many steps; it may have had no time."""
    a = a.reshape((1,) * (like.ndim - a.ndim) + a.shape)
    return jnp.broadcast_to(a, (len(like), *a.shape[1:]))


def linear_states(decay: Any, increment: Any, first: Carry) -> Carry:
    """All states of steps ``a_t s_{t-1} + b_t``, time first, from the one before them."""
    chex.assert_equal_shape_prefix(jax.tree.leaves((decay, increment)), 1)
    begun = add(times(_at(decay, 0), first), _at(increment, 0))
    return _linear_scan(decay, jax.tree.map(lambda b, new: b.at[0].set(new), increment, begun))


def _state_gradients(decay: Any, arriving: Any, last: Any) -> Any:
    """The gradients of all states, from what arrives at each through its output, and at the last one from later."""
    arriving = jax.tree.map(lambda g, end: g.at[-1].add(end), arriving, last)
    ahead = jax.tree.map(lambda a: jnp.roll(a, -1, axis=0), _conjugate(decay))
    return _linear_scan(ahead, arriving, reverse=True)


def _linear_scan(decay: Any, increment: Any, reverse: bool = False) -> Any:
    """The states of a linear recurrence that starts from 0."""
    if isinstance(decay, tuple):
        # Complex numbers for once: the tree of pairs takes XLA three times as long to compile and runs no faster.
        states = _linear_scan(lax.complex(*decay), lax.complex(*increment), reverse)
        return states.real, states.imag
    compose = lambda earlier, later: (later[0] * earlier[0], later[0] * earlier[1] + later[1])
    return lax.associative_scan(compose, (decay, increment), reverse=reverse)[1]


def _conjugate(a: Any) -> Any:
    return (a[0], -a[1]) if isinstance(a, tuple) else a


def _outputs(cell: Cell, plan: Plan, control: Any, recurrent: Params, rest: Params, states: Carry, u: Any):
    """The block's outputs, all at once."""

    def dot(name, h):
        h = h.astype(plan.dtype)
        if cell.product is not matmul:
            return jax.vmap(functools.partial(cell.product, recurrent[name]))(h)
        # Time and batch joined: a weight gradient that contracts two axes is slow on a CPU.
        product = matmul(recurrent[name], joined_rows(h))
        return product.reshape(*h.shape[:-1], product.shape[-1])

    y = cell.step.output(rest, states, u, dot).astype(plan.dtype)  # type: ignore[attr-defined]
    return y if control.active is None else where(control.active, y, jnp.zeros_like(y))


def _at(tree: Any, t: int) -> Any:
    return jax.tree.map(lambda a: a[t], tree)


def _take(tree: Any, k: Any, plan: Plan) -> Any:
    """Block k of a sequence."""
    first = lambda a: jnp.moveaxis(a, plan.axis, 0)
    return jax.tree.map(lambda a: first(a)[::-1] if plan.reverse else first(a), take(tree, k, plan))


def _put(buffers: Any, blocks: Any, k: Any, plan: Plan) -> Any:
    """A sequence with block k replaced."""
    there = lambda a: jnp.moveaxis(a[::-1] if plan.reverse else a, 0, plan.axis)
    return put(buffers, jax.tree.map(there, blocks), k, plan)
