"""Persistent executor: one kernel per pass over a chunk of hundreds of steps, with the weights on the chip.

The forward kernel runs the step of the cell, the backward kernel its linearization (``linearized.py``). Projections,
state products of the backward pass and weight gradients are not sequential and are computed outside of the kernels.
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
from jaxnets.recurrent.executors.linearized import linearize_all_steps, make_linearize
from jaxnets.recurrent.executors.method import Arguments, Traversal, run_in_chunks, sequence_size
from jaxnets.recurrent.executors.sequential_backward import previous_steps, weight_gradient
from jaxnets.recurrent.executors.steps import (
    Plan,
    StepMasks,
    add_trees,
    cast_weights,
    combine,
    explain_tracer_leaks,
    masked_projection,
    masked_step,
    partition,
    select_steps,
)
from jaxnets.recurrent.experimental.persistent_tiling import NUM_PROCESSORS, tilings
from jaxnets.recurrent.experimental.step_decomposition import decompose_step

DTYPES = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class Persistent:
    """Persistent method: one kernel for all steps of a chunk, on NVIDIA Hopper GPUs.

    It supports cells over features with a step that is elementwise except for state products.

    Attributes:
        chunk: Number of steps of a kernel. None selects it from the length. T does not need to be a multiple of it.
        sizes: Number of rows and of hidden units of a block of the kernel; None selects them.
        interpret: Settings of the Pallas interpreter, which runs without a GPU; None runs on the GPU.
    """

    chunk: int | None = None
    sizes: tuple[int, int] | None = None
    interpret: Any = None

    def __post_init__(self):
        if self.chunk is not None:
            check_integer("chunk", self.chunk)
        if self.sizes is not None and not (isinstance(self.sizes, tuple) and len(self.sizes) == 2):
            raise ValueError(f"`sizes` must be a pair (rows, units) or None, got {self.sizes!r}")

    def check(self, cell: Cell, traversal: Traversal, masks: StepMasks) -> None:
        """Raises a ValueError if the kernel does not support the backend, the dtype or cells over images.

        ``run`` raises for a step that cannot be decomposed, and for sizes that do not fit on the chip.
        """
        if self.interpret is None:
            check_device()
        if jnp.dtype(traversal.dtype).name not in DTYPES:
            dtype = jnp.dtype(traversal.dtype).name
            raise ValueError(f'`xs` for method "persistent" must be {", ".join(DTYPES)}, got {dtype}')
        if cell.axes != 1:
            raise ValueError(
                'method "persistent" does not support this cell: its inputs must be [*batch, T, D], got images; use '
                '"sequential"'
            )

    def run(self, cell: Cell, traversal: Traversal, arguments: Arguments) -> tuple[Carry, jax.Array]:
        """Runs the cell, as ``Method.run``."""
        length = sequence_size(cell, arguments.xs, traversal.axis)[0]
        plan = Plan(self.chunk or default_chunk_size(length), "carries", 1, *traversal)
        executor = functools.partial(persistent, self)
        return run_in_chunks(executor, cell, plan, arguments)


def persistent(
    method: Persistent,
    cell: Cell,
    plan: Plan,
    params: Params,
    xs: Any,
    carry: Carry,
    initial: Carry,
    nondiff: Any,
    masks: StepMasks,
) -> tuple[Carry, jax.Array]:
    """Computes the last carry and ys; the other arguments are as in ``sequential_scan``."""
    length = jax.tree.leaves(xs)[0].shape[plan.axis]
    batch = jax.tree.leaves(carry)[0].shape[:-1]

    def time_first(a):
        axis = min(plan.axis, a.ndim - 1)
        return jnp.moveaxis(a, axis, 0).reshape(length, -1, *a.shape[len(batch) + 1 :]) if axis == plan.axis else a

    rows = functools.partial(jax.tree.map, lambda a: a.reshape(-1, a.shape[-1]))
    inner = plan._replace(axis=0)
    initial = rows(initial)

    def chunk(carry, inputs):
        xs, nondiff_xs, masks = inputs
        return _persistent(cell, inner, method, params, xs, carry, initial, (nondiff[0], nondiff_xs), masks)

    sequences = jax.tree.map(time_first, (xs, nondiff[1], masks))
    if length == plan.chunk:
        last, ys = chunk(rows(carry), sequences)
    else:
        cut = jax.tree.map(lambda a: a.reshape(-1, plan.chunk, *a.shape[1:]), sequences)
        last, ys = lax.scan(chunk, rows(carry), cut, reverse=plan.reverse)
    ys = jnp.moveaxis(ys.reshape(length, *batch, ys.shape[-1]), 0, plan.axis)
    return jax.tree.map(lambda a: a.reshape(*batch, a.shape[-1]), last), ys


def default_chunk_size(length: int) -> int:
    """Returns a chunk size of at most 256 steps, which limits memory, for chunks of nearly equal size."""
    if not isinstance(length, int):  # a symbolic dimension of jax.export
        return length
    return -(-length // max(-(-length // 256), 1)) or 1


def check_device() -> None:
    """Raises a ValueError unless the backend and the version of JAX support the kernel."""
    if (backend := jax.default_backend()) != "gpu":
        raise ValueError(f'the default backend of method "persistent" must be an NVIDIA Hopper GPU, got {backend}')
    capability = str(getattr(jax.devices()[0], "compute_capability", "unknown"))
    if not capability.startswith("9."):
        raise ValueError(
            'the GPU of method "persistent" must have the compute capability 9.0 (Hopper: H100, H200), got '
            f"{capability}"
        )
    if jax.__version_info__ < (0, 11):
        raise ValueError(f'JAX for method "persistent" must be 0.11 or newer, got {jax.__version__}')


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _persistent(cell, plan, method, params, xs, carry, initial, nondiff, masks):
    return _forward(cell, plan, method, params, xs, carry, initial, nondiff, masks, keep=False)[:2]


def _persistent_fwd(cell, plan, method, params, xs, carry, initial, nondiff, masks):
    last, ys, saved = _forward(cell, plan, method, params, xs, carry, initial, nondiff, masks, keep=True)
    return (last, ys), (params, xs, carry, initial, nondiff, masks, saved)


def _forward(cell, plan, method, params, xs, carry, initial, nondiff, masks, keep: bool):
    """Returns the last carry, ys, and the leaves of the carry after each step, or None unless ``keep``."""
    source, recurrent, rest = split_params(params)
    nondiff_source, _, nondiff_rest = split_params(nondiff[0])
    u = masked_projection(cell, masks)(combine(source, nondiff_source), combine(xs, nondiff[1]))
    dot = plain_dot(cell, cast_weights(cell, recurrent, plan.dtype), plan.dtype)
    run_step = masked_step(cell, combine(rest, nondiff_rest), dot, jnp.float32, mask_output=False)
    output_index: list[int] = []  # the leaf of the new carry that is the output, if any

    def step(carry, inputs):
        new, y = run_step(carry, *inputs, initial)
        leaves = jax.tree.leaves(new)
        output_index[:] = [i for i, leaf in enumerate(leaves) if leaf is y][:1]
        return new, (leaves if keep else []) + ([] if keep and output_index else [y])

    last, outputs = _run_kernel(step, carry, (u, masks), plan.dtype, plan.reverse, method)
    ys = (outputs[output_index[0]] if keep and output_index else outputs[-1]).astype(plan.dtype)
    if masks.valid is not None:
        ys = select_steps(masks.valid, ys, jnp.zeros_like(ys))
    return last, ys, outputs[: len(jax.tree.leaves(carry))] if keep else None


@explain_tracer_leaks()
def _persistent_bwd(cell, plan, method, residuals, cotangents):
    params, xs, first, initial, nondiff, masks, saved = residuals
    last_gradient, dys = cotangents
    source, recurrent, rest = split_params(params)
    nondiff_source, _, nondiff_rest = split_params(nondiff[0])
    project = lambda source, xs: partition(
        masked_projection(cell, masks)(combine(source, nondiff_source), combine(xs, nondiff[1]))
    )
    u, project_vjp, nondiff_u = jax.vjp(project, source, xs, has_aux=True)
    leaves, tree = jax.tree.flatten(first)
    before = [previous_steps(one[None], after, plan) for one, after in zip(leaves, saved, strict=True)]
    linearize = make_linearize(cell, plan, cast_weights(cell, recurrent, plan.dtype), rest, nondiff_rest)
    sequences = (jax.tree.unflatten(tree, before), u, nondiff_u, masks)
    states, pullback = linearize_all_steps(linearize, plan, sequences, (None, None), initial)

    def back(gradient, inputs):
        pull, dy = inputs
        new = pull((gradient, dy))[0]
        return new, jax.tree.leaves(new)

    gradient, gradients = _run_kernel(back, last_gradient, (pullback, dys), plan.dtype, not plan.reverse, method)
    # With the gradient of the carry after each step, the other gradients are computed for all steps in parallel.
    backward_plan = plan._replace(reverse=not plan.reverse)
    carry_gradients = [
        previous_steps(last[None], later, backward_plan)
        for last, later in zip(jax.tree.leaves(last_gradient), gradients, strict=True)
    ]
    pull_back = jax.vmap(lambda pull, *cotangents: pull(cotangents)[1:])
    du, drest, dinitial, dproducts = pull_back(pullback, jax.tree.unflatten(tree, carry_gradients), dys)
    over_time = functools.partial(jax.tree.map, lambda a: a.sum(0))
    recurrent_gradient = jax.tree.map(jnp.zeros_like, recurrent)
    for state_of_product, dz in zip(states, dproducts, strict=True):
        ((name, h),) = state_of_product.items()
        product_gradient = weight_gradient(cell, recurrent[name], h.astype(plan.dtype), dz, plan)
        recurrent_gradient[name] = add_trees(recurrent_gradient[name], product_gradient)
    input_gradient, dx = project_vjp(du)
    params_gradient = {**over_time(drest), "input": input_gradient, "recurrent": recurrent_gradient}
    return params_gradient, dx, gradient, over_time(dinitial), None, None


_persistent.defvjp(_persistent_fwd, _persistent_bwd)


def _run_kernel(
    step: Any, carry: Carry, xs: Any, dtype: Any, reverse: bool, method: Persistent
) -> tuple[Carry, list[jax.Array]]:
    """Runs ``lax.scan`` as one kernel: returns the last carry and the leaves of the outputs."""
    # Imported here because the kernel needs an experimental module of JAX that is useful on GPUs only.
    from jaxnets.recurrent.experimental.persistent_kernel import persistent_loop

    leaves, tree = jax.tree.flatten(carry)
    chex.assert_rank(leaves, 2)
    batch, hidden = leaves[0].shape
    try:
        decomposed = decompose_step(step, carry, xs)
    except ValueError as error:
        raise ValueError(f'method "persistent" does not support this cell: {error}; use "sequential"') from error
    device = jax.devices()[0]
    num_processors = device.core_count if device.platform == "gpu" else NUM_PROCESSORS
    fitting = tilings(batch, hidden, decomposed, dtype, num_processors)
    candidates = [tiling for tiling in fitting if method.sizes in (None, (tiling.rows, tiling.units))]
    if not candidates:
        raise ValueError(
            f'the cell of method "persistent" must fit on the chip and have a multiple of 16 units, got {hidden} units '
            f'for a batch of {batch} in {jnp.dtype(dtype).name}; use "sequential"'
        )
    length = jax.tree.leaves(xs)[0].shape[0]
    last, outputs = persistent_loop(
        decomposed, leaves, length, dtype, candidates[0], reverse=reverse, interpret=method.interpret
    )
    return jax.tree.unflatten(tree, last), outputs
