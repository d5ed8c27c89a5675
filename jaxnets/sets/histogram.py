r"""Differentiable histograms: which part of a set's elements votes for each bin of each feature.

.. math:: h_{db} = \frac{1}{n} \sum_i v_b(x_{id}), \quad x \text{ from 0 to 1, what is outside counts as 0 or 1}

The votes of a number, with u = |x - c| its distance from the center c of a bin, and w the bin's width (half of it, in
fact: 1 / (2 B) at first); the first four as Perez-Mon et al. published them (2024, arXiv:2403.15123):

============ ================================================== ==================================================
``hard``     :math:`1.01^{w - u}` where that is above 1, else 0  nearly 1 in its bin; gradient a hundredth of 1.01's
``soft``     :math:`\max(1 - u / w, 0)`                          triangles that do not overlap: they sum to 0.5
``gaussian`` :math:`\exp(-(u / w)^2)`                            sums to 0.88
``sigmoid``  :math:`\sigma(1000 (x - c + w)) - \sigma(1000 (x - c - w))`  nearly 1 in its bin, gradient at its edges
``linear``   x shared between the two centers beside it          sums to exactly 1, with a gradient everywhere
============ ================================================== ==================================================

The centers of ``linear`` go from 0 to 1, edges included; whatever its centers are, its votes are those of a partition
of unity: v_b = r_{b-1} - r_b with r_b the way that x has gone from center b to the next, from 0 to 1.
"""

import functools
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.ops.checks import check_choice, check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import auto_sharded, per_feature
from jaxnets.ops.set_reductions import Segments, Validity, check_valid, set_sizes, set_sum, valid_mask, where_valid

KINDS = ("hard", "soft", "gaussian", "sigmoid", "linear")
# Votes computed at once: they stay in a processor's cache.
VOTES = 2**18

Bins = dict[str, jax.Array]


def bins_init(kind: str, features: int, num_bins: int) -> Bins:
    """Even bins: ``{"centers": [D, B], "widths": [D, B]}``; ``linear`` has no widths.

    Raises:
        ValueError: There is no such kind, or fewer bins than 1 (2 for ``linear``).
    """
    check_choice("kind", kind, KINDS)
    check_integer("num_bins", num_bins, minimum=2 if kind == "linear" else 1)
    check_integer("features", features)
    every = lambda row: jnp.tile(row, (features, 1))
    if kind == "linear":
        return {"centers": every(jnp.linspace(0.0, 1.0, num_bins, dtype=jnp.float32))}
    half = 0.5 / num_bins
    widths = jnp.full(num_bins, half + (0.001 if kind == "hard" else 0.0), jnp.float32)
    return {"centers": every((jnp.arange(num_bins, dtype=jnp.float32) + 0.5) / num_bins), "widths": every(widths)}


def votes(kind: str, bins: Bins, xs: jax.Array) -> jax.Array:
    """Of numbers ``[..., D]`` for every bin: ``[..., D, B]``; NaN, with gradients of NaN, for NaN."""
    dtype = functools.reduce(np.promote_types, [array.dtype for array in bins.values()], xs.dtype)
    xs = xs.astype(dtype)
    lost = jnp.isnan(xs)[..., None]
    return jnp.where(lost, _of_nan(xs, bins), _votes(kind, bins, jnp.where(jnp.isnan(xs), 0, xs)))


def _of_nan(xs, bins):
    """NaN in every bin for NaN, with gradients of NaN, and 0 for other numbers.

    Each kind of vote would treat NaN in its own way: comparisons with it are false, and maxima have no gradient.
    """
    nan = jnp.where(jnp.isnan(xs), xs, 0)[..., None]
    return nan * nan * sum(_rows(bins, nan).values())


def _rows(bins, like):
    """Bins ``[D, B]`` in the dtype of an array ``[..., D, 1]`` and with as many axes."""
    return {name: a.astype(like.dtype).reshape((1,) * (like.ndim - 2) + a.shape) for name, a in bins.items()}


def _votes(kind, bins, xs):
    xs = jnp.clip(xs, 0.0, 1.0)[..., None]
    bins = _rows(bins, xs)
    chex.assert_equal_rank([xs, *bins.values()])
    if kind == "linear":
        centers = jnp.sort(bins["centers"], axis=-1)
        gaps = jnp.maximum(jnp.diff(centers, axis=-1), 1e-6)
        # The way from each center to the next; before the first one none is gone, after the last all.
        gone = jnp.clip((xs - centers[..., :-1]) / gaps, 0.0, 1.0)
        edge = [(0, 0)] * (gone.ndim - 1)
        return jnp.pad(gone, [*edge, (1, 0)], constant_values=1.0) - jnp.pad(gone, [*edge, (0, 1)])
    centers, widths = bins["centers"], bins["widths"]
    away = jnp.abs(xs - centers)
    if kind == "hard":
        return jnp.where(away < widths, jnp.exp(math.log(1.01) * (widths - away)), 0)
    if kind == "soft":
        return jnp.maximum(1 - away / widths, 0)
    if kind == "gaussian":
        return jnp.exp(-((away / widths) ** 2))
    return jax.nn.sigmoid(1000 * (xs - centers + widths)) - jax.nn.sigmoid(1000 * (xs - centers - widths))


