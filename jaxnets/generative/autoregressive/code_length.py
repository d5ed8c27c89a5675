"""The length of a lossless code of an image that knows no other image."""

import math

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.checks import check_integer

# Rows up and columns to the left of the pixels that predict a bit.
TEMPLATE = ((0, 1), (0, 2), (1, 1), (1, 0), (1, -1), (2, 0))


def code_length(levels: Integer[Array, "B H W C"], num_levels: int) -> Float[Array, " B"]:
    r"""Computes the length of an adaptive code of each image, in nats; simple images have short codes.

    Pixels are coded in order of rows. Symbols s are coded with the frequencies of those before them in the same image
    and the same context c, where L is the number of levels:

    .. math:: -\sum_i \log \frac{n_c(s_i) + 1 / L}{n_c + 1}

    With two levels, the symbols are the bits, and a context is the values of six pixels to the left and above. With
    more, the symbols are the differences of the pixels, modulo L, from the median of the left pixel a, the upper pixel
    b and a + b - c, where c is the upper left pixel, as in JPEG-LS (Weinberger et al. 2000); there is one context.
    Pixels outside the image are 0. A code is at most as long as that of equally frequent levels. The length depends on
    the numbers of symbols only, so that nothing is coded in sequence.

    It replaces the PNG compressor of "Input Complexity and Out-of-distribution Detection with Likelihood-based
    Generative Models", Serrà et al. 2020, arXiv:1909.11480, which no compiled program can call.

    Args:
        levels: Integers 0 ... L - 1, ``[B, H, W, C]``.
        num_levels: L.
    """
    check_integer("num_levels", num_levels, minimum=2)
    shown = levels.astype(jnp.int32)
    if num_levels == 2:
        contexts = sum(_shifted(shown, *offset) << i for i, offset in enumerate(TEMPLATE))
        symbols, count = 2 * contexts + shown, 2 << len(TEMPLATE)
    else:
        left, upper, corner = _shifted(shown, 0, 1), _shifted(shown, 1, 0), _shifted(shown, 1, 1)
        smaller, larger = jnp.minimum(left, upper), jnp.maximum(left, upper)
        symbols, count = (shown - jnp.clip(left + upper - corner, smaller, larger)) % num_levels, num_levels
    counts = jax.vmap(lambda row: jnp.bincount(row, length=count))(symbols.reshape(len(symbols), -1))
    counts = counts.reshape(len(counts), -1, num_levels).astype(jnp.float32)
    log_gamma = jax.scipy.special.gammaln
    prior = jnp.float32(1 / num_levels)
    of_contexts = log_gamma(jnp.sum(counts, axis=-1) + 1)  # log Gamma(1) = 0
    of_symbols = jnp.sum(log_gamma(counts + prior) - log_gamma(prior), axis=-1)
    return jnp.minimum(jnp.sum(of_contexts - of_symbols, axis=-1), shown[0].size * math.log(num_levels))


def _shifted(levels: jax.Array, rows: int, columns: int) -> jax.Array:
    """Returns the pixels that are this many rows above and columns to the left; 0 outside the image."""
    _, height, width, _ = levels.shape
    padded = jnp.pad(levels, ((0, 0), (rows, 0), (max(columns, 0), max(-columns, 0)), (0, 0)))
    first = max(-columns, 0)
    return padded[:, :height, first : first + width]
