r"""Differentiable histograms of the features of sets.

.. math:: h_{db} = \frac{1}{n} \sum_i v_b(x_{id}), \quad x \text{ clipped to } [0, 1]

A value votes for each bin depending on its distance u = |x - c| from the center c of the bin, and on the half-width w
of the bin, initially 1 / (2 B). The first four kinds are from Perez-Mon et al. (2024, arXiv:2403.15123):

============ =========================================================== ===========================================
kind         vote                                                        properties
============ =========================================================== ===========================================
``hard``     :math:`1.01^{w - u}` if above 1, else 0                     nearly 1 in the bin, with a small gradient
``soft``     :math:`\max(1 - u / w, 0)`                                  triangles without overlap; mean sum 0.5
``gaussian`` :math:`\exp(-(u / w)^2)`                                    mean sum 0.88
``sigmoid``  :math:`\sigma(1000 (x - c + w)) - \sigma(1000 (x - c - w))` nearly 1 in the bin, gradient at its edges
``linear``   interpolation between the two nearest centers               sum 1, with a gradient everywhere
============ =========================================================== ===========================================

The initial centers of ``linear`` range from 0 to 1 inclusive. Its votes are a partition of unity for any centers:
v_b = r_{b-1} - r_b, where r_b increases linearly from 0 at center b to 1 at the next center.
"""

import functools
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_choice, check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import auto_sharded, per_feature
from jaxnets.ops.set_reductions import Segments, Validity, check_valid, set_sizes, set_sum, valid_mask, where_valid

KINDS = ("hard", "soft", "gaussian", "sigmoid", "linear")
# Number of votes computed at once, such that they fit into a processor's cache.
VOTES_PER_CHUNK = 2**18

Bins = dict[str, jax.Array]


def bins_init(kind: str, features: int, num_bins: int) -> Bins:
    """Initializes equidistant bins.

    Args:
        kind: Kind of votes, see the table above.
        features: D, the number of features.
        num_bins: B, the number of bins.

    Returns:
        ``{"centers": [D, B], "widths": [D, B]}``; ``linear`` has no widths.

    Raises:
        ValueError: The kind is unknown, or there is less than 1 bin (2 bins for ``linear``).
    """
    check_choice("kind", kind, KINDS)
    check_integer("num_bins", num_bins, minimum=2 if kind == "linear" else 1)
    check_integer("features", features)
    repeat = lambda row: jnp.tile(row, (features, 1))
    if kind == "linear":
        return {"centers": repeat(jnp.linspace(0.0, 1.0, num_bins, dtype=jnp.float32))}
    half = 0.5 / num_bins
    widths = jnp.full(num_bins, half + (0.001 if kind == "hard" else 0.0), jnp.float32)
    return {"centers": repeat((jnp.arange(num_bins, dtype=jnp.float32) + 0.5) / num_bins), "widths": repeat(widths)}


def votes(kind: str, bins: Bins, xs: Float[Array, "*batch D"]) -> Float[Array, "*batch D K"]:
    """Computes the votes ``[..., D, B]`` of values ``[..., D]`` for each bin; NaN yields NaN, also in gradients."""
    dtype = functools.reduce(np.promote_types, [array.dtype for array in bins.values()], xs.dtype)
    xs = xs.astype(dtype)
    is_nan = jnp.isnan(xs)[..., None]
    return jnp.where(is_nan, _nan_votes(xs, bins), _votes(kind, bins, jnp.where(jnp.isnan(xs), 0, xs)))


def _nan_votes(xs, bins):
    """Returns NaN in each bin for NaN, with gradients of NaN, and 0 for other values.

    The kinds of votes treat NaN differently: comparisons with NaN are false, and maxima have no gradient.
    """
    nan = jnp.where(jnp.isnan(xs), xs, 0)[..., None]
    return nan * nan * sum(_expand_bins(bins, nan).values())


def _expand_bins(bins, like):
    """Returns bins ``[D, B]`` with the dtype and the number of axes of an array ``[..., D, 1]``."""
    return {name: a.astype(like.dtype).reshape((1,) * (like.ndim - 2) + a.shape) for name, a in bins.items()}


