r"""Attention blocks for sets (Lee et al. 2019, arXiv:1810.00825).

``MAB`` computes attention from one set to another. The other blocks consist of it:

* ``SAB(X) = MAB(X, X)``: self-attention, O(n^2);
* ``ISAB(X) = MAB(X, MAB(I, X))``: attention through m learned inducing points I, O(n m);
* ``PMA(X) = MAB(S, X)``: pooling by k learned seeds S to k vectors.

Elements are ``[*batch, N, D]`` with a bool mask ``[*batch, N]`` or None, or ``[M, D]`` with ``Segments``. For segments,
attention is masked to elements of the same set, which saves the memory of padding but computes all pairs of sets.
Results are zero where elements are not valid.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.attention import attention, attention_weights
from jaxnets.modules.dense import Dense
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_choice, check_divisor, check_integer
from jaxnets.ops.set_reductions import Segments, Validity, check_valid, where_valid
from jaxnets.sets.norms import layer_norm, set_norm
from jaxnets.sets.streaming import SoftmaxState, init_softmax, softmax_result, update_softmax

# The default of torch, and so of the published code. It is smaller than Linen's, which matters for blocks without
# norms.
INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
NORMS = {"layer": layer_norm, "set": set_norm}


class Norm(nn.Module):
    """Layer norm or set norm with parameters ``scale`` and ``bias``, or the identity.

    Attributes:
        kind: ``"none"``, ``"layer"`` or ``"set"``.
    """

    kind: str

    @nn.compact
    def __call__(self, xs: jax.Array, valid: Validity = None) -> jax.Array:
        if self.kind == "none":
            return xs
        check_choice("norm", self.kind, ("none", *NORMS))
        features = xs.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        return NORMS[self.kind](xs, scale, bias, valid)


class MAB(nn.Module):
    r"""A multihead attention block from a set X to a set Y, with N heads:

    .. math::
        h &= \mathrm{norm}(X W_q + [A_1 Y W_v^1; \ldots; A_N Y W_v^N]), \quad
        A_n = \mathrm{softmax}(X W_q^n (Y W_k^n)^\top / \sqrt{D}) \\
        \mathrm{MAB}(X, Y) &= \mathrm{norm}(h + \mathrm{relu}(h W_o + b_o))

    As in the published code, the scale uses all D features, the residual is the projected query, and the heads have no
    output projection. With ``clean_residual``, norms come first and the residual is X, which must have D features
    (Zhang et al. 2022, arXiv:2206.11925): :math:`h = X + A(\mathrm{norm} X, \mathrm{norm} Y)`, :math:`h +
    \mathrm{relu}(\mathrm{norm}(h) W_o + b_o)`.

    Parameters: ``query``, ``key``, ``value``, ``out`` with ``kernel`` and ``bias``; ``norm_x``, ``norm_y``,
    ``norm_out``.

    Attributes:
        embed_dim: D.
        num_heads: N, a divisor of D.
        norm: ``"none"``, ``"layer"`` or ``"set"``.
        clean_residual: Whether to use clean residual connections.
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

    def __call__(
        self,
        xs: Float[Array, "*batch N F"],
        ys: Float[Array, "*batch M E"],
        valid: Validity = None,
        y_valid: Validity = None,
    ) -> Float[Array, "*batch N D"]:
        """Attends from ``xs [*batch, N, ...]`` to ``ys [*batch, M, ...]``; returns ``[*batch, N, D]``."""
        valid, y_valid = check_valid(xs, valid), check_valid(ys, y_valid, "ys")
        if isinstance(valid, Segments) and isinstance(y_valid, Segments):
            mask = valid.ids[:, None].astype(jnp.int32) == y_valid.ids[None].astype(jnp.int32)
        elif isinstance(valid, Segments) or isinstance(y_valid, Segments):
            raise ValueError("`valid` and `y_valid` must both be segments, or neither, got one")
        else:
            mask = y_valid[..., None, None, :]
        xs = where_valid(xs, valid)
        query = self._queries(xs, valid)
        attended = attention(
            self._split_heads(query),
            *self._keys_and_values(ys, y_valid),
            mask=mask,
            scale=self.embed_dim**-0.5,
            implementation=self.implementation,
        )
        return self._residual(xs, query, attended.reshape(query.shape), valid)

    def weights(self, xs: jax.Array, ys: jax.Array, y_valid: jax.Array | None = None) -> jax.Array:
        """Computes the attention weights from X to Y, ``[*batch, heads, N, M]``, for inspection."""
        query, key, _, mask = self._project(xs, ys, y_valid)
        return attention_weights(query, key, mask=mask[..., None, None, :], scale=self.embed_dim**-0.5)

    def update(
        self, state: SoftmaxState | None, xs: jax.Array, ys: jax.Array, y_valid: jax.Array | None
    ) -> SoftmaxState:
        """Updates the attention from X with one more chunk of Y; the initial state is None."""
        if self.clean_residual and self.norm == "set":
            raise ValueError("`norm` must be none or layer for sets in chunks, got 'set', which needs the whole set")
        query, key, value, mask = self._project(xs, ys, y_valid)
        state = init_softmax(query, value.shape[-1]) if state is None else state
        return update_softmax(state, query, key, value, mask, self.embed_dim**-0.5)

    def finalize(self, state: SoftmaxState, xs: jax.Array) -> jax.Array:
        """Returns ``MAB(X, Y)`` from the final state."""
        valid = check_valid(xs, None)
        query = self._queries(xs, valid)
        attended = softmax_result(state).astype(query.dtype).reshape(query.shape)
        return self._residual(xs, query, attended, valid)

    def _project(self, xs, ys, y_valid):
        """Returns queries of X, and keys, values and mask of Y."""
        if isinstance(y_valid, Segments):
            raise ValueError("`valid` must be a mask or None, got segments")
        mask: Any = check_valid(ys, y_valid, "ys")
        return self._split_heads(self._queries(xs, check_valid(xs, None))), *self._keys_and_values(ys, mask), mask

    def _queries(self, xs, valid):
        return self.query(self.norm_x(xs, valid) if self.clean_residual else xs)

    def _keys_and_values(self, ys, valid):
        ys = where_valid(ys, valid)
        ys = self.norm_y(ys, valid) if self.clean_residual else ys
        return self._split_heads(self.key(ys)), self._split_heads(self.value(ys))

    def _residual(self, xs, query, attended, valid):
        if self.clean_residual:
            if xs.shape[-1] != self.embed_dim:
                raise ValueError(f"`xs` must have {self.embed_dim} features with clean residuals, got shape {xs.shape}")
            hs = xs.astype(attended.dtype) + attended
            return where_valid(hs + nn.relu(self.out(self.norm_out(hs, valid))), valid)
        hs = self.norm_x(query + attended, valid)
        return where_valid(self.norm_out(hs + nn.relu(self.out(hs)), valid), valid)

    def _split_heads(self, a):
        return a.reshape(*a.shape[:-1], self.num_heads, self.embed_dim // self.num_heads)


class SAB(nn.Module):
    """A set attention block: self-attention of the elements of a set. Attributes as in ``MAB``."""

    embed_dim: int
    num_heads: int = 4
    norm: str = "none"
    clean_residual: bool = False
    dtype: Dtype = jnp.float32
    implementation: str = "auto"

    @nn.compact
    def __call__(self, xs: Float[Array, "*batch N F"], valid: Validity = None) -> Float[Array, "*batch N D"]:
        """Maps elements ``[*batch, N, ...]`` to ``[*batch, N, D]``."""
        return _mab(self, "mab")(xs, xs, valid, valid)


class ISAB(nn.Module):
    """An induced set attention block: elements attend to m learned points, which attend to the set.

    Parameters: ``inducing [m, D]``; ``first`` and ``second``, each as in ``MAB``.

    Attributes:
        embed_dim, num_heads, norm, clean_residual, dtype, implementation: As in ``MAB``.
        num_inducing_points: m, the number of inducing points.
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

    def __call__(self, xs: Float[Array, "*batch N F"], valid: Validity = None) -> Float[Array, "*batch N D"]:
        """Maps elements ``[*batch, N, ...]`` to ``[*batch, N, D]``."""
        points, points_valid = _broadcast_to_sets(self.inducing, xs, valid)
        return self.second(xs, self.first(points, xs, points_valid, valid), valid, points_valid)

    def weights(self, xs: jax.Array, valid: jax.Array | None = None) -> jax.Array:
        """Computes the attention weights from points to elements, ``[*batch, heads, m, N]``, for inspection."""
        return self.first.weights(_broadcast_to_sets(self.inducing, xs, valid)[0], xs, valid)

    def update(self, state: SoftmaxState | None, xs: jax.Array, valid: jax.Array | None) -> SoftmaxState:
        """Updates the attention of the points with one more chunk; the initial state is None."""
        return self.first.update(state, _broadcast_to_sets(self.inducing, xs, valid)[0], xs, valid)

    def finalize(self, state: SoftmaxState) -> jax.Array:
        """Returns the summary of the set at the points, ``[*batch, m, D]``."""
        return self.first.finalize(state, _broadcast_to_state(self.inducing, state))

    def attend_to_summary(self, xs: jax.Array, summary: jax.Array, valid: jax.Array | None) -> jax.Array:
        """Applies the second attention to a chunk, given the summary of its set."""
        return self.second(xs, summary, valid)


class PMA(nn.Module):
    """Pooling by multihead attention: k learned seeds attend to a set.

    Parameters: ``seed_vectors [k, D]``; ``mab``, as in ``MAB``.

    Attributes:
        embed_dim, num_heads, norm, clean_residual, dtype, implementation: As in ``MAB``.
        num_seeds: k, the number of seeds.
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

    def __call__(self, xs: Float[Array, "*batch N F"], valid: Validity = None) -> Float[Array, "*sets K D"]:
        """Pools elements ``[*batch, N, ...]`` to ``[*batch, k, D]``, or ``[S, k, D]`` for segments."""
        seeds, seeds_valid = _broadcast_to_sets(self.seed_vectors, xs, valid)
        ys = self.mab(seeds, xs, seeds_valid, valid)
        return ys.reshape(valid.num_segments, self.num_seeds, self.embed_dim) if isinstance(valid, Segments) else ys

    def update(self, state: SoftmaxState | None, xs: jax.Array, valid: jax.Array | None) -> SoftmaxState:
        """Updates the attention of the seeds with one more chunk; the initial state is None."""
        return self.mab.update(state, _broadcast_to_sets(self.seed_vectors, xs, valid)[0], xs, valid)

    def finalize(self, state: SoftmaxState) -> jax.Array:
        """Returns the pooled set ``[*batch, k, D]`` from the final state."""
        return self.mab.finalize(state, _broadcast_to_state(self.seed_vectors, state))


def _mab(module: Any, name: str | None = None) -> MAB:
    """Makes an ``MAB`` with the attributes of a block."""
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
    """Makes learned elements ``[count, D]``."""
    check_integer(name, count)
    return module.param(name, nn.initializers.glorot_uniform(), (count, module.embed_dim), jnp.float32).astype(
        module.dtype
    )


def _broadcast_to_sets(seeds: jax.Array, xs: jax.Array, valid: Validity) -> tuple[jax.Array, Validity]:
    """Repeats learned elements for each set of ``xs``; returns them and their mask or segments."""
    if isinstance(valid, Segments):
        ids = jnp.repeat(jnp.arange(valid.num_segments), len(seeds))
        return jnp.tile(seeds, (valid.num_segments, 1)), Segments(ids, valid.num_segments)
    return jnp.broadcast_to(seeds, (*xs.shape[:-2], *seeds.shape)), None


def _broadcast_to_state(seeds: jax.Array, state: SoftmaxState) -> jax.Array:
    return jnp.broadcast_to(seeds, (*state.maximum.shape[:-3], *seeds.shape))
