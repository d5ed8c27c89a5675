"""Tilings of the persistent kernel over the blocks of a Hopper GPU."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnets.recurrent.experimental.step_decomposition import DecomposedStep

INPUT_SLOTS = 2  # buffers for the inputs of a step: the current one and the next one
# Largest number of blocks that every Hopper chip runs as one cluster. The barrier of a cluster is faster than one
# through global memory.
CLUSTER_SIZE = 8
OPERAND_SPLITS = (1, 4, 8)  # slices of an operand; at most two of them are in shared memory at a time
NUM_THREADS = 128  # threads of a block, one warpgroup
MAX_COLUMNS = 256  # columns of one tensor core instruction
SHARED_MEMORY_BYTES = 227 * 1024  # shared memory of a block
NUM_PROCESSORS = 132  # streaming multiprocessors of an H100 or H200 (SXM)


class Tiling(NamedTuple):
    """The work of one block of the kernel.

    Attributes:
        rows: Rows of the batch; a multiple of 8, at most 64.
        units: Hidden units.
        folds: For each product, the number of folds of its contraction. The tensor core multiplies 64 rows at a time.
            With fewer rows per block, several slices of the contraction fill these 64 rows.
        splits: For each product, the number of slices in which its operand is loaded: 1, or more if the operand does
            not fit into shared memory.
    """

    rows: int
    units: int
    folds: tuple[int, ...]
    splits: tuple[int, ...]


def tilings(
    batch: int, hidden: int, decomposed: DecomposedStep, dtype: Any, processors: int = NUM_PROCESSORS
) -> list[Tiling]:
    """Returns all tilings that fit on the chip, in the order of their estimated time.

    Blocks wait for each other, so that all of them must run at the same time, one per processor.
    """
    fitting = []
    for rows in range(8, 65, 8):
        for units in (8, 16, 32, 64):
            groups = -(-batch // rows)
            if hidden % units or rows * units % NUM_THREADS or hidden // units * groups > processors:
                continue
            size = jnp.dtype(dtype).itemsize
            folds = tuple(_fold(rows, units, hidden, weight.shape, size) for weight in decomposed.weights)
            if 0 in folds:
                continue
            for count in OPERAND_SPLITS:
                widths = [weight.shape[0] // fold for weight, fold in zip(decomposed.weights, folds, strict=True)]
                splits = tuple(count if width * size % (count * 32) == 0 else 1 for width in widths)
                tiling = Tiling(rows, units, folds, splits)
                if _bytes(shared_memory_layout(tiling, hidden, decomposed, dtype)) <= SHARED_MEMORY_BYTES:
                    fitting.append((_estimated_microseconds(tiling, hidden, batch, decomposed, size), tiling))
                    break
    return [tiling for _, tiling in sorted(fitting)]


def _fold(rows: int, units: int, hidden: int, shape: tuple[int, ...], size: int) -> int:
    """Returns the largest number of folds that fits, or 0."""
    (contracted, wide), fold = shape, 64 // rows
    while fold:
        fits = contracted % fold == 0 and contracted // fold * size % 32 == 0
        if 64 % fold == 0 and fits and fold * wide // hidden * units <= MAX_COLUMNS:
            return fold
        fold -= 1
    return 0


def shared_memory_layout(
    tiling: Tiling, hidden: int, decomposed: DecomposedStep, dtype: Any
) -> dict[str, list[tuple[tuple[int, ...], Any]]]:
    """Returns shapes and dtypes of a block's arrays in shared memory; operands of equal shape share their memory."""
    rows, units, folds, splits = tiling
    columns = [fold * w.shape[1] // hidden * units for w, fold in zip(decomposed.weights, folds, strict=True)]
    widths = [w.shape[0] // fold for w, fold in zip(decomposed.weights, folds, strict=True)]
    operand_shapes = [(min(count, 2), 64, width // count) for width, count in zip(widths, splits, strict=True)]
    tiles = lambda *leading: ((*leading, rows, units), jnp.float32)
    num_blocks = lambda arrays: [a.shape[-1] // hidden for a in arrays]
    return {
        "weights_smem": [((wide, width), dtype) for wide, width in zip(columns, widths, strict=True)],
        "operands_smem": [(shape, dtype) for shape in dict.fromkeys(operand_shapes)],
        "products_smem": [((max(columns) // units, 64, units), jnp.float32)],
        "staging_smem": [((max(num_blocks([w.T for w in decomposed.weights])), rows, units), dtype)],
        "carry_smem": [tiles() for _ in range(decomposed.carries)],
        "constants_smem": [tiles(count) for count in num_blocks(decomposed.constants)],
        "sequences_smem": [tiles(INPUT_SLOTS, count) for count in num_blocks(decomposed.sequences)],
        "outputs_smem": [tiles(count) for count in decomposed.outputs],
    }


def _bytes(layout: dict[str, list[tuple[tuple[int, ...], Any]]]) -> int:
    arrays = [math.prod(shape) * jnp.dtype(dtype).itemsize for kind in layout.values() for shape, dtype in kind]
    return sum(-(-size // 1024) * 1024 for size in arrays) + 1024  # aligned, and the barriers


def _estimated_microseconds(tiling: Tiling, hidden: int, batch: int, decomposed: DecomposedStep, size: int) -> float:
    """Estimates the time of a step in microseconds: tensor core, operands from the L2 cache, synchronization."""
    rows, units, folds, splits = tiling
    blocks, groups = hidden // units, -(-batch // rows)
    total = 0.0
    for weight, fold, count in zip(decomposed.weights, folds, splits, strict=True):
        columns = fold * weight.shape[1] // hidden * units
        cycles = weight.shape[0] / fold * size / 32 * max(16, columns / 2)
        traffic = blocks * groups * rows * weight.shape[0] * size
        waiting = 0.3 if blocks <= CLUSTER_SIZE else 1.0 + blocks / 200
        total += cycles / 1700 + traffic / 4e6 + waiting + 0.1 * (count - 1)
    return total + rows * units / NUM_THREADS / 50
