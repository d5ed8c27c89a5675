"""Autodiff executor: a plain ``jax.lax.scan``, differentiable any number of times in any mode."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import Carry, Cell, plain_dot, split_params
from jaxnets.recurrent.executors.method import Arguments, Traversal
from jaxnets.recurrent.executors.steps import StepMasks, masked_projection, masked_step


@dataclasses.dataclass(frozen=True)
class Autodiff:
    """Autodiff method: a plain ``jax.lax.scan``, for forward-mode and second derivatives.

    Its backward pass saves all intermediate values of every step. The other methods are tested against it.

    Attributes:
        unroll: Number of steps unrolled in the loop.
    """

    unroll: int = 1

    def __post_init__(self):
        check_integer("unroll", self.unroll)

    def check(self, cell: Cell, traversal: Traversal, masks: StepMasks) -> None:
        """Does nothing: the method supports every cell."""

    def run(self, cell: Cell, traversal: Traversal, arguments: Arguments) -> tuple[Carry, jax.Array]:
        """Runs the cell, as ``Method.run``."""
        params, xs, carry, initial, masks = arguments
        source, recurrent, rest = split_params(params)
        step = masked_step(cell, rest, plain_dot(cell, recurrent, traversal.dtype), traversal.dtype)
        xs, masks = jax.tree.map(lambda a: jnp.moveaxis(a, traversal.axis, 0), (xs, masks))
        u = masked_projection(cell, masks)(source, xs)
        body = lambda carry, inputs: step(carry, *inputs, initial)
        carry, ys = lax.scan(body, carry, (u, masks), reverse=traversal.reverse, unroll=self.unroll)
        return carry, jnp.moveaxis(ys, 0, traversal.axis)
