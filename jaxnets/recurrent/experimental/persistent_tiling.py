"""How the work of the persistent kernel is divided among the blocks of a Hopper GPU."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnets.recurrent.experimental.taken_apart import Apart

AHEAD = 2  # steps whose inputs are in shared memory: this one's, and the next one's on their way
CLUSTER = 8  # blocks that any Hopper chip runs as one cluster, whose barrier is faster than one through global memory
PIECES = (1, 4, 8)  # of an operand: the whole, or two of more in shared memory at a time
LANES = 128  # threads of a warpgroup, which is what a block consists of
WIDEST = 256  # columns that one tensor core instruction multiplies with
SHARED = 227 * 1024  # bytes of shared memory that a block can have
PROCESSORS = 132  # of an H100 or H200 (SXM)


class Tiling(NamedTuple):
    """How a recurrence is divided.

    Attributes:
        rows: Of the batch, of a block; a multiple of 8, at most 64.
        units: Hidden units of a block.
        folds: For each product, into how many parts its contraction is folded. The tensor core multiplies 64 rows at a
            time; a fold puts the parts of fewer rows beside each other there, instead of nothing.
        pieces: For each product, in how many pieces its operand is read: 1, or more where it does not fit as a whole.
    """

    rows: int
    units: int
    folds: tuple[int, ...]
    pieces: tuple[int, ...]


def tilings(batch: int, hidden: int, apart: Apart, dtype: Any, processors: int = PROCESSORS) -> list[Tiling]:
    """All divisions that fit the chip, the one that is thought to be the fastest first.

    Blocks wait for each other: there are never more than run at the same time, one on each processor.
    """
    found = []
    for rows in range(8, 65, 8):
        for units in (8, 16, 32, 64):
            groups = -(-batch // rows)
            if hidden % units or rows * units % LANES or hidden // units * groups > processors:
                continue
            size = jnp.dtype(dtype).itemsize
            folds = tuple(_fold(rows, units, hidden, weight.shape, size) for weight in apart.weights)
            if 0 in folds:
                continue
            for most in PIECES:
                widths = [weight.shape[0] // fold for weight, fold in zip(apart.weights, folds, strict=True)]
                pieces = tuple(most if width * size % (most * 32) == 0 else 1 for width in widths)
                tiling = Tiling(rows, units, folds, pieces)
                if _bytes(room(tiling, hidden, apart, dtype)) <= SHARED:
                    found.append((_cost(tiling, hidden, batch, apart, size), tiling))
                    break
    return [tiling for _, tiling in sorted(found)]


def _fold(rows: int, units: int, hidden: int, shape: tuple[int, ...], size: int) -> int:
    """The largest number of parts that fits; 0: not even one does."""
    (contracted, wide), fold = shape, 64 // rows
    while fold:
        fits = contracted % fold == 0 and contracted // fold * size % 32 == 0
        if 64 % fold == 0 and fits and fold * wide // hidden * units <= WIDEST:
            return fold
        fold -= 1
    return 0


def room(tiling: Tiling, hidden: int, apart: Apart, dtype: Any) -> dict[str, list[tuple[tuple[int, ...], Any]]]:
    """What a block has in shared memory: shapes and types. Products with operands alike share the room for them."""
    rows, units, folds, pieces = tiling
    columns = [fold * w.shape[1] // hidden * units for w, fold in zip(apart.weights, folds, strict=True)]
    widths = [w.shape[0] // fold for w, fold in zip(apart.weights, folds, strict=True)]
    read = [(min(count, 2), 64, width // count) for width, count in zip(widths, pieces, strict=True)]
    tiles = lambda *lead: ((*lead, rows, units), jnp.float32)
    parts = lambda arrays: [a.shape[-1] // hidden for a in arrays]
    return {
        "weights_here": [((wide, width), dtype) for wide, width in zip(columns, widths, strict=True)],
        "operands_here": [(shape, dtype) for shape in dict.fromkeys(read)],
        "made": [((max(columns) // units, 64, units), jnp.float32)],
        "staged": [((max(parts([w.T for w in apart.weights])), rows, units), dtype)],
        "carry_here": [tiles() for _ in range(apart.carries)],
        "constants_here": [tiles(count) for count in parts(apart.constants)],
        "sequences_here": [tiles(AHEAD, count) for count in parts(apart.sequences)],
        "outputs_here": [tiles(count) for count in apart.outputs],
    }


def _bytes(places: dict[str, list[tuple[tuple[int, ...], Any]]]) -> int:
    arrays = [math.prod(shape) * jnp.dtype(dtype).itemsize for kind in places.values() for shape, dtype in kind]
    return sum(-(-size // 1024) * 1024 for size in arrays) + 1024  # aligned, and the barriers


def _cost(tiling: Tiling, hidden: int, batch: int, apart: Apart, size: int) -> float:
    """Microseconds a step, roughly: tensor core, operands from the L2 cache, waiting for each other."""
    rows, units, folds, pieces = tiling
    blocks, groups = hidden // units, -(-batch // rows)
    total = 0.0
    for weight, fold, count in zip(apart.weights, folds, pieces, strict=True):
        columns = fold * weight.shape[1] // hidden * units
        cycles = weight.shape[0] / fold * size / 32 * max(16, columns / 2)
        traffic = blocks * groups * rows * weight.shape[0] * size
        waiting = 0.3 if blocks <= CLUSTER else 1.0 + blocks / 200
        total += cycles / 1700 + traffic / 4e6 + waiting + 0.1 * (count - 1)
    return total + rows * units / LANES / 50