def _votes(kind, bins, xs):
    xs = jnp.clip(xs, 0.0, 1.0)[..., None]
    bins = _expand_bins(bins, xs)
    chex.assert_equal_rank([xs, *bins.values()])
    if kind == "linear":
        centers = jnp.sort(bins["centers"], axis=-1)
        gaps = jnp.maximum(jnp.diff(centers, axis=-1), 1e-6)
        # 0 before a center and 1 after the next one, linear in between.
        ramps = jnp.clip((xs - centers[..., :-1]) / gaps, 0.0, 1.0)
        edge = [(0, 0)] * (ramps.ndim - 1)
        return jnp.pad(ramps, [*edge, (1, 0)], constant_values=1.0) - jnp.pad(ramps, [*edge, (0, 1)])
    centers, widths = bins["centers"], bins["widths"]
    distance = jnp.abs(xs - centers)
    if kind == "hard":
        return jnp.where(distance < widths, jnp.exp(math.log(1.01) * (widths - distance)), 0)
    if kind == "soft":
        return jnp.maximum(1 - distance / widths, 0)
    if kind == "gaussian":
        return jnp.exp(-((distance / widths) ** 2))
    return jax.nn.sigmoid(1000 * (xs - centers + widths)) - jax.nn.sigmoid(1000 * (xs - centers - widths))


