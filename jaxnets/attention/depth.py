"""Blocks one after the other: their parameters stacked and run by one scan, or apart."""

from typing import Any

import jax
from flax import linen as nn

from jaxnets.attention.blocks import Block
from jaxnets.attention.cache import Cache
from jaxnets.ops.checks import check_choice, check_depth, check_integer

REMAT: dict[str, Any] = {
    "none": None,
    "products": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "blocks": jax.checkpoint_policies.nothing_saveable,
}


def stack(num_layers: int, remat: str = "none", scan_layers: bool = True, **options: Any) -> nn.Module:
    """``num_layers`` blocks one after the other.

    Args:
        num_layers: How many.
        remat: What the gradient finds again instead of computing it once more: ``"none"``: everything is kept;
            ``"products"``: products with parameters are; ``"blocks"``: only each block's input is.
        scan_layers: Whether their parameters are stacked and one scan runs over depth, so that the time to compile does
            not depend on it. Each step of the scan copies its layer's parameters: nothing where they meet many tokens,
            most of the time where tokens are written one by one (see ``unstack``).
        **options: Of ``Block``.

    Returns:
        A module called like ``Block``; where stacked, caches, memories and parameters begin with an axis of layers,
        else caches and memories are tuples.
    """
    check_choice("remat", remat, REMAT)
    check_integer("num_layers", num_layers)
    check_depth(num_layers=num_layers)
    block: Any = Block
    if REMAT[remat] is not None:
        block = nn.remat(Block, policy=REMAT[remat], prevent_cse=not scan_layers)
    if not scan_layers:
        name = options.pop("name", None)
        return Chain(block, num_layers, options, name=name)
    over_depth: dict[str, Any] = dict(
        variable_axes={"params": 0}, split_rngs={"params": True, "dropout": True}, length=num_layers
    )
    methods = {"__call__": {**over_depth, "in_axes": (0, 0, nn.broadcast, nn.broadcast)}, "memory": over_depth}
    return nn.scan(block, methods=methods)(**options)


class Chain(nn.Module):
    """Blocks with parameters of their own, ``block_0`` and so on, called like the scan of them.

    Attributes:
        block: The class.
        num_layers: How many.
        options: Its attributes.
    """

    block: Any
    num_layers: int
    options: dict[str, Any]

    def setup(self):
        self.blocks = [self.block(**self.options, name=f"block_{i}") for i in range(self.num_layers)]

    def memory(self, memory: jax.Array) -> tuple[jax.Array, tuple[tuple[jax.Array, jax.Array], ...]]:
        return memory, tuple(block.memory(memory)[1] for block in self.blocks)

    def __call__(
        self,
        xs: jax.Array,
        caches: tuple[Cache, ...] | None = None,
        memories: tuple[tuple[jax.Array, jax.Array], ...] | None = None,
        lengths: jax.Array | None = None,
        memory_lengths: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple[Cache, ...] | None]:
        after = []
        for i, block in enumerate(self.blocks):
            cache, memory = (None if each is None else each[i] for each in (caches, memories))
            xs, cache = block(xs, cache, memory, lengths, memory_lengths)
            after.append(cache)
        return xs, None if caches is None else tuple(after)
