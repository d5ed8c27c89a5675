"""``SetTransformer`` (Lee et al. 2019, arXiv:1810.00825)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dense import Dense
from jaxnets.ops.checks import check_depth
from jaxnets.ops.set_reductions import Validity, check_valid, output_dtype, where_valid
from jaxnets.sets.blocks import ISAB, PMA, SAB
from jaxnets.sets.streaming import Reading


class SetTransformer(nn.Module):
    r"""Attention among the elements of a set, k seeds that read it, attention among these, and a linear output:

    .. math::
        Z = \mathrm{ISAB}_m(\ldots \mathrm{ISAB}_m(X)), \quad
        Y = \mathrm{SAB}(\ldots \mathrm{PMA}_k(Z))\, W + b

    Attributes:
        num_outputs: Numbers of an answer of each seed.
        num_seeds: k: answers of a set; 0: an answer for every element, without pooling.
        embed_dim: D.
        num_heads: N, a divisor of D.
        num_inducing_points: m inducing points; 0: ``SAB`` instead of ``ISAB``.
        num_encoder_blocks: Blocks before the pooling.
        num_decoder_blocks: ``SAB`` after it.
        norm: ``"none"`` as published, ``"layer"`` or ``"set"``.
        clean_residual: Whether residuals are clean, as in ``MAB``; elements are projected to D features first then.
        softmax: Whether each answer is parts of 1 (a softmax).
        dtype: Compute type; parameters and answers are float32.
        implementation: As in ``attention``.
    """

    num_outputs: int
    num_seeds: int = 1
    embed_dim: int = 128
    num_heads: int = 4
    num_inducing_points: int = 32
    num_encoder_blocks: int = 2
    num_decoder_blocks: int = 2
    norm: str = "none"
    clean_residual: bool = False
    softmax: bool = False
    dtype: Dtype = jnp.float32
    implementation: str = "auto"

    def setup(self):
        check_depth(num_encoder_blocks=self.num_encoder_blocks, num_decoder_blocks=self.num_decoder_blocks)
        options: dict[str, Any] = dict(
            num_heads=self.num_heads,
            norm=self.norm,
            clean_residual=self.clean_residual,
            dtype=self.dtype,
            implementation=self.implementation,
        )
        if self.clean_residual:
            self.embed = Dense(self.embed_dim, dtype=self.dtype)
        induced = lambda: (
            ISAB(self.embed_dim, self.num_inducing_points, **options)
            if self.num_inducing_points
            else SAB(self.embed_dim, **options)
        )
        self.encoder_blocks = [induced() for _ in range(self.num_encoder_blocks)]
        if self.num_seeds:
            self.pool = PMA(self.embed_dim, self.num_seeds, **options)
            self.decoder_blocks = [SAB(self.embed_dim, **options) for _ in range(self.num_decoder_blocks)]
        self.head = nn.Dense(self.num_outputs, dtype=output_dtype(self.dtype))

    def __call__(self, xs: jax.Array, valid: Validity = None, *, train: bool = False) -> jax.Array:
        """From ``[*batch, N, D]`` to ``[*batch, k, outputs]``, float32.

        Without the axis of seeds where k is 1; ``[*batch, N, outputs]`` where it is 0, zeros where not real.
        """
        del train  # it has no dropout
        xs = self._elements(xs, valid)
        for block in self.encoder_blocks:
            xs = block(xs, valid)
        if self.num_seeds == 0:
            return where_valid(self._answers(xs), check_valid(xs, valid))
        return self.answer((self.pool(xs, valid),))

    def inducing_weights(self, xs: jax.Array, valid: jax.Array | None = None) -> tuple[jax.Array, ...]:
        """How much the points of each block attend to each element, to be looked at: ``[*batch, heads, m, N]`` each.

        ``model.apply(variables, xs, valid, method="inducing_weights")``.

        Raises:
            ValueError: The model has no inducing points, or ``valid`` are segments.
        """
        if not self.num_inducing_points:
            raise ValueError(
                "`num_inducing_points` must be at least 1 for weights of inducing points, "
                f"got {self.num_inducing_points}"
            )
        xs, found = self._elements(xs, valid), []
        for block in self.encoder_blocks:
            found.append(block.weights(xs, valid))
            xs = block(xs, valid)
        return tuple(found)

    def passes(self) -> int:
        """How often ``apply_in_chunks`` reads the set."""
        if not self.num_seeds:
            raise ValueError(f"`num_seeds` must be at least 1 to go chunk by chunk, got {self.num_seeds}")
        if not self.num_inducing_points:
            raise ValueError(
                "`num_inducing_points` must be at least 1 to go chunk by chunk, got 0: SAB needs all of a set at once"
            )
        if self.norm == "set":
            raise ValueError("`norm` must be none or layer to go chunk by chunk, got 'set', which needs all of a set")
        return self.num_encoder_blocks + 1

    def update(self, carry: Reading | None, xs: jax.Array, valid: jax.Array | None, seen: tuple) -> Reading:
        """What the points of the next block, or the seeds, have read after one more chunk; None is before the first."""
        xs = self._elements(xs, valid)
        for block, of_set in zip(self.encoder_blocks, seen, strict=False):
            xs = block.read(xs, of_set, valid)
        return self._next(seen).update(carry, xs, valid)

    def finish(self, carry: Reading, seen: tuple) -> jax.Array:
        """What they have seen of the set."""
        return self._next(seen).finish(carry)

    def answer(self, seen: tuple) -> jax.Array:
        """Of what the seeds have seen, which comes last."""
        ys = seen[-1]
        for block in self.decoder_blocks:
            ys = block(ys)
        ys = self._answers(ys)
        return ys[..., 0, :] if self.num_seeds == 1 else ys

    def _answers(self, ys):
        ys = self.head(ys)
        return nn.softmax(ys) if self.softmax else ys

    def _next(self, seen):
        return self.pool if len(seen) == self.num_encoder_blocks else self.encoder_blocks[len(seen)]

    def _elements(self, xs, valid):
        xs = where_valid(xs, check_valid(xs, valid))
        return self.embed(xs) if self.clean_residual else xs
