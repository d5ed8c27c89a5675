"""``DecoderLM``: a decoder-only language model (Radford et al. 2019, GPT-2), and its modern variant."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.attention.blocks import norm
from jaxnets.attention.cache import Caches, cache_axes, empty_caches, known_length, length_of
from jaxnets.attention.checks import check_sizes, check_tokens
from jaxnets.attention.depth import stack
from jaxnets.attention.partition_rules import PARTITION_RULES
from jaxnets.attention.positions import alibi, sinusoidal
from jaxnets.attention.ring import Ring
from jaxnets.attention.unstacking import unstack
from jaxnets.modules.embed import Embed
from jaxnets.modules.stepwise import Stepwise
from jaxnets.ops.checks import check_choice
from jaxnets.ops.products import linear

POSITIONS = ("learned", "sinusoidal", "rotary", "alibi")


class DecoderLM(nn.Module):
    r"""Blocks of causal attention that predict the next token from all tokens before it:

    .. math::
        x = E_w + P, \quad x \leftarrow \mathrm{block}^l(x), \quad
        p(w_{t+1} \mid w_{\le t}) = \mathrm{softmax}(\mathrm{norm}(x_t) V)

    Attributes:
        vocab_size: Number of tokens.
        embed_dim: D.
        num_layers: L.
        num_heads: N, a divisor of D.
        num_kv_heads: Heads of keys and values, a divisor of N; 0: N.
        mlp_dim: Width inside a block's network; 0: 4 D.
        max_seq_len: Most tokens at once.
        positions: ``"learned"``, ``"sinusoidal"``, ``"rotary"`` or ``"alibi"``.
        activation, norm, use_bias, implementation: As in ``Block``.
        dropout: Probability of dropping an element of the embedded tokens, of what each part of a block adds, and a
            weight of attention.
        tie_embeddings: Whether the output matrix V is the transposed embedding.
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
        self, tokens: jax.Array, carry: Caches | None = None, *, train: bool = False
    ) -> tuple[Caches, jax.Array]:
        """Logits of the next token after every token.

        Args:
            tokens: Integers ``[*batch, T]``.
            carry: What ``start`` or a call before gave, to go on from; None or (): these are the first tokens, and
                nothing is kept.
            train: Whether dropout is on; it needs ``rngs={"dropout": key}`` then.

        Returns:
            The carry after the last token, and logits ``[*batch, T, vocabulary]`` in float32.

        Raises:
            ValueError: There are more tokens than the context has, or an attribute does not fit.
        """
        cache = carry or None
        self._check(tokens, cache)
        start = jnp.zeros((), jnp.int32) if cache is None else length_of(cache)
        at = start + jnp.arange(tokens.shape[-1], dtype=jnp.int32)
        # Tied, the embedding is also the output's matrix, whose logits must begin small.
        small = nn.initializers.normal(0.02)
        embed = Embed(self.vocab_size, self.embed_dim, self.dtype, embedding_init=small, name="embed")
        xs = embed(tokens)
        if self.positions in ("learned", "sinusoidal"):
            if self.positions == "learned":
                rows = jnp.take(self.param("positions", small, (self.max_seq_len, self.embed_dim)), at, axis=0)
            else:
                rows = sinusoidal(at, self.embed_dim)
            xs += jnp.expand_dims(rows.astype(self.dtype), tuple(range(xs.ndim - 2)))
        xs = nn.Dropout(self.dropout, deterministic=not train)(xs)
        xs, cache = self._blocks(train)(xs, cache, None, None, None)
        xs = norm(self.norm, self.dtype, "norm")(xs)
        if self.tie_embeddings:
            kernel = embed.embedding.T
        else:
            kernel = self.param("head", nn.initializers.lecun_normal(), (self.embed_dim, self.vocab_size))
        logits = linear(xs, kernel.astype(self.dtype), preferred_element_type=jnp.float32)
        return () if cache is None else cache, logits

    def start(self, batch: tuple[int, ...] = (1,)) -> Caches:
        """The carry before the first token, of a batch of this shape.

        Raises:
            ValueError: ``batch`` is not a tuple of sizes.
        """
        heads = self.num_kv_heads or self.num_heads
        sizes = batch, self.max_seq_len, heads, self.embed_dim // self.num_heads, self.dtype
        return empty_caches(self.num_layers, self.scan_layers, *sizes)

    @nn.nowrap
    def stepwise(self) -> Stepwise:
        """Functions that write token by token, with layers apart.

        Where the context is full, the later half of it is read once more, and writing goes on from there.
        """
        model, half = self.clone(scan_layers=False), self.max_seq_len // 2

        def run(variables: Any, tokens: jax.Array, cache: Caches) -> tuple[Caches, jax.Array]:
            result: Any = model.apply(variables, tokens[None], cache)
            return result[0], result[1][0, -1]

        def step(variables: Any, carry: tuple[jax.Array, Caches], token: jax.Array) -> tuple[Any, jax.Array]:
            read, cache = carry
            read = jnp.append(read[1:], token)
            later_half = lambda read, _: run(variables, read[half:], model.start())
            go_on = lambda read, cache: run(variables, read[-1:], cache)
            cache, logits = jax.lax.cond(length_of(cache) == self.max_seq_len, later_half, go_on, read, cache)
            return (read, cache), logits

        return Stepwise(
            begin=lambda variables: (jnp.zeros(self.max_seq_len, jnp.int32), model.start()),
            step=step,
            prepare=lambda variables: unstack(self, variables)[1],
            carry_axes=cache_axes,
        )

    def _blocks(self, train: bool) -> nn.Module:
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
        before = 0 if cache is None else known_length(length_of(cache))
        if before + tokens.shape[-1] > self.max_seq_len:
            given = f"{tokens.shape[-1]} after {before}" if before else f"{tokens.shape[-1]}"
            raise ValueError(f"`tokens` must be at most {self.max_seq_len}, the context, got {given}")


def gpt2(
    vocab_size: int = 50257, embed_dim: int = 768, num_layers: int = 12, num_heads: int = 12, **options: Any
) -> DecoderLM:
    """GPT-2: learned positions, layer norm, GELU, biases, tied embeddings; 124,439,808 parameters by default.

    Args:
        vocab_size, embed_dim, num_layers, num_heads: As in ``DecoderLM``.
        **options: Its other attributes; ``context`` is 1024 by default.
    """
    given: dict[str, Any] = {"max_seq_len": 1024, **options}
    return DecoderLM(vocab_size, embed_dim, num_layers, num_heads, **given)


def modern_lm(
    vocab_size: int,
    embed_dim: int = 768,
    num_layers: int = 12,
    num_heads: int = 12,
    num_kv_heads: int = 4,
    **options: Any,
) -> DecoderLM:
    """Rotary positions, RMS norm, SwiGLU (hidden 8/3 D, in 64s), grouped heads, no biases (Touvron et al. 2023,
    arXiv:2302.13971; Ainslie et al. 2023, arXiv:2305.13245).

    Args:
        vocab_size, embed_dim, num_layers, num_heads, num_kv_heads: As in ``DecoderLM``.
        **options: Its other attributes.
    """
    mlp_dim = -(-8 * embed_dim // 3 // 64) * 64
    given: dict[str, Any] = dict(mlp_dim=mlp_dim, positions="rotary", norm="rms", activation="swiglu", use_bias=False)
    return DecoderLM(
        vocab_size, embed_dim, num_layers, num_heads, num_kv_heads, **{**given, "max_seq_len": 1024, **options}
    )
