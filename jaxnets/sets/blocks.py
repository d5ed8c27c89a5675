r"""Attention among the elements of sets (Lee et al. 2019, arXiv:1810.00825).

``MAB`` attends from one set to another, and is what the others consist of:

* ``SAB(X) = MAB(X, X)``: all elements see each other, O(n^2);
* ``ISAB(X) = MAB(X, MAB(I, X))``: by way of m learned inducing points I, O(n m);
* ``PMA(X) = MAB(S, X)``: k learned seeds S read the set: k vectors, whatever its size.

Elements are ``[*batch, N, D]`` with a bool mask ``[*batch, N]`` or None, or ``[M, D]`` with ``Segments``, for which
attention is masked to what is of the same set: less memory than padding, but work for all pairs of sets. Results are
zeros where not real.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.attention import attention, attention_weights
from jaxnets.modules.dense import Dense
from jaxnets.ops.checks import check_choice, check_divisor, check_integer
from jaxnets.ops.set_reductions import Segments, Validity, check_valid, where_valid
from jaxnets.sets.norms import layer_norm, set_norm
from jaxnets.sets.streaming import Reading, nothing_read, read_on, what_was_read

# Smaller than Linen's own: of torch, and so of the published program; without norms sums of blocks grow with depth.
INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
NORMS = {"layer": layer_norm, "set": set_norm}


class Norm(nn.Module):
    """``layer`` or ``set`` norm with parameters ``scale`` and ``bias``; ``none`` leaves all as it is.

    Attributes:
        kind: ``"none"``, ``"layer"`` or ``"set"``.
    """

    kind: str

    @nn.compact
    def __call__(self, xs: jax.Array, valid: Validity = None) -> jax.Array:
        if self.kind == "none":
            return xs
        check_choice("norm", self.kind, ("none", *NORMS))
        width = xs.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (width,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (width,), jnp.float32)
        return NORMS[self.kind](xs, scale, bias, valid)


class MAB(nn.Module):
    r"""A set X looks at a set Y, with N heads:

    .. math::
        h &= \mathrm{norm}(X W_q + [A_1 Y W_v^1; \ldots; A_N Y W_v^N]), \quad
        A_n = \mathrm{softmax}(X W_q^n (Y W_k^n)^\top / \sqrt{D}) \\
        \mathrm{MAB}(X, Y) &= \mathrm{norm}(h + \mathrm{relu}(h W_o + b_o))

    as published: the scale is that of all heads together, what is added is the projected query, and there is no other
    projection. ``clean_residual`` norms before instead of after and leaves the stream itself alone (Zhang et al. 2022,
    arXiv:2206.11925): :math:`h = X + A(\mathrm{norm} X, \mathrm{norm} Y)`, :math:`h + \mathrm{relu}(\mathrm{norm}(h)
    W_o + b_o)`; X has D features then.

    Parameters: ``query``, ``key``, ``value``, ``out`` with ``kernel`` and ``bias``; norms.

    Attributes:
        embed_dim: D.
        num_heads: N, a divisor of D.
        norm: ``"none"``, ``"layer"`` or ``"set"``.
        clean_residual: Whether residuals are.
        dtype: Compute type.
        implementation: As in ``attention``.
    """

    embed_dim: int
    num_heads: int = 4
    norm: str = "none"
    clean_residual: bool = False
    dtype: Dtype = jnp.float32
    implementation: str = "auto"

    def setup(self):
        check_divisor("num_heads", self.num_heads, "embed_dim", self.embed_dim)
        dense = functools.partial(Dense, self.embed_dim, dtype=self.dtype, kernel_init=INIT)
        self.query, self.key, self.value, self.out = dense(), dense(), dense(), dense()
        self.norm_x, self.norm_y, self.norm_out = Norm(self.norm), Norm(self.norm), Norm(self.norm)

    def __call__(self, xs: jax.Array, ys: jax.Array, valid: Validity = None, y_valid: Validity = None) -> jax.Array:
        """From X ``[*batch, N, ...]`` and Y ``[*batch, M, ...]`` to ``[*batch, N, D]``."""
        valid, y_valid = check_valid(xs, valid), check_valid(ys, y_valid, "ys")
        if isinstance(valid, Segments) and isinstance(y_valid, Segments):
            seen = valid.ids[:, None].astype(jnp.int32) == y_valid.ids[None].astype(jnp.int32)
        elif isinstance(valid, Segments) or isinstance(y_valid, Segments):
            raise ValueError("`valid` and `y_valid` must be segments of both sets or of neither, got one")
        else:
            seen = y_valid[..., None, None, :]
        xs = where_valid(xs, valid)
        query = self._queries(xs, valid)
        read = attention(
            self._apart(query),
            *self._memory(ys, y_valid),
            mask=seen,
            scale=self.embed_dim**-0.5,
            implementation=self.implementation,
        )
        return self._rest(xs, query, read.reshape(query.shape), valid)

    def weights(self, xs: jax.Array, ys: jax.Array, y_valid: jax.Array | None = None) -> jax.Array:
        """How much each of X attends to each of Y, to be looked at: ``[*batch, heads, N, M]``."""
        query, key, _, mask = self._reading(xs, ys, y_valid)
        return attention_weights(query, key, mask=mask[..., None, None, :], scale=self.embed_dim**-0.5)

    def update(self, reading: Reading | None, xs: jax.Array, ys: jax.Array, y_valid: jax.Array | None) -> Reading:
        """What X has read of one more chunk of Y; None is before the first one."""
        if self.clean_residual and self.norm == "set":
            raise ValueError("`norm` must be none or layer to go chunk by chunk, got 'set', which needs all of a set")
        query, key, value, mask = self._reading(xs, ys, y_valid)
        reading = nothing_read(query, value.shape[-1]) if reading is None else reading
        return read_on(reading, query, key, value, mask, self.embed_dim**-0.5)

    def finish(self, reading: Reading, xs: jax.Array) -> jax.Array:
        """``MAB(X, Y)`` of what X has read of Y."""
        valid = check_valid(xs, None)
        query = self._queries(xs, valid)
        return self._rest(xs, query, what_was_read(reading).astype(query.dtype).reshape(query.shape), valid)

    def _reading(self, xs, ys, y_valid):
        """Queries of all X, keys, values and mask of Y."""
        if isinstance(y_valid, Segments):
            raise ValueError("`valid` must be a mask or None, got segments")
        mask: Any = check_valid(ys, y_valid, "ys")
        return self._apart(self._queries(xs, check_valid(xs, None))), *self._memory(ys, mask), mask

    def _queries(self, xs, valid):
        return self.query(self.norm_x(xs, valid) if self.clean_residual else xs)

    def _memory(self, ys, valid):
        ys = where_valid(ys, valid)
        ys = self.norm_y(ys, valid) if self.clean_residual else ys
        return self._apart(self.key(ys)), self._apart(self.value(ys))

    def _rest(self, xs, query, read, valid):
        if self.clean_residual:
            if xs.shape[-1] != self.embed_dim:
                raise ValueError(f"`xs` must have {self.embed_dim} features with clean residuals, got shape {xs.shape}")
            hs = xs.astype(read.dtype) + read
            return where_valid(hs + nn.relu(self.out(self.norm_out(hs, valid))), valid)
        hs = self.norm_x(query + read, valid)
        return where_valid(self.norm_out(hs + nn.relu(self.out(hs)), valid), valid)

    def _apart(self, a):
        return a.reshape(*a.shape[:-1], self.num_heads, self.embed_dim // self.num_heads)


class SAB(nn.Module):
    """Set attention block: every element sees all of its set. Attributes as of ``MAB``."""

    embed_dim: int
    num_heads: int = 4
    norm: str = "none"
    clean_residual: bool = False
    dtype: Dtype = jnp.float32
    implementation: str = "auto"

    @nn.compact
    def __call__(self, xs: jax.Array, valid: Validity = None) -> jax.Array:
        """From ``[*batch, N, ...]`` to ``[*batch, N, D]``."""
        return _mab(self, "mab")(xs, xs, valid, valid)


class ISAB(nn.Module):
    """Induced set attention block: elements see what m learned points have seen of their set.

    Parameters: ``inducing [m, D]``; ``first`` and ``second``, two of ``MAB``.

    Attributes:
        embed_dim, num_heads, norm, clean_residual, dtype, implementation: As in ``MAB``.
        num_inducing_points: m.
    """

    embed_dim: int
    num_inducing_points: int = 16
    num_heads: int = 4
    norm: str = "none"
    clean_residual: bool = False
    dtype: Dtype = jnp.float32
    implementation: str = "auto"

    def setup(self):
        self.inducing = _seeds(self, "inducing", self.num_inducing_points)
        self.first, self.second = _mab(self), _mab(self)

    def __call__(self, xs: jax.Array, valid: Validity = None) -> jax.Array:
        """From ``[*batch, N, ...]`` to ``[*batch, N, D]``."""
        points, of = _in_every_set(self.inducing, xs, valid)
        return self.second(xs, self.first(points, xs, of, valid), valid, of)

    def weights(self, xs: jax.Array, valid: jax.Array | None = None) -> jax.Array:
        """How much each point attends to each element, to be looked at: ``[*batch, heads, m, N]``."""
        return self.first.weights(_in_every_set(self.inducing, xs, valid)[0], xs, valid)

    def update(self, reading: Reading | None, xs: jax.Array, valid: jax.Array | None) -> Reading:
        """What the points have read of one more chunk."""
        return self.first.update(reading, _in_every_set(self.inducing, xs, valid)[0], xs, valid)

    def finish(self, reading: Reading) -> jax.Array:
        """What the points have seen of their set, ``[*batch, m, D]``."""
        return self.first.finish(reading, _of_reading(self.inducing, reading))

    def read(self, xs: jax.Array, seen: jax.Array, valid: jax.Array | None) -> jax.Array:
        """A chunk, of a set of which the points have seen this."""
        return self.second(xs, seen, valid)


class PMA(nn.Module):
    """Pooling by multi-head attention: k learned seeds read a set.

    Parameters: ``seed_vectors [k, D]``; ``mab``, of ``MAB``.

    Attributes:
        embed_dim, num_heads, norm, clean_residual, dtype, implementation: As in ``MAB``.
        num_seeds: k.
    """

    embed_dim: int
    num_seeds: int = 1
    num_heads: int = 4
    norm: str = "none"
    clean_residual: bool = False
    dtype: Dtype = jnp.float32
    implementation: str = "auto"

    def setup(self):
        self.seed_vectors = _seeds(self, "seed_vectors", self.num_seeds)
        self.mab = _mab(self)

    def __call__(self, xs: jax.Array, valid: Validity = None) -> jax.Array:
        """From ``[*batch, N, ...]`` to ``[*batch, k, D]``, or ``[S, k, D]``."""
        seeds, of = _in_every_set(self.seed_vectors, xs, valid)
        ys = self.mab(seeds, xs, of, valid)
        return ys.reshape(valid.num_segments, self.num_seeds, self.embed_dim) if isinstance(valid, Segments) else ys

    def update(self, reading: Reading | None, xs: jax.Array, valid: jax.Array | None) -> Reading:
        """What the seeds have read of one more chunk."""
        return self.mab.update(reading, _in_every_set(self.seed_vectors, xs, valid)[0], xs, valid)

    def finish(self, reading: Reading) -> jax.Array:
        """``[*batch, k, D]``, of what the seeds have read."""
        return self.mab.finish(reading, _of_reading(self.seed_vectors, reading))


def _mab(module: Any, name: str | None = None) -> MAB:
    """An ``MAB`` with a module's attributes."""
    options = (
        module.embed_dim,
        module.num_heads,
        module.norm,
        module.clean_residual,
        module.dtype,
        module.implementation,
    )
    return MAB(*options, name=name)


def _seeds(module: Any, name: str, count: int) -> jax.Array:
    """Learned elements, the same in every set."""
    check_integer(name, count)
    return module.param(name, nn.initializers.glorot_uniform(), (count, module.embed_dim), jnp.float32).astype(
        module.dtype
    )


def _in_every_set(seeds: jax.Array, xs: jax.Array, valid: Validity) -> tuple[jax.Array, Validity]:
    """Learned elements for each of the sets of ``xs``, and which sets they are of."""
    if isinstance(valid, Segments):
        ids = jnp.repeat(jnp.arange(valid.num_segments), len(seeds))
        return jnp.tile(seeds, (valid.num_segments, 1)), Segments(ids, valid.num_segments)
    return jnp.broadcast_to(seeds, (*xs.shape[:-2], *seeds.shape)), None


def _of_reading(seeds: jax.Array, reading: Reading) -> jax.Array:
    return jnp.broadcast_to(seeds, (*reading.highest.shape[:-3], *seeds.shape))
