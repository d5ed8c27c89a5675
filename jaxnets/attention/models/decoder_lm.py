"""Decoder-only language models: GPT-2 (Radford et al. 2019) and a modern variant."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.attention.blocks import norm
from jaxnets.attention.cache import Caches, cache_axes, cache_length, init_caches, static_length
from jaxnets.attention.checks import check_sizes, check_tokens
from jaxnets.attention.depth import stack
from jaxnets.attention.partition_rules import PARTITION_RULES
from jaxnets.attention.positions import alibi, sinusoidal
from jaxnets.attention.ring import Ring
from jaxnets.attention.unstacking import unstack
from jaxnets.modules.embed import Embed
from jaxnets.modules.stepwise import Stepwise
from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.checks import check_choice
from jaxnets.ops.products import linear

POSITIONS = ("learned", "sinusoidal", "rotary", "alibi")


class DecoderLM(nn.Module):
    r"""A decoder-only transformer that predicts the next token:

    .. math::
        x = E_w + P, \quad x \leftarrow \mathrm{block}^l(x), \quad
        p(w_{t+1} \mid w_{\le t}) = \mathrm{softmax}(\mathrm{norm}(x_t) V)

    Attributes:
        vocab_size: Size of the vocabulary.
        embed_dim: D.
        num_layers: L, the number of blocks.
        num_heads: N, a divisor of D.
        num_kv_heads: Number of heads of keys and values, a divisor of N; 0: N.
        mlp_dim: Number of hidden units of the MLP; 0: 4 D.
        max_seq_len: Maximum sequence length.
        positions: ``"learned"``, ``"sinusoidal"``, ``"rotary"`` or ``"alibi"``.
        activation, norm, use_bias, implementation: As in ``Block``.
        dropout: Dropout probability of token embeddings, of the outputs of sublayers and of attention weights.
        tie_embeddings: Whether the output matrix V is the transposed embedding matrix.
        remat, scan_layers: As in ``stack``.
        dtype: Compute type; parameters and logits are float32.
    """

    vocab_size: int
    embed_dim: int = 256
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int = 0
    mlp_dim: int = 0
    max_seq_len: int = 256
    positions: str = "learned"
    activation: str = "gelu"
    norm: str = "layer"
    use_bias: bool = True
    dropout: float = 0.0
    tie_embeddings: bool = True
    remat: str = "none"
    scan_layers: bool = True
    dtype: Dtype = jnp.float32
    implementation: str | Ring = "auto"

    depths = ("blocks",)
    partition_rules = PARTITION_RULES

    @nn.compact
    def __call__(
        self, tokens: Integer[Array, "*batch T"], carry: Caches | tuple[()] | None = None, *, train: bool = False
    ) -> tuple[Caches | tuple[()], Float[Array, "*batch T V"]]:
        """Computes logits of the next token at each position.

        Args:
            tokens: Integers ``[*batch, T]``.
            carry: The carry from ``start`` or from a previous call; None or (): no tokens precede, and no carry is
                returned.
            train: Whether to apply dropout, which needs ``rngs={"dropout": key}``.

        Returns:
            The carry after the last token, and logits ``[*batch, T, V]``, float32.

        Raises:
            ValueError: The sequence is longer than ``max_seq_len``, or an attribute is out of range.
        """
        cache = carry or None
        self._check(tokens, cache)
        start = jnp.zeros((), jnp.int32) if cache is None else cache_length(cache)
        positions = start + jnp.arange(tokens.shape[-1], dtype=jnp.int32)
        # A tied embedding is also the output matrix, whose initial logits must be small.
        small = nn.initializers.normal(0.02)
        embed = Embed(self.vocab_size, self.embed_dim, self.dtype, embedding_init=small, name="embed")
        xs = embed(tokens)
        if self.positions in ("learned", "sinusoidal"):
            if self.positions == "learned":
                rows = jnp.take(
                    self.param("positions", small, (self.max_seq_len, self.embed_dim), jnp.float32), positions, axis=0
                )
            else:
                rows = sinusoidal(positions, self.embed_dim)
            xs += jnp.expand_dims(rows.astype(self.dtype), tuple(range(xs.ndim - 2)))
        xs = nn.Dropout(self.dropout, deterministic=not train)(xs)
        xs, cache = self._make_blocks(train)(xs, cache, None, None, None)
        xs = norm(self.norm, self.dtype, "norm")(xs)
        if self.tie_embeddings:
            kernel = embed.embedding.T
        else:
            kernel = self.param("head", nn.initializers.lecun_normal(), (self.embed_dim, self.vocab_size), jnp.float32)
        logits = linear(xs, kernel.astype(self.dtype), preferred_element_type=jnp.float32)
        return () if cache is None else cache, logits

    def start(self, batch: tuple[int, ...] = (1,)) -> Caches:
        """Returns the carry before the first token.

        Args:
            batch: Sizes of the batch axes.

        Raises:
            ValueError: ``batch`` is not a tuple of nonnegative integers.
        """
        heads = self.num_kv_heads or self.num_heads
        sizes = batch, self.max_seq_len, heads, self.embed_dim // self.num_heads, self.dtype
        return init_caches(self.num_layers, self.scan_layers, *sizes)

    @nn.nowrap
    def stepwise(self) -> Stepwise:
        """Returns functions that generate token by token, with separate layers.

        When ``max_seq_len`` is reached, the cache is recomputed from the second half of the sequence.
        """
        model, half = self.clone(scan_layers=False), self.max_seq_len // 2

        def run(variables: Any, tokens: jax.Array, cache: Caches) -> tuple[Caches, jax.Array]:
            result: Any = model.apply(variables, tokens[None], cache)
            return result[0], result[1][0, -1]

        def step(variables: Any, carry: tuple[jax.Array, Caches], token: jax.Array) -> tuple[Any, jax.Array]:
            history, cache = carry
            history = jnp.append(history[1:], token)
            recompute = lambda history, _: run(variables, history[half:], model.start())
            extend = lambda history, cache: run(variables, history[-1:], cache)
            is_full = cache_length(cache) == self.max_seq_len
            cache, logits = jax.lax.cond(is_full, recompute, extend, history, cache)
            return (history, cache), logits

        return Stepwise(
            begin=lambda variables: (jnp.zeros(self.max_seq_len, jnp.int32), model.start()),
            step=step,
            prepare=lambda variables: unstack(self, variables)[1],
            carry_axes=cache_axes,
        )

    def _make_blocks(self, train: bool) -> nn.Module:
        options: dict[str, Any] = dict(
            embed_dim=self.embed_dim,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            mlp_dim=self.mlp_dim or 4 * self.embed_dim,
            use_bias=self.use_bias,
            rotary=self.positions == "rotary",
            positions=alibi(self.num_heads) if self.positions == "alibi" else None,
            activation=self.activation,
            norm=self.norm,
            dropout=self.dropout,
            dtype=self.dtype,
            implementation=self.implementation,
            train=train,
            name="blocks",
        )
        return stack(self.num_layers, self.remat, self.scan_layers, **options)

    def _check(self, tokens: jax.Array, cache: Caches | None) -> None:
        check_choice("positions", self.positions, POSITIONS)
        check_sizes(self)
        check_tokens("tokens", tokens)
        num_previous = 0 if cache is None else static_length(cache_length(cache))
        if num_previous + tokens.shape[-1] > self.max_seq_len:
            given = f"{tokens.shape[-1]} after {num_previous}" if num_previous else f"{tokens.shape[-1]}"
            raise ValueError(f"`tokens` must have at most `max_seq_len`, {self.max_seq_len}, steps, got {given}")


def gpt2(
    vocab_size: int = 50257, embed_dim: int = 768, num_layers: int = 12, num_heads: int = 12, **options: Any
) -> DecoderLM:
    """Makes GPT-2: learned positions, layer norm, GELU, biases and tied embeddings (Radford et al. 2019).

    The default has 124,439,808 parameters.

    Args:
        vocab_size, embed_dim, num_layers, num_heads: As in ``DecoderLM``.
        **options: Other attributes; ``max_seq_len`` is 1024 by default.
    """
    options = {"max_seq_len": 1024, **options}
    return DecoderLM(vocab_size, embed_dim, num_layers, num_heads, **options)


def modern_lm(
    vocab_size: int,
    embed_dim: int = 768,
    num_layers: int = 12,
    num_heads: int = 12,
    num_kv_heads: int = 4,
    **options: Any,
) -> DecoderLM:
    """Makes a modern language model (Touvron et al. 2023, arXiv:2302.13971).

    It has rotary positions, RMS norm, SwiGLU with 8/3 D hidden units (rounded up to a multiple of 64), grouped-query
    attention (Ainslie et al. 2023, arXiv:2305.13245) and no biases.

    Args:
        vocab_size, embed_dim, num_layers, num_heads, num_kv_heads: As in ``DecoderLM``.
        **options: Other attributes.
    """
    mlp_dim = -(-8 * embed_dim // 3 // 64) * 64
    defaults: dict[str, Any] = dict(
        mlp_dim=mlp_dim, positions="rotary", norm="rms", activation="swiglu", use_bias=False, max_seq_len=1024
    )
    return DecoderLM(vocab_size, embed_dim, num_layers, num_heads, num_kv_heads, **{**defaults, **options})
