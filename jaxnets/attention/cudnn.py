"""Attention with cuDNN kernels through ``jax.nn.dot_product_attention``."""

import chex
import jax
import jax.numpy as jnp

from jaxnets.attention.masking import AttentionConfig, MaskArrays


def cudnn(
    config: AttentionConfig,
    masks: MaskArrays,
    bias: jax.Array | None,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
) -> jax.Array:
    """Computes attention with cuDNN. The first query has the position of the first key.

    Args:
        config: Static options.
        masks: Mask, lengths and dropout key.
        bias: Like ``masks.mask``, floating point, or None.
        query: ``[B, T, N, D]``.
        key: ``[B, S, K, D]``.
        value: ``[B, S, K, E]``.

    Returns:
        ``[B, T, N, E]``.
    """
    chex.assert_rank([query, key, value], 4)
    chex.assert_equal_shape_prefix([key, value], 3)
    b, t, heads, _ = query.shape
    s, groups = key.shape[1:3]

    def expand(array):
        if array is None:
            return None
        return jnp.broadcast_to(array, (b, groups, heads // groups, t, s)).reshape(b, heads, t, s)

    window = config.window
    if config.causal and window is not None:
        window = (window[0], 0)
    ys = jax.nn.dot_product_attention(
        query,
        key,
        value,
        bias=expand(bias),
        mask=expand(masks.mask),
        scale=config.scale,
        is_causal=config.causal,
        key_value_seq_lengths=masks.lengths,
        local_window_size=window,
        implementation="cudnn",
    )
    return jnp.where(_has_valid_key(config, masks, heads, t, s)[..., None], ys, 0)


def _has_valid_key(config: AttentionConfig, masks: MaskArrays, heads: int, t: int, s: int) -> jax.Array:
    """Returns a mask of queries that attend to at least one key, broadcastable to ``[B, T, N]``."""
    position = jnp.arange(t, dtype=jnp.int32)
    before, after = config.window or (t, s)  # unlimited
    first = jnp.maximum(position - before, 0)
    last = jnp.minimum(position[None] + (0 if config.causal else after), masks.lengths[:, None] - 1)  # [B, T]
    if masks.mask is None:
        return (first[None] <= last)[..., None]
    keys = jnp.arange(s, dtype=jnp.int32)[None]
    in_range = (keys >= first[:, None])[None] & (keys[None] <= last[..., None])  # [B, T, S]
    has_key = jnp.any(masks.mask & in_range[:, None, None], axis=-1)  # [B, K or 1, G or 1, T]
    return jnp.broadcast_to(has_key, (*has_key.shape[:3], t)).reshape(has_key.shape[0], -1, t).swapaxes(1, 2)
