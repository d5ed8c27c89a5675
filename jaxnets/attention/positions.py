"""How attention learns of order: positions added, turned, or as a bias of distances."""

import math

import jax
import jax.numpy as jnp

from jaxnets.attention.masking import Bias


def sinusoidal(positions: jax.Array, features: int, longest: float = 10_000.0) -> jax.Array:
    r"""Vaswani et al. 2017 (arXiv:1706.03762), to be added to embeddings:

    .. math:: p_{2i} = \sin(t\, L^{-2i/D}), \quad p_{2i+1} = \cos(t\, L^{-2i/D})

    Args:
        positions: t, integers ``[...]``.
        features: D, even.
        longest: L; wavelengths go from 2 pi to 2 pi L.

    Returns:
        ``[..., D]``, float32.

    Raises:
        ValueError: D is odd.
    """
    angles = _angles(positions, features, longest)
    return (
        jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*positions.shape, features).astype(jnp.float32)
    )


def rotary(xs: jax.Array, positions: jax.Array, longest: float = 10_000.0) -> jax.Array:
    r"""Queries or keys turned by their positions (RoFormer, Su et al. 2021, arXiv:2104.09864).

    Pairs of features are turned, feature i with feature i + D / 2, by the angle :math:`t\, L^{-2i/D}`; the product of a
    query and a key then depends on the distance between them only.

    Args:
        xs: ``[*batch, T, N, D]``, D even.
        positions: t, integers ``[T]`` or ``[*batch, T]``.
        longest: L.

    Returns:
        Like ``xs``.

    Raises:
        ValueError: D is odd, or there is not one position for each step.
    """
    steps = xs.shape[:-2]
    if positions.ndim > len(steps) or any(
        given not in (1, size) for given, size in zip(positions.shape[::-1], steps[::-1], strict=False)
    ):
        raise ValueError(f"`positions` must be of a shape that broadcasts to {steps}, got {positions.shape}")
    angles = _angles(positions, xs.shape[-1], longest)[..., None, :]
    angles = jnp.expand_dims(angles, tuple(range(xs.ndim - angles.ndim)))
    sine, cosine = jnp.sin(angles), jnp.cos(angles)
    first, second = jnp.split(xs.astype(sine.dtype), 2, axis=-1)
    turned = jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return turned.astype(xs.dtype)


def _angles(positions: jax.Array, features: int, longest: float) -> jax.Array:
    if features % 2:
        raise ValueError(f"`features` must be an even number, got {features}")
    rates = longest ** (-jnp.arange(0, features, 2) / features)
    return positions.astype(rates.dtype)[..., None] * jnp.expand_dims(rates, tuple(range(positions.ndim)))


def alibi(heads: int) -> Bias:
    r"""Attention with linear biases (Press et al. 2021, arXiv:2108.12409), as the ``bias`` of ``attention``:

    .. math:: b_{nts} = -m_n |t - s|

    Slopes m are :math:`2^{-8n/N}`, n from 1 to N; where N is no power of two, those of the next smaller power and then
    every second one of twice as many heads, as in the paper's code.

    Raises:
        ValueError: There is no head.
    """

    def slopes(count: int) -> list[float]:
        if count & (count - 1) == 0:
            return [2 ** (-8 * (n + 1) / count) for n in range(count)]
        smaller = 2 ** int(math.log2(count))
        return slopes(smaller) + slopes(2 * smaller)[::2][: count - smaller]

    if heads < 1:
        raise ValueError(f"`heads` must be at least 1, got {heads}")
    rates = tuple(slopes(heads))

    def bias(queries: jax.Array, keys: jax.Array) -> jax.Array:
        slopes, distance = jnp.asarray(rates)[:, None, None], jnp.abs(_distance(queries, keys))[..., None, :, :]
        return -jnp.expand_dims(slopes, tuple(range(distance.ndim - 3))) * distance.astype(slopes.dtype)

    return bias


def relative_buckets(
    queries: jax.Array, keys: jax.Array, buckets: int = 32, furthest: int = 128, causal: bool = False
) -> jax.Array:
    """The bucket of each distance from a query to a key (T5, Raffel et al. 2019, arXiv:1910.10683).

    Half of the buckets (of each direction, unless causal) are single distances from 0 on, the others grow
    logarithmically up to ``furthest``; what is further shares the last. Row ``table[bucket]`` of a learned table
    ``[buckets, N]``, moved to ``[N, T, S]``, is a ``bias`` of ``attention``.

    Args:
        queries, keys: Positions, integers ``[..., T]`` and ``[S]``.
        buckets: How many.
        furthest: The distance from which on the last bucket is used.
        causal: Whether keys after a query share bucket 0, as they are not seen.

    Returns:
        int32 ``[..., T, S]``.

    Raises:
        ValueError: There are too few buckets, or ``furthest`` is among the single distances.
    """
    if buckets < (2 if causal else 4):
        raise ValueError(f"`buckets` must be at least {2 if causal else 4} where causal={causal}, got {buckets}")
    if furthest <= (buckets if causal else buckets // 2) // 2:
        single = (buckets if causal else buckets // 2) // 2
        raise ValueError(f"`furthest` must be above {single}, the number of single distances, got {furthest}")
    distance = _distance(queries, keys)
    first = jnp.zeros_like(distance)
    if causal:
        distance = -jnp.minimum(distance, 0)
    else:
        buckets //= 2
        first = jnp.where(distance > 0, buckets, 0)
        distance = jnp.abs(distance)
    exact = buckets // 2
    growth = jnp.log(jnp.maximum(distance, 1) / exact) / math.log(furthest / exact) * (buckets - exact)
    far = jnp.minimum(exact + growth.astype(jnp.int32), buckets - 1)
    return (first + jnp.where(distance < exact, distance, far)).astype(jnp.int32)


def _distance(queries: jax.Array, keys: jax.Array) -> jax.Array:
    """From each query's position ``[..., T]`` to each key's ``[S]``: ``[..., T, S]``."""
    return jnp.expand_dims(keys, tuple(range(queries.ndim))) - queries[..., None]
