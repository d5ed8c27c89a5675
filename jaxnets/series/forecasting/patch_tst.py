"""PatchTST: a transformer over patches of a series (Nie et al. 2023, arXiv:2211.14730)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.modules.dense import Dense, DenseGeneral
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.checks import check_depth, check_divisor, check_probability
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.series.forecasting.forecaster import Forecaster
from jaxnets.series.windows import patches


class PatchTST(Forecaster):
    r"""A transformer encoder over overlapping patches, with a linear head; channels are independent.

    As in the published code: batch normalization after each residual connection, learned positions, and residual
    attention, in which the scores before the softmax are added to those of the previous layer:

    .. math::
        S_l = \frac{Q_l K_l^\top}{\sqrt{d}} + S_{l-1}, \quad
        z = \mathrm{norm}(x + \mathrm{softmax}(S_l) V_l W^O), \quad
        y = \mathrm{norm}(z + W_2\, \mathrm{gelu}(W_1 z))

    The window is standardized (RevIN without affine parameters). The defaults are those for ETTh1.

    Parameters: ``embedding``, ``positions [patches, D]``, ``layer_<i>``, ``head``; collection ``batch_stats``.

    Attributes:
        patch: Steps of a patch.
        stride: Steps between patches.
        embed_dim: D.
        num_heads: Number of attention heads, a divisor of D.
        mlp_dim: Hidden units of the MLP.
        num_layers: Number of layers.
        dropout: Dropout probability of embeddings and of the outputs of sublayers.
    """

    normalization: str = "standardize"
    patch: int = 16
    stride: int = 8
    embed_dim: int = 16
    num_heads: int = 4
    mlp_dim: int = 128
    num_layers: int = 3
    dropout: float = 0.3

    @nn.compact
    def forecast(self, xs: jax.Array, *, train: bool = False) -> jax.Array:
        check_depth(num_layers=self.num_layers)
        check_divisor("num_heads", self.num_heads, "embed_dim", self.embed_dim)
        check_probability("dropout", self.dropout)
        cut = patches(jnp.swapaxes(xs, 1, 2), self.patch, self.stride)  # [B, C, patches, size]
        hs = Dense(self.embed_dim, dtype=self.dtype, name="embedding")(cut)
        small = lambda key, shape: jax.random.uniform(key, shape, jnp.float32, -0.02, 0.02)
        positions = self.param("positions", small, hs.shape[-2:])
        hs = hs + jnp.broadcast_to(positions.astype(hs.dtype), hs.shape)
        hs = Dropout(self.dropout, deterministic=not train)(hs)
        scores = None
        for i in range(self.num_layers):
            layer = ResidualAttentionLayer(self.num_heads, self.mlp_dim, self.dropout, self.dtype, name=f"layer_{i}")
            hs, scores = layer(hs, scores, train=train)
        flat = hs.reshape(*hs.shape[:2], -1)
        return self.split(self.head(self.horizon * self.num_outputs, name="head")(flat))


class ResidualAttentionLayer(nn.Module):
    """A layer of ``PatchTST``: attention with residual scores, and an MLP, each with batch normalization.

    Parameters: ``query``, ``key``, ``value``, ``out``, ``norm_1``, ``mlp_1``, ``mlp_2``, ``norm_2``.

    Attributes:
        num_heads, mlp_dim, dropout, dtype: As in ``PatchTST``.
    """

    num_heads: int
    mlp_dim: int
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, xs: jax.Array, scores: jax.Array | None = None, *, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Applies the layer.

        Args:
            xs: ``[*batch, T, D]``.
            scores: Scores of the previous layer ``[*batch, heads, T, T]``, or None.
            train: Whether to apply dropout and to use the statistics of the batch.

        Returns:
            ``[*batch, T, D]``, and the scores of this layer.
        """
        width = xs.shape[-1]
        dropped = lambda ys: Dropout(self.dropout, deterministic=not train)(ys)
        project = lambda name: DenseGeneral((self.num_heads, width // self.num_heads), dtype=self.dtype, name=name)(xs)
        query, key, value = project("query"), project("key"), project("value")
        products = jnp.einsum("...qhd,...khd->...hqk", query, key, preferred_element_type=at_least_float32(self.dtype))
        total = products * (width // self.num_heads) ** -0.5
        total = total if scores is None else total + scores
        weights = jax.nn.softmax(total, axis=-1).astype(value.dtype)
        mixed = jnp.einsum("...hqk,...khd->...qhd", weights, value)
        # The published code applies dropout twice, in the projection and before the residual connection.
        ys = dropped(dropped(DenseGeneral(width, axis=(-2, -1), dtype=self.dtype, name="out")(mixed)))
        xs = BatchNorm(dtype=self.dtype, name="norm_1")(xs + ys, train)
        hidden = dropped(nn.gelu(Dense(self.mlp_dim, dtype=self.dtype, name="mlp_1")(xs), approximate=False))
        ys = dropped(Dense(width, dtype=self.dtype, name="mlp_2")(hidden))
        return BatchNorm(dtype=self.dtype, name="norm_2")(xs + ys, train), total
