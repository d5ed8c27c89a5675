"""Recurrence as one kernel on an NVIDIA Hopper GPU, with the recurrent weights on the chip (Pallas Mosaic GPU).

The kernel follows "Persistent RNNs: Stashing Recurrent Weights On-Chip" (Diamos et al. 2016, ICML). It runs all steps,
and each of its blocks computes some hidden units of some rows of the batch. A block holds the weight columns of its
units in shared memory and their carry in registers. For a state product, each block stores its slice of the operand to
global memory, waits for the other blocks, and loads the whole operand.

The program of a block is in ``persistent_block.py``. The operations between the products come from the cell, see
``step_decomposition.py``.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxnets.recurrent.experimental.persistent_block import Refs, run_block
from jaxnets.recurrent.experimental.persistent_tiling import CLUSTER_SIZE, INPUT_SLOTS, Tiling, shared_memory_layout
from jaxnets.recurrent.experimental.step_decomposition import DecomposedStep


def persistent_loop(
    decomposed: DecomposedStep,
    carry: list[jax.Array],
    length: int,
    dtype: Any,
    tiling: Tiling,
    *,
    reverse: bool,
    interpret: Any = None,
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Runs a decomposed step over a sequence.

    Args:
        decomposed: The step.
        carry: Arrays ``[B, H]`` in float32.
        length: T, at least 1.
        dtype: The dtype of the operands of products, which are accumulated in float32. float32 operands are multiplied
            in TF32, as XLA does.
        tiling: One of ``tilings``.
        reverse: Whether to run from the last step to the first.
        interpret: Settings of the Pallas interpreter, which runs without a GPU.

    Returns:
        The last carry, and the outputs in float32, with time first.
    """
    batch, hidden = carry[0].shape
    rows, units, folds, splits = tiling
    groups, blocks = -(-batch // rows), hidden // units
    padded = lambda a, axis: jnp.pad(a, [(0, groups * rows - batch if i == axis else 0) for i in range(a.ndim)])
    float32 = lambda a: a.astype(jnp.float32)
    weights = [_block_weights(weight.astype(dtype), hidden, units) for weight in decomposed.weights]
    carry = [padded(float32(a), 0) for a in carry]
    constants = [padded(float32(a), 0) for a in decomposed.constants]
    sequences = [padded(float32(a), 1) for a in decomposed.sequences]
    widths = [weight.shape[0] for weight in decomposed.weights]
    num_blocks = lambda arrays: [a.shape[-1] // hidden for a in arrays]

    output_shape = lambda count, dtype: jax.ShapeDtypeStruct((length, groups * rows, count * hidden), dtype)
    results = [
        *(jax.ShapeDtypeStruct(a.shape, jnp.float32) for a in carry),
        *(output_shape(count, jnp.float32) for count in decomposed.outputs),
        *(output_shape(width // hidden, dtype) for width in widths),
    ]
    layout = shared_memory_layout(tiling, hidden, decomposed, dtype)
    swizzles = [
        _swizzle(width // (fold * count), dtype) for width, fold, count in zip(widths, folds, splits, strict=True)
    ]
    transforms = {
        "weights_smem": swizzles,
        "operands_smem": [_swizzle(shape[-1], dtype) for shape, _ in layout["operands_smem"]],
    }
    scratch: dict[str, Any] = {
        **{
            name: [
                plgpu.SMEM(shape, type, transforms=transform)
                for (shape, type), transform in zip(kind, transforms.get(name, [()] * len(kind)), strict=True)
            ]
            for name, kind in layout.items()
        },
        "load_barrier": plgpu.Barrier(num_arrivals=sum(folds) + len(carry) + sum(num_blocks(constants))),
        "operand_barriers": [
            plgpu.Barrier(num_arrivals=fold, num_barriers=min(count, 2))
            for fold, count in zip(folds, splits, strict=True)
        ],
        "input_barriers": plgpu.Barrier(num_arrivals=max(sum(num_blocks(sequences)), 1), num_barriers=INPUT_SLOTS),
    }
    mesh: dict[str, Any] = {"grid": (groups, blocks), "grid_names": ("group", "block")}
    if 1 < blocks <= CLUSTER_SIZE:
        scratch["group_barrier"] = plgpu.ClusterBarrier(collective_axes=("block",))
        mesh = {"grid": (groups,), "grid_names": ("group",), "cluster": (blocks,), "cluster_names": ("block",)}
    elif blocks > 1:
        scratch["group_barrier"] = plgpu.SemaphoreType.REGULAR((groups,))

    def body(*refs, **scratch):
        counts = [
            len(weights),
            len(carry),
            len(constants),
            len(sequences),
            len(carry),
            len(decomposed.outputs),
            len(widths),
        ]
        named = Refs(*_split(refs, counts))
        run_block(decomposed, length, tiling, blocks, reverse, named, **scratch)

    kernel = plgpu.kernel(
        body,
        out_type=results,
        scratch_types=scratch,
        compiler_params=plgpu.CompilerParams(
            lowering_semantics=plgpu.LoweringSemantics.Lane,
            # Automatic barriers around every access would take a third of a step. commit_smem and wait_smem_to_gmem
            # also synchronize the threads of a block, where that is necessary.
            unsafe_no_auto_barriers=True,
        ),
        interpret=interpret,
        **mesh,
    )
    arrays = kernel(*weights, *carry, *constants, *sequences)
    last, outputs = arrays[: len(carry)], arrays[len(carry) : len(carry) + len(decomposed.outputs)]
    return [a[:batch] for a in last], [a[:, :batch] for a in outputs]


def _split(refs: Sequence[Any], counts: Sequence[int]) -> list[list]:
    remaining = iter(refs)
    return [[next(remaining) for _ in range(count)] for count in counts]


def _block_weights(weight: jax.Array, hidden: int, units: int) -> jax.Array:
    """Rearranges a weight ``[K, g H]`` to ``[blocks, g units, K]``: the columns of the units of each block."""
    contracted, width = weight.shape
    blocks = weight.reshape(contracted, width // hidden, hidden // units, units)
    return blocks.transpose(2, 1, 3, 0).reshape(hidden // units, -1, contracted)


def _swizzle(width: int, dtype: Any) -> tuple:
    """Returns the layout of a matrix in shared memory that the tensor core requires."""
    size = jnp.dtype(dtype).itemsize
    swizzle = next(bytes for bytes in (128, 64, 32) if width * size % bytes == 0)
    return plgpu.TilingTransform((8, swizzle // size)), plgpu.SwizzleTransform(swizzle)
