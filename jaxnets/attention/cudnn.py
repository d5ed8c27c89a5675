"""NVIDIA's attention kernels, through ``jax.nn.dot_product_attention``."""

import chex
import jax
import jax.numpy as jnp

from jaxnets.attention.masking import Limits, Pattern


def cudnn(
    pattern: Pattern, limits: Limits, bias: jax.Array | None, query: jax.Array, key: jax.Array, value: jax.Array
) -> jax.Array:
    """Attention of ``query [B, T, N, D]`` on ``key [B, S, K, D]`` and ``value [B, S, K, E]``: ``[B, T, N, E]``.

    The position of the first query is that of the first key.
    """
    chex.assert_rank([query, key, value], 4)
    chex.assert_equal_shape_prefix([key, value], 3)
    b, t, heads, _ = query.shape
    s, groups = key.shape[1:3]

    def whole(array):
        if array is None:
            return None
        return jnp.broadcast_to(array, (b, groups, heads // groups, t, s)).reshape(b, heads, t, s)

    window = pattern.window
    if pattern.causal and window is not None:
        window = (window[0], 0)
    ys = jax.nn.dot_product_attention(
        query,
        key,
        value,
        bias=whole(bias),
        mask=whole(limits.mask),
        scale=pattern.scale,
        is_causal=pattern.causal,
        key_value_seq_lengths=limits.lengths,
        local_window_size=window,
        implementation="cudnn",
    )
    return jnp.where(_sees(pattern, limits, heads, t, s)[..., None], ys, 0)


def _sees(pattern: Pattern, limits: Limits, heads: int, t: int, s: int) -> jax.Array:
    """Whether a query sees any key, what broadcasts to ``[B, T, N]``."""
    at = jnp.arange(t, dtype=jnp.int32)
    before, after = pattern.window or (t, s)  # all of them
    first = jnp.maximum(at - before, 0)
    last = jnp.minimum(at[None] + (0 if pattern.causal else after), limits.lengths[:, None] - 1)  # [B, T]
    if limits.mask is None:
        return (first[None] <= last)[..., None]
    keys = jnp.arange(s, dtype=jnp.int32)[None]
    within = (keys >= first[:, None])[None] & (keys[None] <= last[..., None])  # [B, T, S]
    seen = jnp.any(limits.mask & within[:, None, None], axis=-1)  # [B, K or 1, G or 1, T]
    return jnp.broadcast_to(seen, (*seen.shape[:3], t)).reshape(seen.shape[0], -1, t).swapaxes(1, 2)
