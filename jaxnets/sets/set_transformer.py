"""The set transformer (Lee et al. 2019, arXiv:1810.00825)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.modules.dense import Dense
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depth
from jaxnets.ops.set_reductions import Validity, check_valid, output_dtype, where_valid
from jaxnets.sets.blocks import ISAB, PMA, SAB
from jaxnets.sets.streaming import SoftmaxState


class SetTransformer(nn.Module):
    r"""An encoder of set attention blocks, pooling by k seeds, and a decoder with a linear output layer:

    .. math::
        Z = \mathrm{ISAB}_m(\ldots \mathrm{ISAB}_m(X)), \quad
        Y = \mathrm{SAB}(\ldots \mathrm{PMA}_k(Z))\, W + b

    Attributes:
        num_outputs: Number of outputs of each seed.
        num_seeds: k, the number of output vectors of a set; 0: one output vector for each element, without pooling.
        embed_dim: D.
        num_heads: N, a divisor of D.
        num_inducing_points: m; 0: ``SAB`` instead of ``ISAB``.
        num_encoder_blocks: Number of blocks before the pooling.
        num_decoder_blocks: Number of ``SAB`` after the pooling.
        norm: ``"none"`` as published, ``"layer"`` or ``"set"``.
        clean_residual: Whether to use clean residual connections, as in ``MAB``, after a projection of elements to D
            features.
        softmax: Whether to apply a softmax to the outputs.
        dtype: Compute type; parameters and outputs are float32.
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
        make_block = lambda: (
            ISAB(self.embed_dim, self.num_inducing_points, **options)
            if self.num_inducing_points
            else SAB(self.embed_dim, **options)
        )
        self.encoder_blocks = [make_block() for _ in range(self.num_encoder_blocks)]
        if self.num_seeds:
            self.pool = PMA(self.embed_dim, self.num_seeds, **options)
            self.decoder_blocks = [SAB(self.embed_dim, **options) for _ in range(self.num_decoder_blocks)]
        self.head = nn.Dense(self.num_outputs, dtype=output_dtype(self.dtype))

    def __call__(
        self, xs: Float[Array, "*batch N D"], valid: Validity = None, *, train: bool = False
    ) -> Float[Array, "..."]:
        """Applies the model to sets.

        Args:
            xs: Elements ``[*batch, N, D]``.
            valid: A mask ``[*batch, N]``, ``Segments`` or None.
            train: Not used, as there is no dropout.

        Returns:
            float32 ``[*batch, k, num_outputs]``; ``[*batch, num_outputs]`` for k = 1; ``[*batch, N, num_outputs]``,
            zeros where not valid, for k = 0.
        """
        del train
        xs = self._elements(xs, valid)
        for block in self.encoder_blocks:
            xs = block(xs, valid)
        if self.num_seeds == 0:
            return where_valid(self._head(xs), check_valid(xs, valid))
        return self.decode((self.pool(xs, valid),))

    def inducing_weights(self, xs: jax.Array, valid: jax.Array | None = None) -> tuple[jax.Array, ...]:
        """Computes the attention weights from the inducing points of each block to elements, for inspection.

        Called as ``model.apply(variables, xs, valid, method="inducing_weights")``.

        Returns:
            For each block ``[*batch, heads, m, N]``.

        Raises:
            ValueError: The model has no inducing points, or ``valid`` is ``Segments``.
        """
        if not self.num_inducing_points:
            raise ValueError(
                "`num_inducing_points` must be at least 1 for weights of inducing points, "
                f"got {self.num_inducing_points}"
            )
        xs, weights = self._elements(xs, valid), []
        for block in self.encoder_blocks:
            weights.append(block.weights(xs, valid))
            xs = block(xs, valid)
        return tuple(weights)

    def num_passes(self) -> int:
        """Returns the number of passes of ``apply_in_chunks`` over the set."""
        if not self.num_seeds:
            raise ValueError(f"`num_seeds` must be at least 1 for sets in chunks, got {self.num_seeds}")
        if not self.num_inducing_points:
            raise ValueError(
                "`num_inducing_points` must be at least 1 for sets in chunks, got 0: SAB needs the whole set"
            )
        if self.norm == "set":
            raise ValueError("`norm` must be none or layer for sets in chunks, got 'set', which needs the whole set")
        return self.num_encoder_blocks + 1

    def update(
        self, carry: SoftmaxState | None, xs: jax.Array, valid: jax.Array | None, summaries: tuple
    ) -> SoftmaxState:
        """Updates the attention of the next block's points, or of the seeds, with one more chunk."""
        xs = self._elements(xs, valid)
        for block, summary in zip(self.encoder_blocks, summaries, strict=False):
            xs = block.attend_to_summary(xs, summary, valid)
        return self._next_block(summaries).update(carry, xs, valid)

    def finalize(self, carry: SoftmaxState, summaries: tuple) -> jax.Array:
        """Returns the summary of the set at the points or seeds."""
        return self._next_block(summaries).finalize(carry)

    def decode(self, summaries: tuple) -> jax.Array:
        """Computes the outputs from the last summary, that of the seeds."""
        ys = summaries[-1]
        for block in self.decoder_blocks:
            ys = block(ys)
        ys = self._head(ys)
        return ys[..., 0, :] if self.num_seeds == 1 else ys

    def _head(self, ys):
        ys = self.head(ys)
        return nn.softmax(ys) if self.softmax else ys

    def _next_block(self, summaries):
        return self.pool if len(summaries) == self.num_encoder_blocks else self.encoder_blocks[len(summaries)]

    def _elements(self, xs, valid):
        xs = where_valid(xs, check_valid(xs, valid))
        return self.embed(xs) if self.clean_residual else xs
