"""Contract of the methods of ``recurrent.scan``, and functions shared by the methods that work in chunks."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import Carry, Cell, Params, main_input
from jaxnets.recurrent.executors.steps import Plan, StepMasks, explain_tracer_leaks, partition


class Traversal(NamedTuple):
    """Direction, time axis and dtype of a scan; all fields are static.

    Attributes:
        reverse: Whether to run from the last step to the first.
        axis: The time axis of xs, ys and the masks.
        dtype: The dtype of products and outputs.
    """

    reverse: bool
    axis: int
    dtype: Any


class Arguments(NamedTuple):
    """The arrays of a scan.

    Attributes:
        params: The parameters of the cell, in float32 or wider.
        xs: The sequences.
        carry: The carry before the first step of the traversal.
        initial: The carry after a reset; () without resets.
        masks: The masks of valid steps and of resets. ``masked_step`` and ``masked_projection`` of
            ``executors/steps.py`` apply them.
    """

    params: Params
    xs: Any
    carry: Carry
    initial: Carry
    masks: StepMasks


@runtime_checkable
class Method(Protocol):
    """An algorithm of ``recurrent.scan``: its options, its checks and its executor.

    A method is immutable and hashable, such as a frozen dataclass with options as fields. ``scan`` calls only the two
    functions below, so that custom methods need no change in ``scan``.
    """

    def check(self, cell: Cell, traversal: Traversal, masks: StepMasks) -> None:
        """Raises a ValueError if the method does not support the cell, the traversal, the masks or the backend."""

    def run(self, cell: Cell, traversal: Traversal, arguments: Arguments) -> tuple[Carry, jax.Array]:
        """Runs the cell over sequences of at least one step.

        Args:
            cell, traversal: Static.
            arguments: The arrays.

        Returns:
            The carry after the last valid step of the traversal, and the outputs in ``traversal.dtype``.
        """
        ...


def check_chunks(chunk: int | None, keep: str | None, choices: tuple[str | None, ...]) -> None:
    """Raises a ValueError unless ``chunk`` is None or a positive integer, and ``keep`` is one of ``choices``."""
    if chunk is not None:
        check_integer("chunk", chunk)
    if keep not in choices:
        raise ValueError(f"`keep` must be one of {', '.join(map(str, choices))}, got {keep!r}")


def sequence_size(cell: Cell, xs: Any, axis: int) -> tuple[int, int]:
    """Returns the numbers of steps and rows; under ``jax.export`` the steps may be a symbolic dimension."""
    shape = main_input(xs).shape
    return shape[axis], math.prod((*shape[:axis], *shape[axis + 1 :])[: len(shape) - 1 - cell.axes])


def run_in_chunks(executor: Callable, cell: Cell, plan: Plan, arguments: Arguments) -> tuple[Carry, jax.Array]:
    """Runs an executor over all full chunks of a sequence, then over the remaining steps as one shorter chunk.

    Args:
        executor: ``(cell, plan, params, xs, carry, initial, nondiff, masks) -> (carry, ys)``, such as
            ``sequential_scan``.
        cell, plan: Static.
        arguments: The arrays.
    """
    params, xs, carry, initial, masks = arguments
    length = main_input(xs).shape[plan.axis]
    full = length - length % plan.chunk
    ranges = [(0, full, plan.chunk), (full, length, length - full)]
    outputs = []
    for start, stop, size in reversed(ranges) if plan.reverse else ranges:
        if start == stop:
            continue
        cut = lambda a, start=start, stop=stop: lax.slice_in_dim(a, start, stop, axis=plan.axis)
        range_masks, range_xs = jax.tree.map(cut, (masks, xs))
        arrays = (params, range_xs, carry, initial, range_masks)
        carry, ys = _run_executor(executor, cell, plan._replace(chunk=size), *arrays)
        outputs.append(ys)
    ordered = outputs[::-1] if plan.reverse else outputs
    return carry, ordered[0] if len(ordered) == 1 else jnp.concatenate(ordered, plan.axis)


def _run_executor(executor, cell, plan, params, xs, carry, initial, masks):
    """Passes differentiable and other leaves separately to an executor, and explains unsupported derivatives."""
    (params, nondiff_params), (xs, nondiff_xs) = partition(params), partition(xs)
    try:
        with explain_tracer_leaks():
            return executor(cell, plan, params, xs, carry, initial, (nondiff_params, nondiff_xs), masks)
    except TypeError as error:
        if "forward-mode" in str(error):
            raise ValueError('`method` must be "autodiff" for forward-mode derivatives') from error
        raise
