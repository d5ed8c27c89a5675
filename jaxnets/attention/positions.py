"""Position encodings: sinusoidal, rotary, linear biases and relative buckets."""

import math

import jax
import jax.numpy as jnp

from jaxnets.attention.masking import Bias
from jaxnets.ops.array_types import Array, Float, Int, Integer
from jaxnets.ops.checks import check_integer


def sinusoidal(
    positions: Integer[Array, "*shape"], features: int, max_wavelength: float = 10_000.0
) -> Float[Array, "*shape D"]:
    r"""Computes sinusoidal position encodings, which are added to embeddings (Vaswani et al. 2017, arXiv:1706.03762):

    .. math:: p_{2i} = \sin(t\, L^{-2i/D}), \quad p_{2i+1} = \cos(t\, L^{-2i/D})

    Args:
        positions: t, integers ``[...]``.
        features: D, even.
        max_wavelength: L; wavelengths range from 2 pi to 2 pi L.

    Returns:
        ``[..., D]``, float32.

    Raises:
        ValueError: D is odd.
    """
    angles = _angles(positions, features, max_wavelength)
    encodings = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return encodings.reshape(*positions.shape, features).astype(jnp.float32)


def rotary(
    xs: Float[Array, "*batch T heads D"], positions: Integer[Array, "..."], max_wavelength: float = 10_000.0
) -> Float[Array, "*batch T heads D"]:
    r"""Applies rotary position embeddings to queries or keys (RoFormer, Su et al. 2021, arXiv:2104.09864).

    Features i and i + D / 2 are rotated as a pair by the angle :math:`t\, L^{-2i/D}`. The product of a query and a key
    then depends on their relative position only.

    Args:
        xs: ``[*batch, T, N, D]``, D even.
        positions: t, integers ``[T]`` or ``[*batch, T]``.
        max_wavelength: L.

    Returns:
        Rotated ``xs``.

    Raises:
        ValueError: D is odd, or the shape of ``positions`` is wrong.
    """
    steps = xs.shape[:-2]
    if positions.ndim > len(steps) or any(
        given not in (1, size) for given, size in zip(positions.shape[::-1], steps[::-1], strict=False)
    ):
        raise ValueError(f"`positions` must have a shape that broadcasts to {steps}, got {positions.shape}")
    angles = _angles(positions, xs.shape[-1], max_wavelength)[..., None, :]
    angles = jnp.expand_dims(angles, tuple(range(xs.ndim - angles.ndim)))
    sine, cosine = jnp.sin(angles), jnp.cos(angles)
    first, second = jnp.split(xs.astype(sine.dtype), 2, axis=-1)
    rotated = jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return rotated.astype(xs.dtype)


def _angles(positions: jax.Array, features: int, max_wavelength: float) -> jax.Array:
    if features % 2:
        raise ValueError(f"`features` must be an even number, got {features}")
    frequencies = max_wavelength ** (-jnp.arange(0, features, 2) / features)
    return positions.astype(frequencies.dtype)[..., None] * jnp.expand_dims(frequencies, tuple(range(positions.ndim)))


def alibi(num_heads: int) -> Bias:
    r"""Returns attention with linear biases (Press et al. 2021, arXiv:2108.12409), a ``bias`` for ``attention``:

    .. math:: b_{nts} = -m_n |t - s|

    The slopes m are :math:`2^{-8n/N}` for n = 1 ... N. If N is not a power of two, they are the slopes for the next
    smaller power of two, followed by every second slope for twice as many heads, as in the code of the paper.

    Args:
        num_heads: N.

    Returns:
        A function from the positions of queries ``[*batch, T]`` and keys ``[S]`` to the bias ``[*batch, N, T, S]``.

    Raises:
        ValueError: ``num_heads`` is below 1.
    """

    def slopes_of(count: int) -> list[float]:
        if count & (count - 1) == 0:
            return [2 ** (-8 * (n + 1) / count) for n in range(count)]
        smaller = 2 ** int(math.log2(count))
        return slopes_of(smaller) + slopes_of(2 * smaller)[::2][: count - smaller]

    check_integer("num_heads", num_heads)
    values = tuple(slopes_of(num_heads))

    def bias(queries: jax.Array, keys: jax.Array) -> jax.Array:
        slopes = jnp.asarray(values)[:, None, None]
        distance = jnp.abs(_relative_positions(queries, keys))[..., None, :, :]
        return -jnp.expand_dims(slopes, tuple(range(distance.ndim - 3))) * distance.astype(slopes.dtype)

    return bias


def relative_buckets(
    queries: Integer[Array, "*batch T"],
    keys: Integer[Array, " S"],
    num_buckets: int = 32,
    max_distance: int = 128,
    causal: bool = False,
) -> Int[Array, "*batch T S"]:
    """Computes the bucket of each relative position (T5, Raffel et al. 2019, arXiv:1910.10683).

    Half of the buckets of each direction (of the only direction, if causal) hold one distance each, starting at 0. The
    others grow logarithmically up to ``max_distance``, and the last one also holds all larger distances. With a learned
    table ``[num_buckets, N]``, ``table[buckets]`` moved to ``[N, T, S]`` is a ``bias`` for ``attention``.

    Args:
        queries: Positions of queries, integers ``[..., T]``.
        keys: Positions of keys, integers ``[S]``.
        num_buckets: Number of buckets.
        max_distance: Distance at which the last bucket starts.
        causal: Whether to map all keys after a query, which causal attention masks, to bucket 0.

    Returns:
        int32 ``[..., T, S]``.

    Raises:
        ValueError: ``num_buckets`` or ``max_distance`` is too small.
    """
    if num_buckets < (2 if causal else 4):
        raise ValueError(f"`num_buckets` must be at least {2 if causal else 4} for causal={causal}, got {num_buckets}")
    num_exact = (num_buckets if causal else num_buckets // 2) // 2
    if max_distance <= num_exact:
        raise ValueError(
            f"`max_distance` must be above {num_exact}, the number of buckets with one distance, got {max_distance}"
        )
    distance = _relative_positions(queries, keys)
    first = jnp.zeros_like(distance)
    if causal:
        distance = -jnp.minimum(distance, 0)
    else:
        num_buckets //= 2
        first = jnp.where(distance > 0, num_buckets, 0)
        distance = jnp.abs(distance)
    growth = jnp.log(jnp.maximum(distance, 1) / num_exact) / math.log(max_distance / num_exact)
    large = jnp.minimum(num_exact + (growth * (num_buckets - num_exact)).astype(jnp.int32), num_buckets - 1)
    return (first + jnp.where(distance < num_exact, distance, large)).astype(jnp.int32)


def _relative_positions(queries: jax.Array, keys: jax.Array) -> jax.Array:
    """Key position minus query position, ``[..., T, S]``."""
    return jnp.expand_dims(keys, tuple(range(queries.ndim))) - queries[..., None]
