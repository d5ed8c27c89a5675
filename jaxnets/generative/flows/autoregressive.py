"""Masked autoregressive bijectors, and the masked networks that they are computed by."""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxnets.generative.flows.bijector import Bijector
from jaxnets.modules.perceptron import Layer, perceptron
from jaxnets.ops.array_types import Array, Bool, Float
from jaxnets.ops.checks import check_integer


def masked_autoregressive(transform: Callable[[Float[Array, "B D"]], Bijector]) -> Bijector:
    """Creates the bijector whose variables are each transformed by a function of the previous ones.

    The forward direction, and so the density, takes one pass of the network; the inverse takes D. See Papamakarios et
    al. 2017 (arXiv:1705.07057).

    Args:
        transform: x, ``[B, D]``, to an elementwise bijector whose parameters for variable i depend only on the
            variables before i, such as by ``masked_perceptron``.
    """

    def inverse(zs: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Each pass makes one more variable exact. The parameters of the last pass depend on exact variables only.
        refine = lambda _, xs: transform(xs).inverse(zs)[0]
        xs = jax.lax.fori_loop(0, zs.shape[-1] - 1, refine, zs)
        return transform(xs).inverse(zs)

    return Bijector(lambda xs: transform(xs).forward(xs), inverse)


def made_masks(features: int, hidden_sizes: Sequence[int], outputs_per_feature: int) -> list[Bool[np.ndarray, "D F"]]:
    """Returns the masks of the kernels of MADE (Germain et al. 2015, arXiv:1502.03509).

    Hidden unit j may depend on the first ``1 + j % (D - 1)`` variables. The outputs of variable i depend on the
    variables before it.

    Args:
        features: D.
        hidden_sizes: Sizes of the hidden layers.
        outputs_per_feature: M.

    Returns:
        For each layer a mask ``[D_i, D_{i+1}]``, True where the kernel is used; the last one has ``D M`` columns, the M
        outputs of the first variable first.
    """
    check_integer("features", features)
    check_integer("outputs_per_feature", outputs_per_feature)
    degrees = np.arange(1, features + 1)
    masks = []
    for size in hidden_sizes:
        following = np.arange(size) % max(1, features - 1) + min(1, features - 1)
        masks.append(following[None] >= degrees[:, None])
        degrees = following
    outputs = np.repeat(np.arange(1, features + 1), outputs_per_feature)
    return [*masks, outputs[None] > degrees[:, None]]


def masked_perceptron(
    layers: Sequence[Layer],
    masks: Sequence[Bool[np.ndarray, "D F"]],
    xs: Float[Array, "B D"],
    activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "B F"]:
    """Applies a perceptron without the masked entries of its kernels; see ``modules.perceptron``.

    Args:
        layers: For each layer a dict with ``kernel [D_i, D_{i+1}]`` and ``bias [D_{i+1}]``.
        masks: For each layer a mask of the kernel, such as from ``made_masks``.
        xs: ``[B, D]``.
        activation: Elementwise.
        dtype: Compute type of hidden layers.

    Returns:
        ``[B, F]``, float32 at least.
    """
    chex.assert_trees_all_equal_shapes(list(masks), [layer["kernel"] for layer in layers])
    kept = [{**layer, "kernel": jnp.where(mask, layer["kernel"], 0)} for layer, mask in zip(layers, masks, strict=True)]
    return perceptron(kept, xs, activation, dtype=dtype)
