"""What transformers are built of: attention with its projections, the two-layer network, and both with norms around."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.attention.cache import Cache, contents, extend
from jaxnets.attention.dot_product import attention
from jaxnets.attention.masking import Bias
from jaxnets.attention.positions import rotary
from jaxnets.attention.ring import Ring
from jaxnets.modules.dense import Dense, DenseGeneral
from jaxnets.modules.norms import LayerNorm, RMSNorm
from jaxnets.ops.activations import activation
from jaxnets.ops.checks import check_choice, check_divisor


class MultiHeadAttention(nn.Module):
    r"""Attention of N heads, each with its own projections (Vaswani et al. 2017, arXiv:1706.03762):

    .. math::
        y = \sum_n \mathrm{attention}(x W^Q_n, m W^K_n, m W^V_n)\, W^O_n, \quad m = x \text{ or a memory}

    Parameters: ``query``, ``key``, ``value`` with ``kernel [D, N, D / N]`` (K heads for key and value), ``out`` with
    ``kernel [N, D / N, D]``, and a ``use_bias`` each.

    Attributes:
        embed_dim: D.
        num_heads: N, a divisor of D.
        num_kv_heads: K, a divisor of N: how many heads keys and values have; 0: N.
        use_bias: Whether the projections have biases.
        rotary: Whether queries and keys are turned by their positions.
        dropout: Probability of dropping a weight.
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
        key_heads = self.num_kv_heads or self.num_heads
        check_divisor("num_heads", self.num_heads, "embed_dim", self.embed_dim)
        check_divisor("num_kv_heads", key_heads, "num_heads", self.num_heads)
        depth = self.embed_dim // self.num_heads
        dense = functools.partial(DenseGeneral, use_bias=self.use_bias, dtype=self.dtype)
        self.query = dense((self.num_heads, depth))
        self.key = dense((key_heads, depth))
        self.value = dense((key_heads, depth))
        self.out = dense(self.embed_dim, axis=(-2, -1))

    def memory(self, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Keys and values ``[*batch, S, K, D / N]`` of ``memory [*batch, S, M]``."""
        return self.key(memory), self.value(memory)

    def __call__(
        self,
        xs: jax.Array,
        memory: tuple[jax.Array, jax.Array] | None = None,
        *,
        cache: Cache | None = None,
        causal: bool = False,
        lengths: jax.Array | None = None,
        bias: Bias | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, Cache | None]:
        """Attention of ``xs [*batch, T, D]`` to itself, or to a memory.

        Args:
            xs: Where the queries come from.
            memory: Keys and values, as the method ``memory`` makes them; None: those of ``xs``.
            cache: Keys and values of what came before ``xs``, or None.
            causal, lengths, use_bias: As in ``attention``; no lengths together with a cache.
            train: Whether dropout is on; it needs ``rngs={"dropout": key}`` then.

        Returns:
            ``[*batch, T, D]``, and the cache with the keys and values of ``xs``.
        """
        if cache is not None and lengths is not None:
            raise ValueError("`lengths` must be None with a cache, whose rows are all of one length")
        query, start = self.query(xs), jnp.zeros((), jnp.int32) if cache is None else cache.length
        if memory is None:
            key, value = self.memory(xs)
            if self.rotary:
                positions = start + jnp.arange(xs.shape[-2], dtype=jnp.int32)
                query, key = rotary(query, positions), rotary(key, positions)
            if cache is not None:
                cache = extend(cache, key, value)
                # In the cache's type: so that a step gives what the whole sequence gives.
                (all_keys, all_values), causal = contents(cache), True
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
    r"""One layer of a transformer: attention to itself, to a memory where there is one, and a two-layer network.

    Each of these, f, is put into the stream either before the norm, :math:`\mathrm{norm}(x + f(x))`, as in the first
    transformer, or after it, :math:`x + f(\mathrm{norm}(x))`. The network is :math:`\phi(x W_1 + b_1) W_2 + b_2`, for
    ``"swiglu"`` :math:`(\mathrm{silu}(x W_1) \odot x W_3) W_2` (Shazeer 2020, arXiv:2002.05202).

    Attributes:
        embed_dim, num_heads, num_kv_heads, use_bias, rotary, dtype, implementation: As in ``MultiHeadAttention``.
        mlp_dim: Width of the network's first layer.
        activation: ``"relu"``, ``"gelu"`` (its tanh form) or ``"swiglu"``.
        norm: ``"layer"`` or ``"rms"`` (Zhang and Sennrich 2019, arXiv:1910.07467).
        norm_first: Whether norms come before.
        cross_attention: Whether there is attention to a memory.
        causal: Whether no position sees a later one.
        dropout: Probability of dropping an element of what each part adds, and a weight of attention.
        positions: A bias as a function of positions, or None.
        train: Whether dropout is on.
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
        heads = MultiHeadAttention(
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
        self.attention, self.attention_norm = heads, norm(self.norm, self.dtype)
        if self.cross_attention:
            self.cross, self.cross_norm = heads.clone(rotary=False), norm(self.norm, self.dtype)
        self.inner, self.outer, self.network_norm = (
            dense(self.mlp_dim),
            dense(self.embed_dim),
            norm(self.norm, self.dtype),
        )
        if gated:
            self.gate = dense(self.mlp_dim)
        self.drop = nn.Dropout(self.dropout, deterministic=not self.train)

    def memory(self, memory: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """The memory as it is, for the next layer, and its keys and values for this one."""
        return memory, self.cross.memory(memory)

    def __call__(
        self,
        xs: jax.Array,
        cache: Cache | None = None,
        memory: tuple[jax.Array, jax.Array] | None = None,
        lengths: jax.Array | None = None,
        memory_lengths: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache | None]:
        """From ``xs [*batch, T, D]`` to the like, and the cache with what is new."""

        def attend(xs):
            nonlocal cache
            ys, cache = self.attention(
                xs, cache=cache, causal=self.causal, lengths=lengths, bias=self.positions, train=self.train
            )
            return ys

        def network(xs):
            units = self.activate(self.inner(xs))
            return self.outer(units * self.gate(xs) if self.activation == "swiglu" else units)

        xs = self._added(xs, self.attention_norm, attend)
        if self.cross_attention:
            cross = lambda xs: self.cross(xs, memory, lengths=memory_lengths, train=self.train)[0]
            xs = self._added(xs, self.cross_norm, cross)
        return self._added(xs, self.network_norm, network), cache

    def _added(self, xs: jax.Array, norm: nn.Module, f: Callable[[jax.Array], jax.Array]) -> jax.Array:
        if self.norm_first:
            return xs + self.drop(f(norm(xs)))
        return norm(xs + self.drop(f(xs)))


def norm(kind: str, dtype: Dtype, name: str | None = None) -> nn.Module:
    """A norm over features, in float32 inside: ``"layer"`` or ``"rms"``."""
    check_choice("norm", kind, ("layer", "rms"))
    return (LayerNorm if kind == "layer" else RMSNorm)(epsilon=1e-5, dtype=dtype, name=name)
