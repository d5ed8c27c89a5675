"""A recurrence in one kernel on an NVIDIA GPU, which keeps the recurrent weights on the chip (Mosaic GPU, Hopper).

As in "Persistent RNNs: Stashing Recurrent Weights On-Chip" (Diamos et al. 2016, ICML): the kernel runs over all steps,
and each of its blocks owns some hidden units of some rows of the batch. It holds in shared memory the columns of the
weights that make those units, and in registers their carry. For a state product the blocks write their part of the
operand to global memory, wait for each other, and read the whole of it.

What a block does is in ``persistent_block.py``; what a step does between its products comes from the cell: see
``taken_apart.py``.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxnets.recurrent.experimental.persistent_block import Refs, run_block
from jaxnets.recurrent.experimental.persistent_tiling import AHEAD, CLUSTER, Tiling, room
from jaxnets.recurrent.experimental.taken_apart import Apart


def persistent_loop(
    apart: Apart,
    carry: list[jax.Array],
    length: int,
    dtype: Any,
    tiling: Tiling,
    *,
    reverse: bool,
    interpret: Any = None,
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Runs a step over all times.

    Args:
        apart: The step.
        carry: float32 ``[B, H]`` each.
        length: T, at least 1.
        dtype: Of the operands of the products; they are accumulated in float32. For float32 TF32, as XLA's own.
        tiling: One of ``tilings``.
        reverse: From the last time to the first.
        interpret: Pallas' interpreter and its settings, to run without a GPU.

    Returns:
        The last carry, and the outputs, float32 with time first.
    """
    batch, hidden = carry[0].shape
    rows, units, folds, pieces = tiling
    groups, blocks = -(-batch // rows), hidden // units
    padded = lambda a, axis: jnp.pad(a, [(0, groups * rows - batch if i == axis else 0) for i in range(a.ndim)])
    float32 = lambda a: a.astype(jnp.float32)
    weights = [_by_block(weight.astype(dtype), hidden, units) for weight in apart.weights]
    carry = [padded(float32(a), 0) for a in carry]
    constants = [padded(float32(a), 0) for a in apart.constants]
    sequences = [padded(float32(a), 1) for a in apart.sequences]
    widths = [weight.shape[0] for weight in apart.weights]
    parts = lambda arrays: [a.shape[-1] // hidden for a in arrays]

    whole = lambda count, dtype: jax.ShapeDtypeStruct((length, groups * rows, count * hidden), dtype)
    results = [
        *(jax.ShapeDtypeStruct(a.shape, jnp.float32) for a in carry),
        *(whole(count, jnp.float32) for count in apart.outputs),
        *(whole(width // hidden, dtype) for width in widths),
    ]
    places = room(tiling, hidden, apart, dtype)
    swizzles = [
        _swizzle(width // (fold * count), dtype) for width, fold, count in zip(widths, folds, pieces, strict=True)
    ]
    transforms = {
        "weights_here": swizzles,
        "operands_here": [_swizzle(shape[-1], dtype) for shape, _ in places["operands_here"]],
    }
    scratch: dict[str, Any] = {
        **{
            name: [
                plgpu.SMEM(shape, type, transforms=transform)
                for (shape, type), transform in zip(kind, transforms.get(name, [()] * len(kind)), strict=True)
            ]
            for name, kind in places.items()
        },
        "loaded": plgpu.Barrier(num_arrivals=sum(folds) + len(carry) + sum(parts(constants))),
        "arrived": [
            plgpu.Barrier(num_arrivals=fold, num_barriers=min(count, 2))
            for fold, count in zip(folds, pieces, strict=True)
        ],
        "fetched": plgpu.Barrier(num_arrivals=max(sum(parts(sequences)), 1), num_barriers=AHEAD),
    }
    mesh: dict[str, Any] = {"grid": (groups, blocks), "grid_names": ("group", "block")}
    if 1 < blocks <= CLUSTER:
        scratch["together"] = plgpu.ClusterBarrier(collective_axes=("block",))
        mesh = {"grid": (groups,), "grid_names": ("group",), "cluster": (blocks,), "cluster_names": ("block",)}
    elif blocks > 1:
        scratch["together"] = plgpu.SemaphoreType.REGULAR((groups,))

    def body(*refs, **scratch):
        counts = [len(weights), len(carry), len(constants), len(sequences), len(carry), len(apart.outputs), len(widths)]
        named = Refs(*_split(refs, counts))
        run_block(apart, length, tiling, blocks, reverse, named, **scratch)

    kernel = plgpu.kernel(
        body,
        out_type=results,
        scratch_types=scratch,
        compiler_params=plgpu.CompilerParams(
            lowering_semantics=plgpu.LoweringSemantics.Lane,
            # Barriers around every access would be a third of a step. Those that are needed are here: commit_smem and
            # wait_smem_to_gmem are barriers of a block's threads, too.
            unsafe_no_auto_barriers=True,
        ),
        interpret=interpret,
        **mesh,
    )
    found = kernel(*weights, *carry, *constants, *sequences)
    last, outputs = found[: len(carry)], found[len(carry) : len(carry) + len(apart.outputs)]
    return [a[:batch] for a in last], [a[:, :batch] for a in outputs]


def _split(refs: Sequence[Any], counts: Sequence[int]) -> list[list]:
    remaining = iter(refs)
    return [[next(remaining) for _ in range(count)] for count in counts]


def _by_block(weight: jax.Array, hidden: int, units: int) -> jax.Array:
    """``[K, g H]`` as ``[blocks, g units, K]``: the columns of each block's units."""
    contracted, wide = weight.shape
    parted = weight.reshape(contracted, wide // hidden, hidden // units, units)
    return parted.transpose(2, 1, 3, 0).reshape(hidden // units, -1, contracted)


def _swizzle(width: int, dtype: Any) -> tuple:
    """How the tensor core wants the rows of a matrix in shared memory."""
    size = jnp.dtype(dtype).itemsize
    swizzle = next(bytes for bytes in (128, 64, 32) if width * size % bytes == 0)
    return plgpu.TilingTransform((8, swizzle // size)), plgpu.SwizzleTransform(swizzle)
