"""The sequential executor: a scan in chunks whose gradient comes from the cell's own step.

The forward pass goes chunk by chunk: one product projects the chunk's inputs while they are in cache, then the steps
run with one state product each. Most often only the carries are kept. The backward pass (``sequential_backward.py``)
goes through the chunks in reverse.
"""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import Carry, Cell, Params, matmul, plain_dot, split_params
from jaxnets.recurrent.executors.linearized import linearized
from jaxnets.recurrent.executors.method import Given, Traversal, check_chunks, extent, in_chunks
from jaxnets.recurrent.executors.sequential_backward import Kept, backward
from jaxnets.recurrent.executors.steps import (
    Control,
    Plan,
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


@dataclasses.dataclass(frozen=True)
class Sequential:
    """One step after the other, for every cell; the gradient comes from the cell's own step, chunk by chunk.

    Attributes:
        chunk: Steps whose projection and gradient are computed at once; None chooses. T need not be a multiple.
        keep: What the backward pass keeps: ``"carries"`` (of every step), ``"boundaries"`` (each chunk's first carry:
            less memory, the chunk runs once more) or ``"products"`` (carries and state products: more memory, they are
            not computed twice). None chooses: carries, but products where a CPU's products are large and all of them
            are at most 256 MB.
        unroll: Steps unrolled in the inner loop.
    """

    chunk: int | None = None
    keep: str | None = None
    unroll: int = 1

    def __post_init__(self):
        check_chunks(self.chunk, self.keep, ("carries", "boundaries", "products", None))
        check_integer("unroll", self.unroll)

    def check(self, cell: Cell, traversal: Traversal, control: Control) -> None:
        """It serves every cell."""

    def run(self, cell: Cell, traversal: Traversal, given: Given) -> tuple[Carry, jax.Array]:
        """As ``Method.run``."""
        length, rows = extent(cell, given.xs, traversal.axis)
        keep = self.keep or _chosen_keep(cell, given.params, given.carry, length, rows)
        plan = Plan(self.chunk or chosen_chunk(length, rows), keep, self.unroll, *traversal)
        return in_chunks(chunked, cell, plan, given)


def chosen_chunk(length: int, rows: int) -> int:
    """Steps of about 768 rows in all: enough for one efficient product, few enough to stay in cache.

    Between 4 and 64, and preferably a divisor of the length near to that; else the last chunk is shorter. A symbolic
    length, as ``jax.export`` traces it, is one chunk.
    """
    if not isinstance(length, int):
        return length
    wished = min(max(768 // max(rows, 1), 4), 64)
    if length <= 2 * wished:
        return max(length, 1) if length <= wished else -(-length // 2)
    near = sorted(range(wished // 2, 2 * wished), key=lambda size: max(size / wished, wished / size))
    return next((size for size in near if length % size == 0), wished)


def _chosen_keep(cell: Cell, params: Params, carry: Carry, length: int, rows: int) -> str:
    """Products where one step's are so large that a chunk's at once are no faster, which is known of CPUs.

    Not those of a cell with a single gate: it has little else to keep, and outputs that tell most of it.
    """
    if cell.product is not matmul or jax.default_backend() != "cpu":
        return "carries"
    numbers = rows * sum(weight.shape[-1] for weight in jax.tree.leaves(params["recurrent"]))
    large = numbers >= 2**16 and numbers > sum(leaf.size for leaf in jax.tree.leaves(carry))
    return "products" if large and isinstance(length, int) and numbers * length <= 2**26 else "carries"


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
    """Returns the last carry, ys, and a ``Kept``."""
    source, recurrent, rest = split_params(params)
    other_source, _, other_rest = split_params(others[0])
    weights = ready(cell, recurrent, plan.dtype)
    linearize = linearized(cell, plan, weights, rest, other_rest)
    plain = full_step(
        cell, joined(rest, other_rest), plain_dot(cell, weights, plan.dtype), plan.dtype, mask_output=False
    )
    length = jax.tree.leaves(xs)[0].shape[plan.axis]
    chex.assert_is_divisible(length, plan.chunk)
    told: list[bool] = []  # for each leaf of a carry whether the step before puts it out as it is

    def untold(carry):
        return [None if same else leaf for leaf, same in zip(jax.tree.leaves(carry), told, strict=True)]

    def one(carry, u, other_u, control):
        """The new carry, the output, and what is kept of the step: its carry and its products, None if not."""
        if plan.keep == "products":
            (new, y), _, products, _ = linearize(carry, u, other_u, control, initial)
            return new, y, untold(carry), products
        new, y = plain(carry, joined(u, other_u), control, initial)
        return new, y, untold(carry) if plan.keep == "carries" else None, None

    @jax.named_scope("project")
    def projected(k):
        here = take(control, k, plan)
        u = projection(cell, here)(joined(source, other_source), joined(take(xs, k, plan), take(others[1], k, plan)))
        return *parted(u), here

    def chunk(state, k):
        sequences = projected(k)

        def step(state, time):
            carry, *kept = state
            new, *made = one(carry, *at(sequences, time, plan))
            return (new, *put_at(kept, made, k * plan.chunk + time, plan)), None

        times = jnp.arange(plan.chunk)
        with jax.named_scope("steps"):
            carry, ys, *kept = lax.scan(step, state, times, reverse=plan.reverse, unroll=plan.unroll)[0]
        if sequences[2].active is not None and plan.keep != "products":  # a linearized step has done it
            y = take(ys, k, plan)
            ys = put(ys, where(sequences[2].active, y, jnp.zeros_like(y)), k, plan)
        return (carry, ys, *kept), state[0]

    def first():
        u, other_u, control = at(projected(0), 0, plan)
        new, y = plain(carry, joined(u, other_u), Control(), initial)
        told.extend(leaf is y for leaf in jax.tree.leaves(new))
        return one(carry, u, other_u, control)

    _, *made = jax.eval_shape(first)
    state = (carry, *room(made, length, plan))
    (carry, ys, carries, products), firsts = lax.scan(
        chunk, state, jnp.arange(length // plan.chunk), reverse=plan.reverse
    )
    return carry, ys, Kept(firsts, carries, products, ys)


chunked.defvjp(_chunked_fwd, backward)
