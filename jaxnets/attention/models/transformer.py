"""An encoder-decoder transformer (Vaswani et al. 2017, arXiv:1706.03762)."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.attention.blocks import norm
from jaxnets.attention.cache import Caches, cache_axes, cache_length, init_caches, static_length
from jaxnets.attention.checks import check_sizes, check_tokens
from jaxnets.attention.depth import stack
from jaxnets.attention.partition_rules import PARTITION_RULES
from jaxnets.attention.positions import sinusoidal
from jaxnets.attention.ring import Ring
from jaxnets.attention.unstacking import unstack
from jaxnets.modules.embed import Embed
from jaxnets.modules.stepwise import Stepwise, of_encoder_decoder
from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.checks import checked_integers
from jaxnets.ops.masks import valid_steps
from jaxnets.ops.products import linear


class Memory(NamedTuple):
    """State of a decoder: the encoded source, and the cache of target tokens.

    Attributes:
        memory: Keys and values of the encoded source for all layers, each ``[L, *batch, S, N, D / N]``; for separate
            layers, a tuple of pairs ``[*batch, S, N, D / N]``.
        lengths: Integers ``[*batch]``, number of valid source tokens; None: all tokens are valid.
        cache: Keys and values of previous target tokens, or None.
    """

    memory: Any
    lengths: jax.Array | None
    cache: Caches | None


class Transformer(nn.Module):
    r"""A transformer whose encoder encodes a source, and whose causal decoder predicts the next target token.

    Tokens are embedded as :math:`\sqrt{D} E_w` plus sinusoidal positions; source, target and output share E. For a
    vocabulary of 37,000 tokens, the base model of the paper (default attributes) has 63,082,496 parameters, the big
    model (``embed_dim=1024``, ``num_heads=16``, ``mlp_dim=4096``) 214,245,376.

    Attributes:
        vocab_size: Size of the joint vocabulary of source and target.
        embed_dim: D.
        num_layers: Number of encoder blocks, and of decoder blocks.
        num_heads: N, a divisor of D.
        mlp_dim: Number of hidden units of the MLP; 0: 4 D.
        max_seq_len: Maximum length of source and target.
        norm_first: Whether to use pre-norm, with a final norm, instead of post-norm.
        activation, norm, use_bias, implementation: As in ``Block``.
        dropout: As in ``DecoderLM``.
        remat, scan_layers: As in ``stack``.
        dtype: Compute type; parameters and logits are float32.
        train: Whether to apply dropout.
    """

    vocab_size: int
    embed_dim: int = 512
    num_layers: int = 6
    num_heads: int = 8
    mlp_dim: int = 0
    max_seq_len: int = 1024
    norm_first: bool = False
    activation: str = "relu"
    norm: str = "layer"
    use_bias: bool = True
    dropout: float = 0.1
    remat: str = "none"
    scan_layers: bool = True
    dtype: Dtype = jnp.float32
    implementation: str | Ring = "auto"
    train: bool = False

    depths = ("encoder", "decoder")
    partition_rules = PARTITION_RULES

    def setup(self):
        check_sizes(self)
        scaled = nn.initializers.normal(self.embed_dim**-0.5)
        self.embed = Embed(self.vocab_size, self.embed_dim, self.dtype, embedding_init=scaled)
        options: dict[str, Any] = dict(
            embed_dim=self.embed_dim,
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim or 4 * self.embed_dim,
            use_bias=self.use_bias,
            activation=self.activation,
            norm=self.norm,
            norm_first=self.norm_first,
            dropout=self.dropout,
            dtype=self.dtype,
            implementation=self.implementation,
            train=self.train,
        )
        self.encoder = stack(self.num_layers, self.remat, self.scan_layers, causal=False, **options)
        self.decoder = stack(self.num_layers, self.remat, self.scan_layers, cross_attention=True, **options)
        if self.norm_first:
            self.encoder_norm, self.decoder_norm = norm(self.norm, self.dtype), norm(self.norm, self.dtype)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.train)

    def __call__(
        self,
        source: Integer[Array, "*batch S"],
        target: Integer[Array, "*batch T"],
        source_lengths: Integer[Array, "..."] | None = None,
        target_lengths: Integer[Array, "..."] | None = None,
    ) -> Float[Array, "*batch T V"]:
        """Computes logits of the next target token at each position.

        Args:
            source: Integers ``[*batch, S]``.
            target: Integers ``[*batch, T]``, with a start token first.
            source_lengths, target_lengths: Integers ``[*batch]``, number of valid tokens; None: all tokens are valid.

        Returns:
            ``[*batch, T, V]``, float32.

        Raises:
            ValueError: A sequence is longer than ``max_seq_len``, or an attribute is out of range.
        """
        return self.decode(self.encode(source, source_lengths), target, target_lengths)[1]

    def encode(self, source: Integer[Array, "*batch S"], lengths: Integer[Array, "..."] | None = None) -> Memory:
        """Encodes ``source [*batch, S]`` with ``lengths [*batch]`` for the decoder."""
        xs, _ = self.encoder(self._embed_tokens(source, "source", lengths), None, None, lengths, None)
        if self.norm_first:
            xs = self.encoder_norm(xs)
        return Memory(self.decoder.memory(xs)[1], lengths, None)

    def start(self, memory: Memory) -> Memory:
        """Returns the memory with empty caches, for decoding step by step."""
        batch = jax.tree.leaves(memory.memory)[0].shape[int(self.scan_layers) : -3]
        sizes = batch, self.max_seq_len, self.num_heads, self.embed_dim // self.num_heads, self.dtype
        return memory._replace(cache=init_caches(self.num_layers, self.scan_layers, *sizes))

    @nn.nowrap
    def stepwise(self) -> Stepwise:
        """Returns functions that generate token by token, with separate layers."""
        prepare = lambda variables: unstack(self, variables)[1]
        return of_encoder_decoder(self.clone(scan_layers=False))._replace(prepare=prepare, carry_axes=cache_axes)

    def decode(
        self, memory: Memory, target: Integer[Array, "*batch T"], lengths: Integer[Array, "..."] | None = None
    ) -> tuple[Memory, Float[Array, "*batch T V"]]:
        """Decodes target tokens.

        Args:
            memory: The encoded source, with or without a cache.
            target: Integers ``[*batch, T]``.
            lengths: Integers ``[*batch]``, number of valid target tokens; must be None with a cache.

        Returns:
            The memory with an extended cache, and logits of the next token at each position, ``[*batch, T, V]``.
        """
        xs = self._embed_tokens(target, "target", lengths, memory.cache)
        xs, cache = self.decoder(xs, memory.cache, memory.memory, lengths, memory.lengths)
        if self.norm_first:
            xs = self.decoder_norm(xs)
        logits = linear(xs, self.embed.embedding.T.astype(self.dtype), preferred_element_type=jnp.float32)
        return memory._replace(cache=cache), logits

    def _embed_tokens(
        self, tokens: jax.Array, name: str, lengths: jax.Array | None, cache: Caches | None = None
    ) -> jax.Array:
        check_tokens(name, tokens)
        length = tokens.shape[-1] + (0 if cache is None else static_length(cache_length(cache)))
        if length > self.max_seq_len:
            raise ValueError(f"`{name}` must have at most `max_seq_len`, {self.max_seq_len}, steps, got {length}")
        start = 0 if cache is None else cache_length(cache)
        positions = start + jnp.arange(tokens.shape[-1], dtype=jnp.int32)
        valid = None
        if lengths is not None:
            *batch, size = tokens.shape
            valid = valid_steps(checked_integers(f"{name}_lengths", lengths, tuple(batch), size), size)
        rows = self.embed(tokens, argument=name, valid=valid)
        encodings = sinusoidal(positions, self.embed_dim).astype(self.dtype)
        encodings = jnp.expand_dims(encodings, tuple(range(rows.ndim - 2)))
        return self.drop(math.sqrt(self.embed_dim) * rows + encodings)
