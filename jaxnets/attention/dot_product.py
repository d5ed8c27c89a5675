"""Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762) with masks, biases, windows and lengths."""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from jaxnets.attention.chunked import chunked, in_blocks
from jaxnets.attention.cudnn import cudnn
from jaxnets.attention.masking import (
    AttentionConfig,
    Bias,
    MaskArrays,
    apply_dropout,
    grouped,
    product,
    scores,
    softmax,
)
from jaxnets.attention.ring import Ring, in_ring
from jaxnets.ops.array_types import Array, ArrayLike, Bool, Float, Integer, Key
from jaxnets.ops.checks import check_choice, check_floating, check_probability, checked_integers, describe_value
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import valid_steps
from jaxnets.ops.meshes import call_auto_sharded, spec_of

IMPLEMENTATIONS = ("auto", "xla", "chunked", "cudnn")
# Size of a head's weight matrix from which on computing it in blocks is faster.
MIN_CHUNKED_SIZE = 512**2


@jax.named_scope("dot_product")
def attention(
    query: Float[Array, "*batch T heads D"],
    key: Float[Array, "*batch S kv_heads D"],
    value: Float[Array, "*batch S kv_heads E"],
    *,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | Bias | None = None,
    causal: bool = False,
    window: int | tuple[int, int] | None = None,
    lengths: Integer[ArrayLike, "..."] | None = None,
    offset: Integer[ArrayLike, "..."] = 0,
    scale: float | None = None,
    dropout: float = 0.0,
    rng: Key[Array, ""] | None = None,
    implementation: str | Ring = "auto",
    blocks: tuple[int, int] | None = None,
) -> Float[Array, "*batch T heads E"]:
    r"""Computes scaled dot-product attention:

    .. math::
        y_t = \sum_s a_{ts} v_s, \quad a_t = \mathrm{softmax}_s(\alpha\, q_t \cdot k_s + b_{ts})

    A query for which all keys are masked yields zeros, with gradients of zero.

    Args:
        query: ``[*batch, T, N, D]``, N heads.
        key: ``[*batch, S, K, D]``. N is a multiple of K: N / K adjacent query heads share a key head (grouped-query
            attention, Ainslie et al. 2023, arXiv:2305.13245; K = 1: multi-query, Shazeer 2019, arXiv:1911.02150).
        value: ``[*batch, S, K, E]``.
        mask: bool, broadcastable to ``[*batch, N, T, S]``, True where a query attends to a key.
        bias: b, floating point, broadcastable to the same shape, with a gradient; or a function without parameters,
            such as ``alibi(N)``, from positions of queries ``[*batch, T]`` and keys ``[S]`` to such an array.
        causal: Whether a query attends only to keys up to its own position.
        window: Number of keys before and after its own position to which a query attends, or a pair (before, after).
        lengths: Integers ``[*batch]`` from 0 to S, the number of valid keys. Further keys have no effect, even if they
            are NaN.
        offset: Position of the first query; the first key has position 0. An integer or integers ``[*batch]``.
        scale: :math:`\alpha`; None: :math:`D^{-1/2}`.
        dropout: Dropout probability of weights.
        rng: Random key for dropout.
        implementation: ``"xla"`` computes all weights at once. ``"chunked"`` computes them in blocks, in memory linear
            in T and S, with a custom gradient. ``"cudnn"`` uses ``jax.nn.dot_product_attention``, in half precision,
            without dropout or functions of positions. ``"auto"`` selects by ``choose_implementation``. A ``Ring(...)``
            shards T and S over devices.
        blocks: Numbers of queries and keys in a block of ``"chunked"`` or of a ``Ring``; None: default sizes.

    Returns:
        ``[*batch, T, N, E]`` in the dtype of ``query``. Products are computed in this dtype and accumulated in float32;
        the softmax is computed in float32.

    Raises:
        ValueError: An argument has a wrong shape, dtype or value.
    """
    _check(query, key, value)
    batch = query.shape[:-3]
    config, masks, array = _masking(query, key, mask, bias, causal, window, lengths, offset, scale, dropout, rng)
    if implementation == "auto":
        implementation = choose_implementation(query.shape, key.shape)
    if isinstance(implementation, Ring):
        if mask is not None or array is not None:
            raise ValueError("`implementation` must not be a Ring with a mask or with a bias as an array")
    else:
        check_choice("implementation", implementation, IMPLEMENTATIONS)
    (t, heads, head_dim), (s, groups, value_dim) = query.shape[-3:], value.shape[-3:]
    count = math.prod(batch)
    if 0 in (t, s, count, value_dim):
        return jnp.zeros((*batch, t, heads, value_dim), query.dtype)
    key, value = (a.reshape(count, s, groups, a.shape[-1]) for a in (key, value))
    if lengths is not None or mask is not None:  # masked keys may be NaN, which a weight of zero would not remove
        is_used = valid_steps(masks.lengths, s)[..., None, None]
        if masks.mask is not None:
            is_used &= jnp.any(masks.mask, axis=(2, 3)).swapaxes(1, 2)[..., None]
        key, value = (jnp.where(is_used, a, 0) for a in (key, value))
    if implementation == "cudnn":
        if dropout or callable(bias) or not isinstance(offset, int) or offset:
            raise ValueError('`implementation` must not be "cudnn" with dropout, a bias as a function or an offset')
        ys = cudnn(config, masks, array, query.reshape(count, t, heads, head_dim), key, value)
        return ys.reshape(*batch, t, heads, value_dim)
    query = _group_heads(query, groups)
    key, value = (a.transpose(0, 2, 1, 3) for a in (key, value))
    if isinstance(implementation, Ring):
        ys = in_ring(implementation, config, masks, query, key, value, blocks)
    elif implementation == "xla":
        ys = _dense_attention(config, masks, array, query, key, value)
    else:
        run = lambda masks, bias, query, key, value: in_blocks(chunked, config, masks, bias, query, key, value, blocks)
        spec = PartitionSpec(*spec_of(query)[:4], None)
        ys = call_auto_sharded(run, lambda _: spec, masks, array, query, key, value)
    chex.assert_shape(ys, (count, groups, heads // groups, t, value_dim))
    return ys.transpose(0, 3, 1, 2, 4).reshape(*batch, t, heads, value_dim).astype(query.dtype)


def attention_weights(
    query: Float[Array, "*batch T heads D"], key: Float[Array, "*batch S kv_heads D"], **masking: Any
) -> Float[Array, "*batch heads T S"]:
    """Computes the weights of ``attention``, for inspection.

    Args:
        query, key: As in ``attention``.
        **masking: ``mask``, ``bias``, ``causal``, ``window``, ``lengths``, ``offset`` and ``scale`` of ``attention``.

    Returns:
        ``[*batch, N, T, S]``, float32 at least, zeros for a query for which all keys are masked.
    """
    names = ("mask", "bias", "causal", "window", "lengths", "offset", "scale")
    for name in masking:
        if name not in names:
            raise ValueError(f"attention_weights has no argument {name!r}; it has {', '.join(names)}")
    _check(query, key, key)
    options: dict[str, Any] = {**dict.fromkeys(names), "causal": False, "offset": 0, **masking}
    config, masks, array = _masking(query, key, **options, dropout=0.0, rng=None)
    *batch, t, heads, head_dim = query.shape
    s, groups = key.shape[-3:-1]
    key = key.reshape(math.prod(batch), s, groups, head_dim).transpose(0, 2, 1, 3)
    if 0 in (t, s, math.prod(batch)):
        return jnp.zeros((*batch, heads, t, s), at_least_float32(query.dtype))
    logits = scores(config, masks, array, _group_heads(query, groups), key, 0, 0)
    return softmax(logits).reshape(*batch, heads, t, s)


def _group_heads(query: jax.Array, groups: int) -> jax.Array:
    """Reshapes ``[*batch, T, N, D]`` to ``[B, K, G, T, D]``."""
    *batch, t, heads, head_dim = query.shape
    return query.reshape(math.prod(batch), t, groups, heads // groups, head_dim).transpose(0, 2, 3, 1, 4)


def choose_implementation(query: tuple[int, ...], key: tuple[int, ...]) -> str:
    """Selects the implementation for ``"auto"`` from the shapes of query and key.

    Args:
        query: ``[*batch, T, N, D]``.
        key: ``[*batch, S, K, D]``.

    Returns:
        ``"chunked"`` if the weight matrix of a head has at least 512 x 512 entries, else ``"xla"``, also for the
        symbolic dimensions of ``jax.export``. Forward-mode and second derivatives need ``"xla"``.
    """
    size = query[-3] * key[-3]
    return "chunked" if isinstance(size, int) and size >= MIN_CHUNKED_SIZE else "xla"


def _dense_attention(config, masks, bias, query, key, value):
    logits = scores(config, masks, bias, query, key, 0, 0)
    weights = apply_dropout(config, masks, softmax(logits), 0, 0).astype(value.dtype)
    # A masked query yields zeros even if a value is not finite.
    is_masked = jnp.all(jnp.isneginf(logits), axis=-1, keepdims=True)
    return jnp.where(is_masked, 0, product("rs,se->re", weights, value)).reshape(*query.shape[:-1], value.shape[-1])


def _masking(query, key, mask, bias, causal, window, lengths, offset, scale, dropout, rng):
    """Checks the arguments of ``attention`` and returns options, masks and the bias array for its implementations."""
    *batch, t, heads, head_dim = query.shape
    s, groups = key.shape[-3:-1]
    count, full_shape = math.prod(batch), (*batch, heads, t, s)
    for name, array, kind, text in (("mask", mask, jnp.bool_, "bool"), ("bias", bias, jnp.floating, "floating point")):
        if array is None or callable(array):
            continue
        broadcasts = array.ndim <= len(full_shape) and all(
            n in (1, size) for n, size in zip(array.shape[::-1], full_shape[::-1], strict=False)
        )
        if not broadcasts or not jnp.issubdtype(array.dtype, kind):
            raise ValueError(
                f"`{name}` must be {text} and broadcast to [*batch, N, T, S], {full_shape}, got {describe_value(array)}"
            )
    check_probability("dropout", dropout)
    if dropout and rng is None:
        raise ValueError("`rng` must be a jax.random.key with dropout, got None")
    if window is not None:
        if not np.issubdtype(np.asarray(window).dtype, np.integer):
            raise ValueError(f"`window` must be an integer or a pair (before, after), got {window!r}")
        window = (int(window), int(window)) if np.ndim(window) == 0 else tuple(window)
        if len(window) != 2 or min(window) < 0:
            raise ValueError(f"`window` must be counts of keys of at least 0, before and after, got {window}")
    if isinstance(scale, jax.Array):
        raise ValueError("`scale` must be a number, got an array; multiply `query` by it instead")
    config = AttentionConfig(
        causal,
        window,
        bias if callable(bias) else None,
        max(head_dim, 1) ** -0.5 if scale is None else float(scale),
        dropout,
    )
    lengths = jnp.full(batch, s, jnp.int32) if lengths is None else lengths
    masks = MaskArrays(
        None if mask is None else grouped(mask, tuple(batch), groups),
        checked_integers("lengths", lengths, tuple(batch), s).reshape(count),
        checked_integers("offset", offset, tuple(batch), None).reshape(count),
        rng,
    )
    return config, masks, None if bias is None or callable(bias) else grouped(bias, tuple(batch), groups)


def _check(query: jax.Array, key: jax.Array, value: jax.Array) -> None:
    for name, array in (("query", query), ("key", key), ("value", value)):
        check_floating(name, array, "[*batch, length, heads, features]", 3)
    if key.shape[:-1] != value.shape[:-1] or query.shape[:-3] != key.shape[:-3] or query.shape[-1] != key.shape[-1]:
        raise ValueError(
            "`query`, `key` and `value` must be [*batch, T, N, D], [*batch, S, K, D] and [*batch, S, K, E], "
            f"got {query.shape}, {key.shape} and {value.shape}"
        )
    if not key.shape[-2]:
        raise ValueError(f"`key` must have at least one head, got shape {key.shape}")
    if query.shape[-2] % key.shape[-2]:
        raise ValueError(f"`query` must have a multiple of the {key.shape[-2]} heads of `key`, got {query.shape[-2]}")
