"""``Transformer``: encoder and decoder (Vaswani et al. 2017, arXiv:1706.03762)."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.attention.blocks import norm
from jaxnets.attention.cache import Caches, cache_axes, empty_caches, known_length, length_of
from jaxnets.attention.checks import check_sizes, check_tokens
from jaxnets.attention.depth import stack
from jaxnets.attention.partition_rules import PARTITION_RULES
from jaxnets.attention.positions import sinusoidal
from jaxnets.attention.ring import Ring
from jaxnets.attention.unstacking import unstack
from jaxnets.modules.embed import Embed
from jaxnets.modules.stepwise import Stepwise, of_encoder_decoder
from jaxnets.ops.checks import checked_integers
from jaxnets.ops.masks import valid_steps
from jaxnets.ops.products import linear


class Memory(NamedTuple):
    """What a decoder knows of a source, and of what it has written.

    Attributes:
        memory: Keys and values of the encoded source for every layer, ``[L, *batch, S, N, D / N]`` each; where layers
            are apart, a tuple of pairs ``[*batch, S, N, D / N]``.
        lengths: Integers ``[*batch]``, how many tokens of the source are real; None: all.
        cache: Keys and values of what was written, or None.
    """

    memory: Any
    lengths: jax.Array | None
    cache: Caches | None


class Transformer(nn.Module):
    r"""An encoder reads the source, a causal decoder that attends to it predicts the target's next token.

    Both embed tokens as :math:`\sqrt{D} E_w` plus sinusoidal positions; source, target and output share E. With the
    attributes of the paper, base (the defaults) has 63,082,496 parameters for 37,000 tokens, big (width 1024, heads 16,
    hidden 4096) 214,245,376.

    Attributes:
        vocab_size: Number of tokens, of source and target together.
        embed_dim: D.
        num_layers: Of the encoder, and of the decoder.
        num_heads: N, a divisor of D.
        mlp_dim: Width inside a block's network; 0: 4 D.
        max_seq_len: Most tokens of a source or target.
        norm_first: Whether norms come before attention and network (and once more at the end) instead of after.
        activation, norm, use_bias, implementation: As in ``Block``.
        dropout: As in ``DecoderLM``.
        remat, scan_layers: As in ``stack``.
        dtype: Compute type; parameters and logits are float32.
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
        source: jax.Array,
        target: jax.Array,
        source_lengths: jax.Array | None = None,
        target_lengths: jax.Array | None = None,
    ) -> jax.Array:
        """Logits ``[*batch, T, vocabulary]``, float32, of the token after each of ``target``.

        Args:
            source: Integers ``[*batch, S]``.
            target: Integers ``[*batch, T]``, a start symbol first.
            source_lengths, target_lengths: Integers ``[*batch]``, how many tokens are real; None: all.

        Raises:
            ValueError: There are more tokens than the context has, or an attribute does not fit.
        """
        return self.decode(self.encode(source, source_lengths), target, target_lengths)[1]

    def encode(self, source: jax.Array, lengths: jax.Array | None = None) -> Memory:
        """What the decoder needs to know of ``source [*batch, S]``."""
        xs, _ = self.encoder(self._embedded(source, "source", lengths), None, None, lengths, None)
        if self.norm_first:
            xs = self.encoder_norm(xs)
        return Memory(self.decoder.memory(xs)[1], lengths, None)

    def start(self, memory: Memory) -> Memory:
        """The same with room for what will be written, to decode step by step."""
        batch = jax.tree.leaves(memory.memory)[0].shape[int(self.scan_layers) : -3]
        sizes = batch, self.max_seq_len, self.num_heads, self.embed_dim // self.num_heads, self.dtype
        return memory._replace(cache=empty_caches(self.num_layers, self.scan_layers, *sizes))

    @nn.nowrap
    def stepwise(self) -> Stepwise:
        """Functions that write token by token, with layers apart."""
        prepare = lambda variables: unstack(self, variables)[1]
        return of_encoder_decoder(self.clone(scan_layers=False))._replace(prepare=prepare, carry_axes=cache_axes)

    def decode(self, memory: Memory, target: jax.Array, lengths: jax.Array | None = None) -> tuple[Memory, jax.Array]:
        """The memory with what is new, and logits of the token after each of ``target [*batch, T]``.

        ``lengths`` ``[*batch]`` tells how many of its tokens are real, not together with a cache.
        """
        xs = self._embedded(target, "target", lengths, memory.cache)
        xs, cache = self.decoder(xs, memory.cache, memory.memory, lengths, memory.lengths)
        if self.norm_first:
            xs = self.decoder_norm(xs)
        logits = linear(xs, self.embed.embedding.T.astype(self.dtype), preferred_element_type=jnp.float32)
        return memory._replace(cache=cache), logits

    def _embedded(
        self, tokens: jax.Array, name: str, lengths: jax.Array | None, cache: Caches | None = None
    ) -> jax.Array:
        check_tokens(name, tokens)
        length = tokens.shape[-1] + (0 if cache is None else known_length(length_of(cache)))
        if length > self.max_seq_len:
            raise ValueError(f"`{name}` must be at most {self.max_seq_len} tokens, the context, got {length}")
        at = (0 if cache is None else length_of(cache)) + jnp.arange(tokens.shape[-1], dtype=jnp.int32)
        valid = None
        if lengths is not None:
            *batch, size = tokens.shape
            valid = valid_steps(checked_integers(f"{name}_lengths", lengths, tuple(batch), size), size)
        rows = self.embed(tokens, argument=name, valid=valid)
        positions = jnp.expand_dims(sinusoidal(at, self.embed_dim).astype(self.dtype), tuple(range(rows.ndim - 2)))
        return self.drop(math.sqrt(self.embed_dim) * rows + positions)