@auto_sharded(per_feature)
def histogram(
    xs: Float[Array, "*batch N D"],
    bins: Bins,
    valid: Validity = None,
    *,
    kind: str = "linear",
    cumulative: bool = False,
    chunk: int | None = None,
) -> Float[Array, "*sets D K"]:
    """Computes a histogram of each feature of a set, in memory that does not grow with N times B.

    Args:
        xs: ``[*batch, N, D]``, values in [0, 1]; ``[M, D]`` with ``Segments``.
        bins: Bins as from ``bins_init``, of the same kind.
        valid: As in ``pooling``.
        kind: Kind of votes, see the table above.
        cumulative: Whether to return cumulative sums over bins, the empirical distribution function.
        chunk: Number of elements of each set whose votes are computed at once; None: chosen by size.

    Returns:
        ``[*batch, D, B]`` or ``[S, D, B]``, float32; zeros for an empty set.

    Raises:
        ValueError: An argument has a wrong shape or value.
    """
    valid = check_valid(xs, valid)
    features = xs.shape[-1]
    expected = {"centers"} if kind == "linear" else {"centers", "widths"}
    if not isinstance(bins, dict):
        raise ValueError(
            f"`bins` must be a dict as from bins_init({kind!r}, features, num_bins), got {type(bins).__name__}"
        )
    check_choice("kind", kind, KINDS)
    if set(bins) != expected:
        raise ValueError(f"`bins` must have the keys {sorted(expected)} for {kind!r}, got {sorted(bins)}")
    for name, array in bins.items():
        if array.ndim != 2 or array.shape[0] != features:
            raise ValueError(f"`{name}` must be [{features}, B], one row per feature, got shape {array.shape}")
    count = bins["centers"].shape[-1]
    if any(array.shape[-1] != count for array in bins.values()) or count < 1:
        raise ValueError(f"`bins` must have as many centers as widths, at least 1, got {jax.tree.map(jnp.shape, bins)}")
    if chunk is not None:
        check_integer("chunk", chunk)
    length = xs.shape[-2]
    if isinstance(length, int):
        chunk = min(
            chunk or max(VOTES_PER_CHUNK // max(math.prod(xs.shape[:-2]) * features * count, 1), 1), max(length, 1)
        )
    else:  # a symbolic dimension of jax.export
        chunk = length
    num_padding = -length % chunk if length else chunk
    xs = where_valid(xs, valid).astype(at_least_float32(xs.dtype, bins["centers"].dtype))
    # NaN is removed and added once per set. A test for NaN at each vote would double the time.
    nan = jnp.where(jnp.isnan(xs), xs, 0)
    xs = jnp.where(jnp.isnan(xs), 0, xs)
    xs = jnp.pad(xs, [(0, 0)] * (xs.ndim - 2) + [(0, num_padding), (0, 0)])
    if isinstance(valid, Segments):
        padded: Any = Segments(
            jnp.pad(valid.ids, (0, num_padding), constant_values=valid.num_segments), valid.num_segments
        )
    else:
        padded = jnp.pad(valid, [(0, 0)] * (valid.ndim - 1) + [(0, num_padding)])
    sums = _sum_votes(
        kind, chunk, padded.num_segments if isinstance(padded, Segments) else None, xs, bins, _array(padded)
    )
    sums += _nan_votes(set_sum(nan, valid), bins)
    means = sums / jnp.maximum(set_sizes(valid).astype(sums.dtype), 1)[..., None]
    return jnp.cumsum(means, axis=-1) if cumulative else means


def _array(valid: Segments | jax.Array) -> jax.Array:
    return valid.ids if isinstance(valid, Segments) else valid


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _sum_votes(
    kind: str, chunk: int, num_segments: int | None, xs: jax.Array, bins: Bins, valid: jax.Array
) -> jax.Array:
    """Computes the sums of votes ``[*batch, D, B]``; N is a multiple of the chunk size."""
    chex.assert_rank(valid, xs.ndim - 1)
    count = bins["centers"].shape[-1]
    batch = xs.shape[:-2] if num_segments is None else (num_segments,)

    def add(sums, k):
        xs_chunk, valid_chunk = _slice_chunk(xs, valid, k, chunk)
        return sums + _chunk_sums(kind, num_segments, xs_chunk, valid_chunk, bins), None

    sums = jnp.zeros((*batch, xs.shape[-1], count), xs.dtype)
    return lax.scan(add, sums, jnp.arange(xs.shape[-2] // chunk))[0]


def _sum_votes_fwd(kind, chunk, num_segments, xs, bins, valid):
    return _sum_votes(kind, chunk, num_segments, xs, bins, valid), (xs, bins, valid)


def _sum_votes_bwd(kind, chunk, num_segments, residuals, gradient):
    xs, bins, valid = residuals

    def add_gradient(state, k):
        dxs, dbins = state
        xs_chunk, valid_chunk = _slice_chunk(xs, valid, k, chunk)
        _, pullback = jax.vjp(
            lambda xs_chunk, bins: _chunk_sums(kind, num_segments, xs_chunk, valid_chunk, bins), xs_chunk, bins
        )
        dx, dbins_chunk = pullback(gradient)
        return (
            lax.dynamic_update_slice_in_dim(dxs, dx, k * chunk, -2),
            jax.tree.map(jnp.add, dbins, dbins_chunk),
        ), None

    state = (jnp.zeros_like(xs), jax.tree.map(jnp.zeros_like, bins))
    return *lax.scan(add_gradient, state, jnp.arange(xs.shape[-2] // chunk))[0], None


_sum_votes.defvjp(_sum_votes_fwd, _sum_votes_bwd)


def _slice_chunk(xs, valid, k, chunk):
    axis = valid.ndim - 1
    return (
        lax.dynamic_slice_in_dim(xs, k * chunk, chunk, -2),
        lax.dynamic_slice_in_dim(valid, k * chunk, chunk, axis),
    )


def _chunk_sums(kind, num_segments, xs, valid, bins):
    chunk_votes = _votes(kind, bins, xs)
    flat = chunk_votes.reshape(*chunk_votes.shape[:-2], math.prod(chunk_votes.shape[-2:]))
    if num_segments is not None:
        sums = set_sum(flat, Segments(valid, num_segments))
    else:  # as a product, because XLA's sums over an axis other than the last are slow on a CPU
        sums = jnp.matmul(valid_mask(valid)[..., None, :].astype(flat.dtype), flat)[..., 0, :]
    return sums.reshape(*sums.shape[:-1], *chunk_votes.shape[-2:])
