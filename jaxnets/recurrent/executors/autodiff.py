"""The oracle: a plain ``jax.lax.scan`` that JAX differentiates, in every mode and as often as wanted."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.checks import check_integer
from jaxnets.recurrent.cell import Carry, Cell, plain_dot, split_params
from jaxnets.recurrent.executors.method import Given, Traversal
from jaxnets.recurrent.executors.steps import Control, full_step, projection


@dataclasses.dataclass(frozen=True)
class Autodiff:
    """A plain ``jax.lax.scan`` over the projected sequence, for forward-mode and second derivatives.

    It keeps everything that a step computes. The other methods are tested against it.

    Attributes:
        unroll: Steps unrolled in the loop.
    """

    unroll: int = 1

    def __post_init__(self):
        check_integer("unroll", self.unroll)

    def check(self, cell: Cell, traversal: Traversal, control: Control) -> None:
        """It serves every cell."""

    def run(self, cell: Cell, traversal: Traversal, given: Given) -> tuple[Carry, jax.Array]:
        """As ``Method.run``."""
        params, xs, carry, initial, control = given
        source, recurrent, rest = split_params(params)
        step = full_step(cell, rest, plain_dot(cell, recurrent, traversal.dtype), traversal.dtype)
        xs, control = jax.tree.map(lambda a: jnp.moveaxis(a, traversal.axis, 0), (xs, control))
        u = projection(cell, control)(source, xs)
        one = lambda carry, inputs: step(carry, *inputs, initial)
        carry, ys = lax.scan(one, carry, (u, control), reverse=traversal.reverse, unroll=self.unroll)
        return carry, jnp.moveaxis(ys, 0, traversal.axis)
