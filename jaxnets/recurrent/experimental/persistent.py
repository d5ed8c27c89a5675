"""The persistent executor: both passes over a chunk of hundreds of steps as one kernel each, weights on the chip.

The forward kernel runs the cell's own step, the backward one its linearization (``linearized.py``). Everything that is
not sequential is outside: projections, state products of the backward pass, weight gradients.
"""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import Carry, Cell, Params, plain_dot, split_params
from jaxnets.recurrent.executors.linearized import linearized, linearized_at_all_times
from jaxnets.recurrent.executors.method import Given, Traversal, extent, in_chunks
from jaxnets.recurrent.executors.sequential_backward import shifted, weight_gradient
from jaxnets.recurrent.executors.steps import (
    Control,
    Plan,
    add,
    full_step,
    joined,
    parted,
    projection,
    ready,
    untraced,
    where,
)
from jaxnets.recurrent.experimental.persistent_tiling import PROCESSORS, tilings
from jaxnets.recurrent.experimental.taken_apart import take_apart

DTYPES = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class Persistent:
    """One kernel for all steps of a chunk on a Hopper GPU, for cells whose units meet in their state products alone.

    Attributes:
        chunk: Steps of a kernel; None chooses. T need not be a multiple.
        sizes: Rows and units of a block; None chooses.
        interpret: Pallas' interpreter and its settings, which need no GPU; None runs on the GPU.
    """

    chunk: int | None = None
    sizes: tuple[int, int] | None = None
    interpret: Any = None

    def __post_init__(self):
        if self.chunk is not None:
            check_integer("chunk", self.chunk)
        if self.sizes is not None and not (isinstance(self.sizes, tuple) and len(self.sizes) == 2):
            raise ValueError(f"sizes must be a pair of rows and units, or None, got {self.sizes!r}")

    def check(self, cell: Cell, traversal: Traversal, control: Control) -> None:
        """Raises a ValueError if the kernel cannot run here, or not in this dtype, or not a cell over images.

        A cell that cannot be taken apart, and sizes that do not fit the chip, are found by ``run``.
        """
        if self.interpret is None:
            check_device()
        if jnp.dtype(traversal.dtype).name not in DTYPES:
            given = jnp.dtype(traversal.dtype).name
            raise ValueError(f'method: "persistent" serves {", ".join(DTYPES)}; given {given}')
        if cell.axes != 1:
            raise ValueError('method: "persistent" cannot run this cell: it is one over images; "sequential" can')

    def run(self, cell: Cell, traversal: Traversal, given: Given) -> tuple[Carry, jax.Array]:
        """As ``Method.run``."""
        length = extent(cell, given.xs, traversal.axis)[0]
        plan = Plan(self.chunk or chunk_length(length), "carries", 1, *traversal)
        executor = functools.partial(persistent, self)
        return in_chunks(executor, cell, plan, given)


def persistent(
    how: Persistent,
    cell: Cell,
    plan: Plan,
    params: Params,
    xs: Any,
    carry: Carry,
    initial: Carry,
    others: Any,
    control: Control,
) -> tuple[Carry, jax.Array]:
    """The last carry and ys; arguments as those of ``chunked``."""
    length = jax.tree.leaves(xs)[0].shape[plan.axis]
    batch = jax.tree.leaves(carry)[0].shape[:-1]

    def time_first(a):
        axis = min(plan.axis, a.ndim - 1)
        return jnp.moveaxis(a, axis, 0).reshape(length, -1, *a.shape[len(batch) + 1 :]) if axis == plan.axis else a

    rows = functools.partial(jax.tree.map, lambda a: a.reshape(-1, a.shape[-1]))
    inner = plan._replace(axis=0)
    initial = rows(initial)

    def chunk(carry, inputs):
        xs, other_xs, control = inputs
        return _persistent(cell, inner, how, params, xs, carry, initial, (others[0], other_xs), control)

    sequences = jax.tree.map(time_first, (xs, others[1], control))
    if length == plan.chunk:
        last, ys = chunk(rows(carry), sequences)
    else:
        cut = jax.tree.map(lambda a: a.reshape(-1, plan.chunk, *a.shape[1:]), sequences)
        last, ys = lax.scan(chunk, rows(carry), cut, reverse=plan.reverse)
    ys = jnp.moveaxis(ys.reshape(length, *batch, ys.shape[-1]), 0, plan.axis)
    return jax.tree.map(lambda a: a.reshape(*batch, a.shape[-1]), last), ys


