"""Samples of autoregressive models of images, row by row."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Float, Key

Step = Callable[[jax.Array, Any], tuple[jax.Array, Any]]


def sample_images(
    step: Step,
    draw: Callable[[jax.Array, jax.Array], jax.Array],
    keys: Key[Array, " B"],
    shape: tuple[int, int, int],
    rows: int = 1,
    groups: int = 1,
) -> Float[Array, "B H W C"]:
    """Samples images in raster order; each pixel needs one pass over a block of rows instead of the whole image.

    Args:
        step: ``(pixels [B, rows, W, C], carry) -> (outputs [B, rows, W, ...], carry)``, the network on the next rows,
            where the outputs at a pixel depend on the pixels before it. The first carry is None, and later ones are
            the last rows of all layers, see ``causal.Rows``.
        draw: ``(key, outputs [...]) -> pixel [C]``, a sample for one pixel of one image.
        keys: One random key for each image ``[B]``, so that an image does not depend on the others.
        shape: ``(H, W, C)``.
        rows: Rows of a block, a divisor of H.
        groups: Passes for each pixel, each of which samples an equal part of the channels, in order.

    Returns:
        ``[B, H, W, C]``, float32.
    """
    height, width, channels = shape
    group = jnp.arange(channels, dtype=jnp.int32) * groups // channels
    draw_all = jax.vmap(draw)
    empty = jnp.zeros((len(keys), rows, width, channels), jnp.float32)
    first = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(lambda: step(empty, None)[1]))

    def place(block: jax.Array, carry: Any, index: jax.Array, position: jax.Array) -> jax.Array:
        pixel, part = position // groups, position % groups
        row, column = pixel // width, pixel % width
        outputs, _ = step(block, carry)
        at = outputs[:, row, column]
        count = (index * rows * width * groups + position).astype(jnp.uint32)
        drawn = draw_all(jax.vmap(jax.random.fold_in, (0, None))(keys, count), at)
        old = block[:, row, column]
        return block.at[:, row, column].set(jnp.where((group == part)[None], drawn.astype(block.dtype), old))

    def next_block(carry: Any, index: jax.Array) -> tuple[Any, jax.Array]:
        block = jax.lax.fori_loop(
            0, rows * width * groups, lambda i, block: place(block, carry, index, jnp.int32(i)), empty
        )
        return step(block, carry)[1], block

    _, blocks = jax.lax.scan(next_block, first, jnp.arange(height // rows, dtype=jnp.int32))
    return jnp.moveaxis(blocks, 0, 1).reshape(len(keys), height, width, channels)
