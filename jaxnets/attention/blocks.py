"""Layers of a transformer: multi-head attention, and the residual block of attention and MLP."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.attention.cache import Cache, cache_contents, extend_cache
from jaxnets.attention.dot_product import attention
from jaxnets.attention.masking import Bias
from jaxnets.attention.positions import rotary
from jaxnets.attention.ring import Ring
from jaxnets.modules.dense import Dense, DenseGeneral
from jaxnets.modules.norms import LayerNorm, RMSNorm
from jaxnets.ops.activations import activation
from jaxnets.ops.array_types import Array, ArrayLike, Float, Integer
from jaxnets.ops.checks import check_choice, check_divisor


class MultiHeadAttention(nn.Module):
    r"""Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762):

    .. math::
        y = \sum_n \mathrm{attention}(x W^Q_n, m W^K_n, m W^V_n)\, W^O_n, \quad m = x \text{ or another sequence}

    Parameters: ``query``, ``key``, ``value`` with ``kernel [D, N, D / N]`` (K heads for key and value), ``out`` with
    ``kernel [N, D / N, D]``; each also has a ``bias`` if ``use_bias``.

    Attributes:
        embed_dim: D.
        num_heads: N, a divisor of D.
        num_kv_heads: K, the number of heads of keys and values, a divisor of N; 0: N.
        use_bias: Whether the projections have biases.
        rotary: Whether to apply rotary position embeddings to queries and keys.
        dropout: Dropout probability of attention weights.
        dtype: Compute type.
        implementation: As in ``attention``.
    """

    embed_dim: int
    num_heads: int
    num_kv_heads: int = 0
    use_bias: bool = True
    rotary: bool = False
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    implementation: str | Ring = "auto"

    def setup(self):
        num_kv_heads = self.num_kv_heads or self.num_heads
        check_divisor("num_heads", self.num_heads, "embed_dim", self.embed_dim)
        check_divisor("num_kv_heads", num_kv_heads, "num_heads", self.num_heads)
        head_dim = self.embed_dim // self.num_heads
        dense = functools.partial(DenseGeneral, use_bias=self.use_bias, dtype=self.dtype)
        self.query = dense((self.num_heads, head_dim))
        self.key = dense((num_kv_heads, head_dim))
        self.value = dense((num_kv_heads, head_dim))
        self.out = dense(self.embed_dim, axis=(-2, -1))

    def memory(
        self, memory: Float[Array, "*batch S M"]
    ) -> tuple[Float[Array, "*batch S kv_heads E"], Float[Array, "*batch S kv_heads E"]]:
        """Projects ``memory [*batch, S, M]`` to keys and values ``[*batch, S, K, D / N]``."""
        return self.key(memory), self.value(memory)

    def __call__(
        self,
        xs: Float[Array, "*batch T D"],
        memory: tuple[jax.Array, jax.Array] | None = None,
        *,
        cache: Cache | None = None,
        causal: bool = False,
        lengths: Integer[ArrayLike, "..."] | None = None,
        bias: Bias | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "*batch T D"], Cache | None]:
        """Computes self-attention of ``xs``, or cross-attention to a memory.

        Args:
            xs: ``[*batch, T, D]``, projected to the queries.
            memory: Keys and values from the method ``memory``; None: self-attention.
            cache: Keys and values of the steps before ``xs``, or None.
            causal, lengths, bias: As in ``attention``; ``lengths`` must be None with a cache.
            train: Whether to apply dropout, which needs ``rngs={"dropout": key}``.

        Returns:
            ``[*batch, T, D]``, and the cache extended by the keys and values of ``xs``.
        """
        if cache is not None and lengths is not None:
            raise ValueError("`lengths` must be None with a cache, because all its sequences have the same length")
        query, start = self.query(xs), jnp.zeros((), jnp.int32) if cache is None else cache.length
        if memory is None:
            key, value = self.memory(xs)
            if self.rotary:
                positions = start + jnp.arange(xs.shape[-2], dtype=jnp.int32)
                query, key = rotary(query, positions), rotary(key, positions)
            if cache is not None:
                cache = extend_cache(cache, key, value)
                # Cast back, so that decoding step by step gives the outputs of the whole sequence.
                (all_keys, all_values), causal = cache_contents(cache), True
                key, value = all_keys.astype(key.dtype), all_values.astype(value.dtype)
        else:
            key, value = memory
        dropout = self.dropout if train else 0.0
        ys = attention(
            query,
            key,
            value,
            causal=causal,
            lengths=lengths,
            bias=bias,
            offset=start if memory is None else 0,
            dropout=dropout,
            rng=self.make_rng("dropout") if dropout else None,
            implementation=self.implementation,
        )
        return self.out(ys), cache


class Block(nn.Module):
    r"""A transformer block: self-attention, optional cross-attention, and an MLP, each with a residual connection.

    A sublayer f is applied as :math:`x + f(\mathrm{norm}(x))` (pre-norm) or as :math:`\mathrm{norm}(x + f(x))`
    (post-norm, as in the original transformer). The MLP is :math:`\phi(x W_1 + b_1) W_2 + b_2`, or, for ``"swiglu"``,
    :math:`(\mathrm{silu}(x W_1) \odot x W_3) W_2` (Shazeer 2020, arXiv:2002.05202).

    Attributes:
        embed_dim, num_heads, num_kv_heads, use_bias, rotary, dtype, implementation: As in ``MultiHeadAttention``.
        mlp_dim: Number of hidden units of the MLP.
        activation: ``"relu"``, ``"gelu"`` (tanh approximation) or ``"swiglu"``.
        norm: ``"layer"`` or ``"rms"`` (Zhang and Sennrich 2019, arXiv:1910.07467).
        norm_first: Whether to use pre-norm instead of post-norm.
        cross_attention: Whether the block attends to a memory.
        causal: Whether a position attends only to itself and earlier ones.
        dropout: Dropout probability of the outputs of sublayers and of attention weights.
        positions: A bias of attention as a function of positions, or None.
        train: Whether to apply dropout.
    """

    embed_dim: int
    num_heads: int
    mlp_dim: int
    num_kv_heads: int = 0
    use_bias: bool = True
    rotary: bool = False
    activation: str = "gelu"
    norm: str = "layer"
    norm_first: bool = True
    cross_attention: bool = False
    causal: bool = True
    dropout: float = 0.0
    positions: Bias | None = None
    dtype: Dtype = jnp.float32
    implementation: str | Ring = "auto"
    train: bool = False

    def setup(self):
        check_choice("activation", self.activation, ("relu", "gelu", "swiglu"))
        gated = self.activation == "swiglu"
        self.activate = activation("silu" if gated else self.activation)
        attention = MultiHeadAttention(
            self.embed_dim,
            self.num_heads,
            self.num_kv_heads,
            self.use_bias,
            self.rotary,
            self.dropout,
            self.dtype,
            self.implementation,
        )
        dense = functools.partial(Dense, use_bias=self.use_bias, dtype=self.dtype)
        self.attention, self.attention_norm = attention, norm(self.norm, self.dtype)
        if self.cross_attention:
            self.cross, self.cross_norm = attention.clone(rotary=False), norm(self.norm, self.dtype)
        self.inner, self.outer, self.network_norm = (
            dense(self.mlp_dim),
            dense(self.embed_dim),
            norm(self.norm, self.dtype),
        )
        if gated:
            self.gate = dense(self.mlp_dim)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.train)

    def memory(self, memory: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """Returns the memory unchanged, for the scan over blocks, and its keys and values for this block."""
        return memory, self.cross.memory(memory)

    def __call__(
        self,
        xs: Float[Array, "*batch T D"],
        cache: Cache | None = None,
        memory: tuple[jax.Array, jax.Array] | None = None,
        lengths: Integer[ArrayLike, "..."] | None = None,
        memory_lengths: Integer[ArrayLike, "..."] | None = None,
    ) -> tuple[Float[Array, "*batch T D"], Cache | None]:
        """Applies the block.

        Args:
            xs: ``[*batch, T, D]``.
            cache: Keys and values of the steps before ``xs``, or None.
            memory: Keys and values from the method ``memory``, for cross-attention.
            lengths: Integers ``[*batch]``, number of valid steps of ``xs``; None: all steps are valid.
            memory_lengths: The same for the memory.

        Returns:
            ``[*batch, T, D]``, and the extended cache.
        """

        def attend(xs):
            nonlocal cache
            ys, cache = self.attention(
                xs, cache=cache, causal=self.causal, lengths=lengths, bias=self.positions, train=self.train
            )
            return ys

        def mlp(xs):
            units = self.activate(self.inner(xs))
            return self.outer(units * self.gate(xs) if self.activation == "swiglu" else units)

        xs = self._residual(xs, self.attention_norm, attend)
        if self.cross_attention:
            cross = lambda xs: self.cross(xs, memory, lengths=memory_lengths, train=self.train)[0]
            xs = self._residual(xs, self.cross_norm, cross)
        return self._residual(xs, self.network_norm, mlp), cache

    def _residual(self, xs: jax.Array, norm: nn.Module, f: Callable[[jax.Array], jax.Array]) -> jax.Array:
        if self.norm_first:
            return xs + self.drop(f(norm(xs)))
        return norm(xs + self.drop(f(xs)))


def norm(kind: str, dtype: Dtype, name: str | None = None) -> nn.Module:
    """Makes a layer norm (``"layer"``) or an RMS norm (``"rms"``), computed in float32."""
    check_choice("norm", kind, ("layer", "rms"))
    return (LayerNorm if kind == "layer" else RMSNorm)(epsilon=1e-5, dtype=dtype, name=name)