def chunk_length(length: int) -> int:
    """The steps of one kernel: at most 256, so that what is kept for them is not too much, and about equal parts."""
    if not isinstance(length, int):  # a symbolic dimension, as ``jax.export`` traces it
        return length
    return -(-length // max(-(-length // 256), 1)) or 1


def check_device() -> None:
    """Raises a ValueError unless the kernel runs here."""
    if (backend := jax.default_backend()) != "gpu":
        raise ValueError(f'method: "persistent" needs an NVIDIA GPU (Hopper); the default backend is {backend}')
    capability = str(getattr(jax.devices()[0], "compute_capability", "unknown"))
    if not capability.startswith("9."):
        raise ValueError(
            f'method: "persistent" needs an NVIDIA GPU of compute capability 9.0 (Hopper: H100, H200); '
            f"here it is {capability}"
        )
    if jax.__version_info__ < (0, 11):
        raise ValueError(f'method: "persistent" needs JAX 0.11 or newer; here it is {jax.__version__}')


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _persistent(cell, plan, how, params, xs, carry, initial, others, control):
    return _forward(cell, plan, how, params, xs, carry, initial, others, control, keep=False)[:2]


def _persistent_fwd(cell, plan, how, params, xs, carry, initial, others, control):
    last, ys, kept = _forward(cell, plan, how, params, xs, carry, initial, others, control, keep=True)
    return (last, ys), (params, xs, carry, initial, others, control, kept)


def _forward(cell, plan, how, params, xs, carry, initial, others, control, keep: bool):
    """Returns the last carry, ys, and the leaves of the carry after each step if ``keep``, else None."""
    source, recurrent, rest = split_params(params)
    other_source, _, other_rest = split_params(others[0])
    u = projection(cell, control)(joined(source, other_source), joined(xs, others[1]))
    dot = plain_dot(cell, ready(cell, recurrent, plan.dtype), plan.dtype)
    one = full_step(cell, joined(rest, other_rest), dot, jnp.float32, mask_output=False)
    told: list[int] = []  # which leaf of the new carry the output is, if any

    def step(carry, inputs):
        new, y = one(carry, *inputs, initial)
        leaves = jax.tree.leaves(new)
        told[:] = [i for i, leaf in enumerate(leaves) if leaf is y][:1]
        return new, (leaves if keep else []) + ([] if keep and told else [y])

    last, outputs = _loop(step, carry, (u, control), plan.dtype, plan.reverse, how)
    ys = (outputs[told[0]] if keep and told else outputs[-1]).astype(plan.dtype)
    if control.active is not None:
        ys = where(control.active, ys, jnp.zeros_like(ys))
    return last, ys, outputs[: len(jax.tree.leaves(carry))] if keep else None


@untraced()
def _persistent_bwd(cell, plan, how, residuals, cotangents):
    params, xs, first, initial, others, control, kept = residuals
    last_gradient, dys = cotangents
    source, recurrent, rest = split_params(params)
    other_source, _, other_rest = split_params(others[0])
    project = lambda source, xs: parted(projection(cell, control)(joined(source, other_source), joined(xs, others[1])))
    u, project_vjp, other_u = jax.vjp(project, source, xs, has_aux=True)
    leaves, tree = jax.tree.flatten(first)
    before = [shifted(one[None], after, plan) for one, after in zip(leaves, kept, strict=True)]
    linearize = linearized(cell, plan, ready(cell, recurrent, plan.dtype), rest, other_rest)
    sequences = (jax.tree.unflatten(tree, before), u, other_u, control)
    states, pullback = linearized_at_all_times(linearize, plan, sequences, (None, None), initial)

    def back(gradient, inputs):
        pull, dy = inputs
        new = pull((gradient, dy))[0]
        return new, jax.tree.leaves(new)

    gradient, gradients = _loop(back, last_gradient, (pullback, dys), plan.dtype, not plan.reverse, how)
    # What reached each step from those after it: with that the rest of its gradients are computed at all times at once.
    onward = plan._replace(reverse=not plan.reverse)
    arrived = [
        shifted(one[None], later, onward) for one, later in zip(jax.tree.leaves(last_gradient), gradients, strict=True)
    ]
    pulled = jax.vmap(lambda pull, *arguments: pull(arguments)[1:])
    du, drest, dinitial, dproducts = pulled(pullback, jax.tree.unflatten(tree, arrived), dys)
    over_time = functools.partial(jax.tree.map, lambda a: a.sum(0))
    recurrent_gradient = jax.tree.map(jnp.zeros_like, recurrent)
    for made, dz in zip(states, dproducts, strict=True):
        ((name, h),) = made.items()
        gradient_of_one = weight_gradient(cell, recurrent[name], h.astype(plan.dtype), dz, plan)
        recurrent_gradient[name] = add(recurrent_gradient[name], gradient_of_one)
    input_gradient, dx = project_vjp(du)
    gradients_of_params = {**over_time(drest), "input": input_gradient, "recurrent": recurrent_gradient}
    return gradients_of_params, dx, gradient, over_time(dinitial), None, None


_persistent.defvjp(_persistent_fwd, _persistent_bwd)


def _loop(
    step: Any, carry: Carry, xs: Any, dtype: Any, reverse: bool, how: Persistent
) -> tuple[Carry, list[jax.Array]]:
    """``lax.scan`` in one kernel: the last carry, and the leaves of the outputs."""
    # Here, not above: it takes a part of JAX that is experimental, and only on GPUs of use.
    from jaxnets.recurrent.experimental.persistent_kernel import persistent_loop

    leaves, tree = jax.tree.flatten(carry)
    chex.assert_rank(leaves, 2)
    batch, hidden = leaves[0].shape
    try:
        apart = take_apart(step, carry, xs)
    except ValueError as error:
        raise ValueError(f'method: "persistent" cannot run this cell: {error}; "sequential" can') from error
    there = jax.devices()[0]
    processors = there.core_count if there.platform == "gpu" else PROCESSORS
    fitting = tilings(batch, hidden, apart, dtype, processors)
    found = [tiling for tiling in fitting if how.sizes in (None, (tiling.rows, tiling.units))]
    if not found:
        raise ValueError(
            f'method: "persistent" cannot hold a cell of {hidden} units on the chip for a batch of {batch} in '
            f'{jnp.dtype(dtype).name} (the units must be a multiple of 16); "sequential" can'
        )
    length = jax.tree.leaves(xs)[0].shape[0]
    last, outputs = persistent_loop(apart, leaves, length, dtype, found[0], reverse=reverse, interpret=how.interpret)
    return jax.tree.unflatten(tree, last), outputs
