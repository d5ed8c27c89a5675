"""The contract of a method of ``recurrent.scan``, and what the methods that work in chunks share."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import Carry, Cell, Params, main_input
from jaxnets.recurrent.executors.steps import Control, Plan, parted, untraced


class Traversal(NamedTuple):
    """Direction, axis and type of a run over a sequence; all fields are static.

    Attributes:
        reverse: Whether from the last time to the first.
        axis: Of time in xs, ys and the masks.
        dtype: Of the products and outputs.
    """

    reverse: bool
    axis: int
    dtype: Any


class Given(NamedTuple):
    """The arrays that a method computes with.

    Attributes:
        params: As ``cell.init`` makes them, in float32 at least.
        xs: The sequence.
        carry: Before the first step that is read.
        initial: What a reset starts from; () without resets.
        control: The masks of padding and of resets, each None where there is none. ``full_step`` and ``projection`` of
            ``executors/steps.py`` apply them.
    """

    params: Params
    xs: Any
    carry: Carry
    initial: Carry
    control: Control


@runtime_checkable
class Method(Protocol):
    """A way to run any cell, as the ``method`` of ``recurrent.scan``: its options, its check and its executor.

    A method is immutable and hashable, such as a frozen dataclass whose fields are its options. ``scan`` knows nothing
    else of it, so that a method of your own takes no change there.
    """

    def check(self, cell: Cell, traversal: Traversal, control: Control) -> None:
        """Raises a ValueError if the method cannot serve the cell, the dtype or the masks, or cannot run here."""

    def run(self, cell: Cell, traversal: Traversal, given: Given) -> tuple[Carry, jax.Array]:
        """Runs the cell over a sequence of at least one step.

        Args:
            cell, traversal: Static.
            given: The arrays.

        Returns:
            The carry after the last step that is read, and the outputs, in ``traversal.dtype``.
        """
        ...


def check_chunks(chunk: int | None, keep: str | None, kinds: tuple[str | None, ...]) -> None:
    """Raises a ValueError unless a method can compute in chunks of this size and keep this, one of ``kinds``."""
    if chunk is not None:
        check_integer("chunk", chunk)
    if keep not in kinds:
        raise ValueError(f"keep must be one of {', '.join(map(str, kinds))}, got {keep!r}")


def extent(cell: Cell, xs: Any, axis: int) -> tuple[int, int]:
    """The steps and the rows of a sequence; the steps may be a symbolic dimension, as ``jax.export`` traces it."""
    shape = main_input(xs).shape
    return shape[axis], math.prod((*shape[:axis], *shape[axis + 1 :])[: len(shape) - 1 - cell.axes])


def in_chunks(executor: Callable, cell: Cell, plan: Plan, given: Given) -> tuple[Carry, jax.Array]:
    """Runs an executor over all whole chunks of a sequence, and then over the steps that are left as one chunk.

    Args:
        executor: ``(cell, plan, params, xs, carry, initial, others, control) -> (carry, ys)`` with a gradient of its
            own, such as ``chunked``.
        cell, plan: Static.
        given: The arrays.
    """
    params, xs, carry, initial, control = given
    length = main_input(xs).shape[plan.axis]
    whole = length - length % plan.chunk
    pieces = [(0, whole, plan.chunk), (whole, length, length - whole)]
    outputs = []
    for start, stop, size in reversed(pieces) if plan.reverse else pieces:
        if start == stop:
            continue
        cut = lambda a, start=start, stop=stop: lax.slice_in_dim(a, start, stop, axis=plan.axis)
        here, part = jax.tree.map(cut, (control, xs))
        carry, ys = _with_own_gradient(executor, cell, plan._replace(chunk=size), params, part, carry, initial, here)
        outputs.append(ys)
    ordered = outputs[::-1] if plan.reverse else outputs
    return carry, ordered[0] if len(ordered) == 1 else jnp.concatenate(ordered, plan.axis)


def _with_own_gradient(executor, cell, plan, params, xs, carry, initial, control):
    """Runs an executor that differentiates what is floating point alone, and explains what it cannot do."""
    (params, other_params), (xs, other_xs) = parted(params), parted(xs)
    try:
        with untraced():
            return executor(cell, plan, params, xs, carry, initial, (other_params, other_xs), control)
    except TypeError as error:
        if "forward-mode" in str(error):
            raise ValueError('forward-mode derivatives need method="autodiff"') from error
        raise