@auto_sharded(per_feature)
def histogram(
    xs: jax.Array,
    bins: Bins,
    valid: Validity = None,
    *,
    kind: str = "linear",
    cumulative: bool = False,
    chunk: int | None = None,
) -> jax.Array:
    """The histogram of every feature of a set, in memory that does not grow with N times B.

    Args:
        xs: ``[*batch, N, D]``, from 0 to 1; ``[M, D]`` with ``Segments``.
        bins: As ``bins_init`` makes them, of the same kind.
        valid: As in ``pooling``.
        kind: One of the table above.
        cumulative: Whether a bin has what the bins before it have too: the empirical distribution function, whose
            inverse are the quantiles.
        chunk: Elements of each set whose votes are computed at once; None chooses.

    Returns:
        ``[*batch, D, B]`` or ``[S, D, B]``, float32; zeros for an empty set.

    Raises:
        ValueError: An argument does not fit.
    """
    valid = check_valid(xs, valid)
    features = xs.shape[-1]
    wanted = {"centers"} if kind == "linear" else {"centers", "widths"}
    if not isinstance(bins, dict):
        raise ValueError(
            f"`bins` must be a dict as made by bins_init({kind!r}, features, bins), got {type(bins).__name__}"
        )
    check_choice("kind", kind, KINDS)
    if set(bins) != wanted:
        raise ValueError(f"`bins` must be {sorted(wanted)} for {kind!r}, got {sorted(bins)}")
    for name, array in bins.items():
        if array.ndim != 2 or array.shape[0] != features:
            raise ValueError(f"`{name}` must be [{features}, B], a row for each feature, got shape {array.shape}")
    count = bins["centers"].shape[-1]
    if any(array.shape[-1] != count for array in bins.values()) or count < 1:
        raise ValueError(f"`bins` must be as many centers as widths, at least 1, got {jax.tree.map(jnp.shape, bins)}")
    if chunk is not None:
        check_integer("chunk", chunk)
    length = xs.shape[-2]
    if isinstance(length, int):
        chunk = min(chunk or max(VOTES // max(math.prod(xs.shape[:-2]) * features * count, 1), 1), max(length, 1))
    else:  # only a name, as jax.export may trace it
        chunk = length
    more = -length % chunk if length else chunk
    xs = where_valid(xs, valid).astype(at_least_float32(xs.dtype, bins["centers"].dtype))
    # NaN is taken out and added once for each set: asked for at each vote it would take as long as the votes.
    nan = jnp.where(jnp.isnan(xs), xs, 0)
    xs = jnp.where(jnp.isnan(xs), 0, xs)
    xs = jnp.pad(xs, [(0, 0)] * (xs.ndim - 2) + [(0, more), (0, 0)])
    if isinstance(valid, Segments):
        padded: Any = Segments(jnp.pad(valid.ids, (0, more), constant_values=valid.num_segments), valid.num_segments)
    else:
        padded = jnp.pad(valid, [(0, 0)] * (valid.ndim - 1) + [(0, more)])
    sums = _summed(kind, chunk, padded.num_segments if isinstance(padded, Segments) else None, xs, bins, _array(padded))
    sums += _of_nan(set_sum(nan, valid), bins)
    found = sums / jnp.maximum(set_sizes(valid).astype(sums.dtype), 1)[..., None]
    return jnp.cumsum(found, axis=-1) if cumulative else found


def _array(valid: Segments | jax.Array) -> jax.Array:
    return valid.ids if isinstance(valid, Segments) else valid


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _summed(kind: str, chunk: int, sets: int | None, xs: jax.Array, bins: Bins, valid: jax.Array) -> jax.Array:
    """The sums of votes ``[*batch, D, B]``; N is a multiple of the chunk."""
    chex.assert_rank(valid, xs.ndim - 1)
    count = bins["centers"].shape[-1]
    batch = xs.shape[:-2] if sets is None else (sets,)

    def add(sums, k):
        here, which = _cut(xs, valid, k, chunk)
        return sums + _chunk_sums(kind, sets, here, which, bins), None

    sums = jnp.zeros((*batch, xs.shape[-1], count), xs.dtype)
    return lax.scan(add, sums, jnp.arange(xs.shape[-2] // chunk))[0]


def _summed_fwd(kind, chunk, sets, xs, bins, valid):
    return _summed(kind, chunk, sets, xs, bins, valid), (xs, bins, valid)


def _summed_bwd(kind, chunk, sets, residuals, gradient):
    xs, bins, valid = residuals

    def back(state, k):
        dxs, dbins = state
        here, which = _cut(xs, valid, k, chunk)
        _, pullback = jax.vjp(lambda here, bins: _chunk_sums(kind, sets, here, which, bins), here, bins)
        dx, more = pullback(gradient)
        return (lax.dynamic_update_slice_in_dim(dxs, dx, k * chunk, -2), jax.tree.map(jnp.add, dbins, more)), None

    state = (jnp.zeros_like(xs), jax.tree.map(jnp.zeros_like, bins))
    return *lax.scan(back, state, jnp.arange(xs.shape[-2] // chunk))[0], None


_summed.defvjp(_summed_fwd, _summed_bwd)


def _cut(xs, valid, k, chunk):
    axis = valid.ndim - 1
    return (
        lax.dynamic_slice_in_dim(xs, k * chunk, chunk, -2),
        lax.dynamic_slice_in_dim(valid, k * chunk, chunk, axis),
    )


def _chunk_sums(kind, sets, xs, valid, bins):
    made = _votes(kind, bins, xs)
    flat = made.reshape(*made.shape[:-2], math.prod(made.shape[-2:]))
    if sets is not None:
        sums = set_sum(flat, Segments(valid, sets))
    else:  # as a product: XLA's sums over an axis that is not the last are slow on a CPU
        sums = jnp.matmul(valid_mask(valid)[..., None, :].astype(flat.dtype), flat)[..., 0, :]
    return sums.reshape(*sums.shape[:-1], *made.shape[-2:])
