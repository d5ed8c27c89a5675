"""ROCKET: random convolutional kernels with a ridge classifier (Dempster et al. 2020, arXiv:1910.13051)."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.checks import check_floating, check_integer
from jaxnets.ops.masks import valid_steps
from jaxnets.ops.ridge import ridge
from jaxnets.series.windows import window_moments

SIZES = (7, 9, 11)  # lengths of kernels
CONSTANT = 1e-6  # largest standard deviation of a constant feature, relative to its largest value
ROWS = 64  # series at a time, to save memory
STRENGTHS = tuple(np.logspace(-3, 3, 10).tolist())  # as in the paper


class Kernels(NamedTuple):
    """Random kernels. Those with the same dilation form a group.

    Attributes:
        weights: ``[K, 11, D]``; a shorter kernel has zeros at both ends.
        biases: ``[K]``.
    """

    weights: Float[Array, "K 11 D"]
    biases: Float[Array, " K"]


class _Group(NamedTuple):
    """The kernels of one dilation: their range, their lengths, and whether they read beyond the ends."""

    begin: int
    end: int
    dilation: int
    sizes: np.ndarray
    padded: np.ndarray


def random_kernels(key: jax.Array, num_kernels: int, length: int, channels: int) -> Kernels:
    r"""Draws the weights and the biases of kernels for series ``[T, D]``.

    Weights are normal and centered in each channel; biases are uniform in [-1, 1]. With several channels, a kernel
    reads :math:`\lfloor 2^u \rfloor` of them, u uniform from 0 to :math:`\log_2(\min(D, l) + 1)`.

    Args:
        key: Random key.
        num_kernels: K.
        length: T.
        channels: D.
    """
    sizes = np.concatenate([group.sizes for group in _groups(num_kernels, length)])
    key_weights, key_biases, key_counts, key_channels = jax.random.split(key, 4)
    half = SIZES[-1] // 2
    inside = np.abs(np.arange(-half, half + 1)) <= sizes[:, None] // 2  # [K, 11]
    weights = jax.random.normal(key_weights, (num_kernels, SIZES[-1], channels), jnp.float32)
    mean = jnp.sum(weights, axis=1, keepdims=True, where=inside[..., None]) / jnp.float32(sizes)[:, None, None]
    weights = jnp.where(inside[..., None], weights - jnp.broadcast_to(mean, weights.shape), 0)
    limit = np.log2(np.minimum(channels, sizes) + 1).astype(np.float32)
    counts = jnp.floor(2 ** (limit * jax.random.uniform(key_counts, (num_kernels,), jnp.float32)))
    order = jnp.argsort(jax.random.uniform(key_channels, (num_kernels, channels)), axis=1).astype(jnp.float32)
    weights = jnp.where((order < counts[:, None])[:, None], weights, 0)
    return Kernels(weights, jax.random.uniform(key_biases, (num_kernels,), jnp.float32, minval=-1.0))


def rocket_features(
    xs: Float[Array, "B T D"],
    kernels: Kernels,
    lengths: Integer[Array, " B"] | None = None,
    training_length: int | None = None,
) -> Float[Array, "B {2*K}"]:
    r"""Computes two features per kernel: the fraction of positive outputs, and the largest output.

    The outputs of a kernel with dilation d and length l are

    .. math:: z_t = b + \sum_{j, c} w_{jc}\, x_{t + d j, c}, \quad -l/2 < j < l/2

    for all t (one half of the kernels, with zeros beyond the ends), or where the kernel lies within the series. Lengths
    7, 9 and 11 and both kinds are used in equal proportions, and dilations :math:`\lfloor 2^u \rfloor` with u evenly
    spaced from 0 to :math:`\log_2 \frac{T - 1}{l - 1}`. The paper draws them; here they do not depend on the key, so
    that all kernels of a dilation are one matrix product.

    Args:
        xs: Series, usually standardized one by one.
        kernels: Of ``random_kernels`` for the same D.
        lengths: Valid steps of each series; None: all. A kernel without outputs has the features 0.
        training_length: T of ``random_kernels``, which determines the dilations; None: that of ``xs``.
    """
    check_floating("xs", xs, "[B, T, D]", 3)
    length, half = xs.shape[1], SIZES[-1] // 2
    lengths = jnp.full(len(xs), length) if lengths is None else jnp.asarray(lengths)
    groups = _groups(len(kernels.biases), length if training_length is None else training_length)

    def of_one(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, size = row
        features = []
        for group in groups:
            reach = half * group.dilation
            padded = jnp.pad(x, ((reach, reach), (0, 0)))
            taps = [padded[j * group.dilation : j * group.dilation + length] for j in range(SIZES[-1])]
            weights = kernels.weights[group.begin : group.end].reshape(group.end - group.begin, -1)
            outputs = jnp.matmul(jnp.concatenate(taps, axis=1), weights.T, precision="highest")
            outputs = outputs + kernels.biases[None, group.begin : group.end]
            margins = jnp.where(group.padded, 0, group.sizes // 2 * group.dilation)  # [kernels of the group]
            time = jnp.arange(length)[:, None]
            valid = (time >= margins[None]) & (time < (size - margins)[None])
            count = jnp.sum(valid, axis=0)
            positive = jnp.sum(valid & (outputs > 0), axis=0) / jnp.maximum(count, 1)
            largest = jnp.max(jnp.where(valid, outputs, -jnp.inf), axis=0)
            features += [positive.astype(outputs.dtype), jnp.where(count > 0, largest, 0)]
        return jnp.concatenate(features)

    return jax.lax.map(of_one, (xs, lengths), batch_size=min(ROWS, max(len(xs), 1)))


def _groups(num_kernels: int, length: int) -> list[_Group]:
    """Returns the kernels by dilation; every sixth kernel has the same length and padding."""
    index = np.arange(num_kernels)
    sizes, kinds = np.array(SIZES)[index % 3], index // 3 % 2
    counts = np.bincount(index % 6, minlength=6)[index % 6]
    exponents = (index // 6 + 0.5) / counts * np.log2(np.maximum((length - 1) / (sizes - 1), 1))
    dilations = np.floor(2**exponents).astype(int)
    padded = (kinds == 0) | ((sizes - 1) * dilations >= length)  # of a short series, no output lies within
    order = np.argsort(dilations, kind="stable")
    ends = np.searchsorted(dilations[order], np.unique(dilations), side="right").tolist()
    groups = []
    for begin, end in itertools.pairwise([0, *ends]):
        rows = order[begin:end]
        groups.append(_Group(begin, end, int(dilations[rows[0]]), sizes[rows], padded[rows]))
    return groups


class Rocket(nn.Module):
    """Features of random kernels with a linear classifier, which is fitted in closed form by ``ridge``.

    Each series is standardized. Features are divided by their standard deviations over the training data, and classes
    are -1 and 1. The penalty is chosen by leave-one-out errors.

    Parameters: ``kernels`` with ``weights`` and ``biases``, which are random; ``scale [2 K]``, ``kernel`` and ``bias``.
    The collection ``constants`` has ``steps [T]``, whose length is that of the training series: it determines the
    dilations for series of any length.

    Attributes:
        num_outputs: C, classes.
        num_kernels: K.
        strengths: The penalties to choose from.
    """

    num_outputs: int
    num_kernels: int = 10_000
    strengths: Sequence[float] = STRENGTHS

    @nn.compact
    def __call__(
        self, xs: Float[Array, "B T D"], *, lengths: Integer[Array, " B"] | None = None, train: bool = False
    ) -> Float[Array, "B C"]:
        """Computes the scores of classes.

        Args:
            xs: ``[B, T, D]`` with the D of the training data.
            lengths: Integers ``[B]``, the valid steps of each series; None: all steps are valid.
            train: Ignored.

        Returns:
            ``[B, C]``, float32; the largest score is the prediction.
        """
        check_integer("num_kernels", self.num_kernels)
        check_integer("num_outputs", self.num_outputs)
        check_floating("xs", xs, "[B, T, D]", 3)
        drawn = lambda key: random_kernels(key, self.num_kernels, *xs.shape[1:])._asdict()
        kernels = Kernels(**self.param("kernels", drawn))
        steps: Any = self.variable("constants", "steps", jnp.arange, xs.shape[1], dtype=jnp.float32).value
        scale = self.param("scale", nn.initializers.ones, (2 * self.num_kernels,), jnp.float32)
        kernel = self.param("kernel", nn.initializers.zeros, (2 * self.num_kernels, self.num_outputs), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.num_outputs,), jnp.float32)
        features = _features(xs, kernels, lengths, len(steps)) / scale[None]
        return jnp.matmul(features, kernel, precision="highest") + bias[None]

    def fit(self, variables: Any, batch: Any) -> Any:
        """Returns the variables that are fitted to a batch of all training data.

        Args:
            variables: Variables with the random kernels.
            batch: ``inputs [B, T, D]``, ``targets`` int32 ``[B]``, ``mask [B]`` and, for ragged series, ``lengths``.
        """
        params, mask = variables["params"], batch["mask"]
        length = len(variables["constants"]["steps"])
        features = _features(batch["inputs"], Kernels(**params["kernels"]), batch.get("lengths"), length)
        std = jnp.std(features, axis=0, where=mask[:, None])
        largest = jnp.max(jnp.abs(features), axis=0, where=mask[:, None], initial=0)
        scale = jnp.where(std > CONSTANT * largest, std, 1)  # of a constant channel, only rounding errors vary
        targets = 2 * jax.nn.one_hot(jnp.where(mask, batch["targets"], 0), self.num_outputs) - 1
        found = ridge(features / scale[None], targets, jnp.asarray(self.strengths, jnp.float32), mask)
        return {**variables, "params": {**params, "scale": scale, "kernel": found.kernel, "bias": found.bias}}


def _features(xs: jax.Array, kernels: Kernels, lengths: jax.Array | None, training_length: int) -> jax.Array:
    """Computes the features of series that are standardized one by one."""
    xs = xs.astype(jnp.float32)
    observed = None if lengths is None else jnp.broadcast_to(valid_steps(lengths, xs.shape[1])[..., None], xs.shape)
    shift, scale = window_moments(xs, "standardize", observed)
    xs = (xs - shift) / scale
    return rocket_features(xs if observed is None else jnp.where(observed, xs, 0), kernels, lengths, training_length)
