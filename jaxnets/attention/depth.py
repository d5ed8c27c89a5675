"""Stacks of transformer blocks, with stacked parameters under a scan or separate parameters."""

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
    """Makes a stack of transformer blocks.

    Args:
        num_layers: Number of blocks.
        remat: Rematerialization: ``"none"`` saves all intermediate values for the gradient, ``"products"`` only
            products with parameters, ``"blocks"`` only the input of each block.
        scan_layers: Whether to stack the parameters and scan over layers, so that compile time does not depend on
            depth. Each step of the scan copies the parameters of its layer. That cost is negligible for many tokens,
            but dominates decoding token by token (see ``unstack``).
        **options: Attributes of ``Block``.

    Returns:
        A module with the arguments of ``Block``. Its parameters, caches and memories have a leading axis of layers;
        without ``scan_layers``, caches and memories are tuples.
    """
    check_choice("remat", remat, REMAT)
    check_integer("num_layers", num_layers)
    check_depth(num_layers=num_layers)
    block: Any = Block
    if REMAT[remat] is not None:
        block = nn.remat(Block, policy=REMAT[remat], prevent_cse=not scan_layers)
    if not scan_layers:
        name = options.pop("name", None)
        return BlockSequence(block, num_layers, options, name=name)
    over_layers: dict[str, Any] = dict(
        variable_axes={"params": 0}, split_rngs={"params": True, "dropout": True}, length=num_layers
    )
    methods = {"__call__": {**over_layers, "in_axes": (0, 0, nn.broadcast, nn.broadcast)}, "memory": over_layers}
    return nn.scan(block, methods=methods)(**options)


class BlockSequence(nn.Module):
    """Blocks with separate parameters ``block_0``, ``block_1``, ..., with the interface of the scan over blocks.

    Attributes:
        block: Class of the blocks.
        num_layers: Number of blocks.
        options: Attributes of the blocks.
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
        new_caches = []
        for i, block in enumerate(self.blocks):
            cache, memory = (None if values is None else values[i] for values in (caches, memories))
            xs, cache = block(xs, cache, memory, lengths, memory_lengths)
            new_caches.append(cache)
        return xs, None if caches is None else tuple(new_caches)
