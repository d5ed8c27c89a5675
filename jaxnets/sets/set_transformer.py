"""``SetTransformer`` (Lee et al. 2019, arXiv:1810.00825)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dense import Dense
from jaxnets.ops.checks import check_depth
from jaxnets.ops.members import Members, answer_dtype, check_members, only_real
from jaxnets.sets.blocks import ISAB, PMA, SAB
from jaxnets.sets.streaming import Reading


class SetTransformer(nn.Module):
    r"""Attention among the elements of a set, k seeds that read it, attention among these, and a linear output:

    .. math::
        Z = \mathrm{ISAB}_m(\ldots \mathrm{ISAB}_m(X)), \quad
        Y = \mathrm{SAB}(\ldots \mathrm{PMA}_k(Z))\, W + b

    Attributes:
        outputs: Numbers of an answer of each seed.
        seeds: k: answers of a set; 0: an answer for every element, without pooling.
        width: D.
        heads: N, a divisor of D.
        points: m inducing points; 0: ``SAB`` instead of ``ISAB``.
        encoder: Blocks before the pooling.
        decoder: ``SAB`` after it.
        norm: ``"none"`` as published, ``"layer"`` or ``"set"``.
        clean: Whether residuals are clean, as in ``MAB``; elements are projected to D features first then.
        prevalences: Whether each answer is parts of 1 (a softmax).
        dtype: Compute type; parameters and answers are float32.
        implementation: As in ``attention``.
    """

    outputs: int
    seeds: int = 1
    width: int = 128
    heads: int = 4
    points: int = 32
    encoder: int = 2
    decoder: int = 2
    norm: str = "none"
    clean: bool = False
    prevalences: bool = False
    dtype: Dtype = jnp.float32
    implementation: str = "auto"

    def setup(self):
        check_depth(encoder=self.encoder, decoder=self.decoder)
        options: dict[str, Any] = dict(
            heads=self.heads, norm=self.norm, clean=self.clean, dtype=self.dtype, implementation=self.implementation
        )
        if self.clean:
            self.embed = Dense(self.width, dtype=self.dtype)
        induced = lambda: ISAB(self.width, self.points, **options) if self.points else SAB(self.width, **options)
        self.encoder_blocks = [induced() for _ in range(self.encoder)]
        if self.seeds:
            self.pool = PMA(self.width, self.seeds, **options)
            self.decoder_blocks = [SAB(self.width, **options) for _ in range(self.decoder)]
        self.head = nn.Dense(self.outputs, dtype=answer_dtype(self.dtype))

    def __call__(self, xs: jax.Array, members: Members = None, *, train: bool = False) -> jax.Array:
        """From ``[*batch, N, D]`` to ``[*batch, k, outputs]``, float32.

        Without the axis of seeds where k is 1; ``[*batch, N, outputs]`` where it is 0, zeros where not real.
        """
        del train  # it has no dropout
        xs = self._elements(xs, members)
        for block in self.encoder_blocks:
            xs = block(xs, members)
        if self.seeds == 0:
            return only_real(self._answers(xs), check_members(xs, members))
        return self.answer((self.pool(xs, members),))

    def inducing_weights(self, xs: jax.Array, members: jax.Array | None = None) -> tuple[jax.Array, ...]:
        """How much the points of each block attend to each element, to be looked at: ``[*batch, heads, m, N]`` each.

        ``model.apply(variables, xs, members, method="inducing_weights")``.

        Raises:
            ValueError: The model has no inducing points, or ``members`` are segments.
        """
        if not self.points:
            raise ValueError(f"`points` must be at least 1 for weights of inducing points, got {self.points}")
        xs, found = self._elements(xs, members), []
        for block in self.encoder_blocks:
            found.append(block.weights(xs, members))
            xs = block(xs, members)
        return tuple(found)

    def passes(self) -> int:
        """How often ``apply_in_chunks`` reads the set."""
        if not self.seeds:
            raise ValueError(f"`seeds` must be at least 1 to go chunk by chunk, got {self.seeds}")
        if not self.points:
            raise ValueError("`points` must be at least 1 to go chunk by chunk, got 0: SAB needs all of a set at once")
        if self.norm == "set":
            raise ValueError("`norm` must be none or layer to go chunk by chunk, got 'set', which needs all of a set")
        return self.encoder + 1

    def update(self, carry: Reading | None, xs: jax.Array, members: jax.Array | None, seen: tuple) -> Reading:
        """What the points of the next block, or the seeds, have read after one more chunk; None is before the first."""
        xs = self._elements(xs, members)
        for block, of_set in zip(self.encoder_blocks, seen, strict=False):
            xs = block.read(xs, of_set, members)
        return self._next(seen).update(carry, xs, members)

    def finish(self, carry: Reading, seen: tuple) -> jax.Array:
        """What they have seen of the set."""
        return self._next(seen).finish(carry)

    def answer(self, seen: tuple) -> jax.Array:
        """Of what the seeds have seen, which comes last."""
        ys = seen[-1]
        for block in self.decoder_blocks:
            ys = block(ys)
        ys = self._answers(ys)
        return ys[..., 0, :] if self.seeds == 1 else ys

    def _answers(self, ys):
        ys = self.head(ys)
        return nn.softmax(ys) if self.prevalences else ys

    def _next(self, seen):
        return self.pool if len(seen) == self.encoder else self.encoder_blocks[len(seen)]

    def _elements(self, xs, members):
        xs = only_real(xs, check_members(xs, members))
        return self.embed(xs) if self.clean else xs
