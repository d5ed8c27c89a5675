"""Self-attentive text classifier: the encoder of a transformer, with a class token or the mean over the text."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.attention.blocks import norm
from jaxnets.attention.depth import stack
from jaxnets.attention.partition_rules import PARTITION_RULES
from jaxnets.attention.positions import sinusoidal
from jaxnets.attention.ring import Ring
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.checks import check_choice
from jaxnets.ops.masks import valid_steps
from jaxnets.ops.pooling import mean_pool
from jaxnets.text.classification.text_classifier import TextClassifier


class AttentionTextClassifier(TextClassifier):
    r"""Embeddings with positions, blocks of self-attention and MLP, pooling, and a linear layer.

    With sinusoidal positions p, as in the transformer (Vaswani et al. 2017, arXiv:1706.03762), the first block reads
    :math:`\sqrt{D} E_w + p_t`. The blocks have pre-norm, and a final norm precedes the pooling. A class token is a
    learned vector before the text, whose output is the pooled one, as in BERT (Devlin et al. 2019, arXiv:1810.04805).
    Dropout applies to the inputs of the first block too.

    Parameters: ``embed``, ``class_token [D]`` if it is used, ``blocks`` of ``attention.Block``, ``norm``, ``head``.

    Attributes:
        num_layers: Number of blocks.
        num_heads: Number of attention heads, a divisor of D.
        mlp_dim: Hidden units of the MLP; 0: 4 D.
        positions: ``"sinusoidal"``, ``"rotary"``, or ``"none"`` for a bag of tokens.
        pooling: ``"mean"`` over the text, or ``"class"`` for a class token.
        activation, norm, implementation: As in ``attention.Block``.
        remat, scan_layers: As in ``attention.stack``.
    """

    dropout: float = 0.1
    num_layers: int = 2
    num_heads: int = 4
    mlp_dim: int = 0
    positions: str = "sinusoidal"
    pooling: str = "mean"
    activation: str = "gelu"
    norm: str = "layer"
    remat: str = "none"
    scan_layers: bool = False
    implementation: str | Ring = "auto"

    partition_rules = PARTITION_RULES

    def classify(self, xs: jax.Array, tokens: jax.Array, lengths: jax.Array, train: bool) -> jax.Array:
        check_choice("positions", self.positions, ("sinusoidal", "rotary", "none"))
        check_choice("pooling", self.pooling, ("mean", "class"))
        xs = math.sqrt(self.embed_dim) * xs
        if self.pooling == "class":
            token = self.param("class_token", nn.initializers.normal(1.0), (self.embed_dim,), jnp.float32)
            first = jnp.broadcast_to(token.astype(xs.dtype), (*xs.shape[:-2], 1, self.embed_dim))
            xs, lengths = jnp.concatenate([first, xs], axis=-2), lengths + 1
        size = xs.shape[-2]
        if self.positions == "sinusoidal":
            encodings = sinusoidal(jnp.arange(size, dtype=jnp.int32), self.embed_dim)
            xs += jnp.expand_dims(encodings.astype(xs.dtype), tuple(range(xs.ndim - 2)))
        xs = Dropout(self.dropout, deterministic=not train)(xs)
        ys, _ = self._blocks(train)(xs, None, None, lengths, None)
        if self.pooling == "class":
            ys = ys[..., :1, :]
            return self.head(norm(self.norm, self.dtype, "norm")(ys)[..., 0, :], train)
        ys = norm(self.norm, self.dtype, "norm")(ys)
        return self.head(mean_pool(ys, valid_steps(lengths, size)), train)

    def _blocks(self, train: bool) -> nn.Module:
        options: dict[str, Any] = dict(
            embed_dim=self.embed_dim,
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim or 4 * self.embed_dim,
            rotary=self.positions == "rotary",
            activation=self.activation,
            norm=self.norm,
            causal=False,
            dropout=self.dropout,
            dtype=self.dtype,
            implementation=self.implementation,
            train=train,
            name="blocks",
        )
        return stack(self.num_layers, self.remat, self.scan_layers, **options)
