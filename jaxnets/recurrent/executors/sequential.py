"""Sequential executor: a scan in chunks, with a backward pass derived from the step of the cell.

The forward pass projects the inputs of one chunk with one product, while they are in cache, and then runs the steps of
the chunk with one state product each. By default it saves only the carries. The backward pass is in
``sequential_backward.py``.
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
from jaxnets.recurrent.executors.linearized import make_linearize
from jaxnets.recurrent.executors.method import Arguments, Traversal, check_chunks, run_in_chunks, sequence_size
from jaxnets.recurrent.executors.sequential_backward import Residuals, backward
from jaxnets.recurrent.executors.steps import (
    Plan,
    StepMasks,
    cast_weights,
    combine,
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


@dataclasses.dataclass(frozen=True)
class Sequential:
    """Sequential method: runs one step after another, for any cell.

    Gradients are computed chunk by chunk from the step of the cell, without a backward pass written per cell.

    Attributes:
        chunk: Number of steps for which projections and gradients are computed together. None selects it from the
            sizes. T does not need to be a multiple of it.
        keep: The arrays saved for the backward pass: ``"carries"``, the carry of every step; ``"boundaries"``, the
            first carry of every chunk, which needs less memory and runs each chunk twice; or ``"products"``, carries
            and state products, which needs more memory and computes no product twice. None selects ``"products"`` on
            CPUs if the products of one step are large and the products of all steps take at most 256 MB, else
            ``"carries"``.
        unroll: Number of steps unrolled in the inner loop.
    """

    chunk: int | None = None
    keep: str | None = None
    unroll: int = 1

    def __post_init__(self):
        check_chunks(self.chunk, self.keep, ("carries", "boundaries", "products", None))
        check_integer("unroll", self.unroll)

    def check(self, cell: Cell, traversal: Traversal, masks: StepMasks) -> None:
        """Does nothing: the method supports every cell."""

    def run(self, cell: Cell, traversal: Traversal, arguments: Arguments) -> tuple[Carry, jax.Array]:
        """Runs the cell, as ``Method.run``."""
        length, rows = sequence_size(cell, arguments.xs, traversal.axis)
        keep = self.keep or _default_keep(cell, arguments.params, arguments.carry, length, rows)
        plan = Plan(self.chunk or default_chunk_size(length, rows), keep, self.unroll, *traversal)
        return run_in_chunks(sequential_scan, cell, plan, arguments)


def default_chunk_size(length: int, rows: int) -> int:
    """Returns a chunk size of 4 to 64 steps with about 768 rows: large for one product, small enough for the cache.

    It is a divisor of the length if one is near; otherwise the last chunk is shorter. The chunk of a symbolic length,
    from ``jax.export``, is the whole sequence.
    """
    if not isinstance(length, int):
        return length
    target = min(max(768 // max(rows, 1), 4), 64)
    if length <= 2 * target:
        return max(length, 1) if length <= target else -(-length // 2)
    candidates = sorted(range(target // 2, 2 * target), key=lambda size: max(size / target, target / size))
    return next((size for size in candidates if length % size == 0), target)


def _default_keep(cell: Cell, params: Params, carry: Carry, length: int, rows: int) -> str:
    """Returns ``"products"`` on CPUs if the products of one step are so large that one per chunk is not faster.

    A cell with a single gate saves the carries, from which most of its backward pass follows.
    """
    if cell.product is not matmul or jax.default_backend() != "cpu":
        return "carries"
    size = rows * sum(weight.shape[-1] for weight in jax.tree.leaves(params["recurrent"]))
    large = size >= 2**16 and size > sum(leaf.size for leaf in jax.tree.leaves(carry))
    return "products" if large and isinstance(length, int) and size * length <= 2**26 else "carries"


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def sequential_scan(
    cell: Cell, plan: Plan, params: Params, xs: Any, carry: Carry, initial: Carry, nondiff: Any, masks: StepMasks
) -> tuple[Carry, jax.Array]:
    """Computes the last carry and ys.

    Args:
        cell, plan: Static.
        params, xs: The floating point leaves; T is a positive multiple of the chunk size.
        carry: The carry before the first step.
        initial: The carry after a reset; () without resets.
        nondiff: The other leaves of params and of xs.
        masks: Masks of valid steps and of resets.
    """
    plan = plan._replace(keep="nothing")
    return _forward(cell, plan, params, xs, carry, initial, nondiff, masks)[:2]


def _sequential_scan_fwd(cell, plan, params, xs, carry, initial, nondiff, masks):
    last, ys, saved = _forward(cell, plan, params, xs, carry, initial, nondiff, masks)
    return (last, ys), (params, xs, initial, nondiff, masks, saved)


def _forward(cell, plan, params, xs, carry, initial, nondiff, masks) -> tuple[Carry, jax.Array, Any]:
    """Returns the last carry, ys, and the ``Residuals``."""
    source, recurrent, rest = split_params(params)
    nondiff_source, _, nondiff_rest = split_params(nondiff[0])
    weights = cast_weights(cell, recurrent, plan.dtype)
    linearize = make_linearize(cell, plan, weights, rest, nondiff_rest)
    run_step = masked_step(
        cell, combine(rest, nondiff_rest), plain_dot(cell, weights, plan.dtype), plan.dtype, mask_output=False
    )
    length = jax.tree.leaves(xs)[0].shape[plan.axis]
    chex.assert_is_divisible(length, plan.chunk)
    is_output: list[bool] = []  # for each leaf of the carry; an output is saved in ys already

    def unless_output(carry):
        return [None if same else leaf for leaf, same in zip(jax.tree.leaves(carry), is_output, strict=True)]

    def step_and_residuals(carry, u, nondiff_u, masks):
        """Returns the new carry, the output, and the leaves of the old carry and the products to save, or None."""
        if plan.keep == "products":
            (new, y), _, products, _ = linearize(carry, u, nondiff_u, masks, initial)
            return new, y, unless_output(carry), products
        new, y = run_step(carry, combine(u, nondiff_u), masks, initial)
        return new, y, unless_output(carry) if plan.keep == "carries" else None, None

    @jax.named_scope("project")
    def project_chunk(k):
        chunk_masks = get_chunk(masks, k, plan)
        u = masked_projection(cell, chunk_masks)(
            combine(source, nondiff_source), combine(get_chunk(xs, k, plan), get_chunk(nondiff[1], k, plan))
        )
        return *partition(u), chunk_masks

    def chunk(state, k):
        sequences = project_chunk(k)

        def step(state, time):
            carry, *saved = state
            new, *values = step_and_residuals(carry, *get_step(sequences, time, plan))
            return (new, *set_step(saved, values, k * plan.chunk + time, plan)), None

        times = jnp.arange(plan.chunk)
        with jax.named_scope("steps"):
            carry, ys, *saved = lax.scan(step, state, times, reverse=plan.reverse, unroll=plan.unroll)[0]
        if sequences[2].valid is not None and plan.keep != "products":  # the linearized step masks its output
            y = get_chunk(ys, k, plan)
            ys = set_chunk(ys, select_steps(sequences[2].valid, y, jnp.zeros_like(y)), k, plan)
        return (carry, ys, *saved), state[0]

    def first_step():
        u, nondiff_u, masks = get_step(project_chunk(0), 0, plan)
        new, y = run_step(carry, combine(u, nondiff_u), StepMasks(), initial)
        is_output.extend(leaf is y for leaf in jax.tree.leaves(new))
        return step_and_residuals(carry, u, nondiff_u, masks)

    _, *shapes = jax.eval_shape(first_step)
    state = (carry, *zeros_sequence(shapes, length, plan))
    (carry, ys, carries, products), chunk_carries = lax.scan(
        chunk, state, jnp.arange(length // plan.chunk), reverse=plan.reverse
    )
    return carry, ys, Residuals(chunk_carries, carries, products, ys)


sequential_scan.defvjp(_sequential_scan_fwd, backward)
