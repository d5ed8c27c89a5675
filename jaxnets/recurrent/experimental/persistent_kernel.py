"""A recurrence in one kernel on an NVIDIA GPU, which keeps the recurrent weights on the chip (Mosaic GPU, Hopper).

As in "Persistent RNNs: Stashing Recurrent Weights On-Chip" (Diamos et al. 2016, ICML): the kernel runs over all steps,
and each of its blocks owns some hidden units of some rows of the batch. It holds in shared memory the columns of the
weights that make those units, and in registers their carry. For a state product the blocks write their part of the
operand to global memory, wait for each other, and read the whole of it.

What a step does between its products comes from the cell: see ``taken_apart.py``.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

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
        named = _Refs(*_split(refs, counts))
        _block(apart, length, tiling, blocks, reverse, named, **scratch)

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


class _Refs(NamedTuple):
    """In global memory."""

    weights: list
    carry: list
    constants: list
    sequences: list
    last: list
    outputs: list
    operands: list


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


def _block(
    apart: Apart,
    length: int,
    tiling: Tiling,
    blocks: int,
    reverse: bool,
    refs: _Refs,
    *,
    weights_here,
    operands_here,
    made,
    staged,
    carry_here,
    constants_here,
    sequences_here,
    outputs_here,
    loaded,
    arrived,
    fetched,
    together=None,
) -> None:
    """What one block does: all steps of its units, for its rows."""
    (made,), (staged,) = made, staged
    rows, units, folds, pieces = tiling
    group, block = lax.axis_index("group"), lax.axis_index("block")
    ours = pl.ds(group * rows, rows)
    hidden = units * blocks
    columns = lambda part: pl.ds(part * hidden + block * units, units)
    at = lambda time: length - 1 - time if reverse else time

    def load():
        for ref, here, fold in zip(refs.weights, weights_here, folds, strict=True):
            wide, width = ref.shape[1], ref.shape[2] // fold
            for i in range(fold):
                source = ref.at[block, :, pl.ds(i * width, width)]
                plgpu.copy_gmem_to_smem(source, here.at[pl.ds(i * wide, wide)], loaded)
        for ref, here in zip(refs.carry, carry_here, strict=True):
            plgpu.copy_gmem_to_smem(ref.at[ours, columns(0)], here, loaded)
        for ref, here in zip(refs.constants, constants_here, strict=True):
            for part in range(here.shape[0]):
                plgpu.copy_gmem_to_smem(ref.at[ours, columns(part)], here.at[part], loaded)

    def fetch(time):
        """Begins to read the inputs of a step."""
        slot = lax.rem(time, AHEAD)
        for ref, here in zip(refs.sequences, sequences_here, strict=True):
            for part in range(here.shape[1]):
                source = ref.at[at(time), ours, columns(part)]
                plgpu.copy_gmem_to_smem(source, here.at[slot, part], fetched.at[slot])

    def put_out(time):
        """Begins to write the outputs of a step."""
        for ref, here in zip(refs.outputs, outputs_here, strict=True):
            for part in range(here.shape[0]):
                plgpu.copy_smem_to_gmem(here.at[part], ref.at[at(time), ours, columns(part)])

    def meanwhile(time):
        """What takes no part in a step's result: outputs of the step before go out, inputs of the next one come in."""

        @pl.when(time > 0)
        def _():
            put_out(time - 1)

        if refs.sequences:

            @pl.when(time + 1 < length)
            def _():
                fetch(time + 1)

    def meet(time, product):
        """All blocks of a group have written their part of an operand."""
        if blocks > CLUSTER:
            plgpu.semaphore_signal(together.at[group], memory_scope="gpu")
        elif blocks > 1:
            plgpu.barrier_arrive(together)
        if product == 0:
            meanwhile(time)
        if blocks > CLUSTER:
            count = (time * len(folds) + product + 1) * blocks
            plgpu.semaphore_wait(together.at[group], value=count, decrement=False, memory_scope="gpu")
        elif blocks > 1:
            plgpu.barrier_wait(together)

    def product(time, i, operand):
        fold, ref = folds[i], refs.operands[i]
        whole, width = ref.shape[2] // fold, ref.shape[2] // (fold * pieces[i])
        (here,) = [one for one in operands_here if one.shape == (min(pieces[i], 2), 64, width)]
        for part, value in enumerate(operand):
            staged[part] = value.astype(here.dtype)
        plgpu.commit_smem()
        for part in range(len(operand)):
            plgpu.copy_smem_to_gmem(staged.at[part], ref.at[time, ours, columns(part)])
        plgpu.wait_smem_to_gmem(0, wait_read_only=False)
        meet(time, i)

        def read(piece):
            slot = piece % 2
            for k in range(fold):
                source = ref.at[time, ours, pl.ds(k * whole + piece * width, width)]
                plgpu.copy_gmem_to_smem(source, here.at[slot, pl.ds(k * rows, rows)], arrived[i].at[slot])

        def multiplied(sums):
            for piece in range(pieces[i]):
                plgpu.barrier_wait(arrived[i].at[piece % 2])
                weights = weights_here[i].at[:, pl.ds(piece * width, width)]
                plgpu.wgmma(sums, here.at[piece % 2], weights.transpose((1, 0)))
                if 1 <= piece < pieces[i] - 1:
                    plgpu.wgmma_wait(1)
                    plgpu.commit_smem()  # all threads have done with the piece before: its room is free
                    read(piece + 1)
            plgpu.wgmma_wait(0)
            return sums[...]

        for piece in range(min(pieces[i], 2)):
            read(piece)
        parts = weights_here[i].shape[0] // units
        sums = pl.run_scoped(multiplied, plgpu.ACC((64, parts * units), jnp.float32))
        for part in range(parts):
            made[part] = sums[:, part * units : (part + 1) * units]
        plgpu.commit_smem()
        # Part k of the contraction has its rows and its columns; what other parts' columns made of them is no use.
        gates = parts // fold
        mine = lambda gate, k: made[k * gates + gate, pl.ds(k * rows, rows)]
        return tuple(functools.reduce(jnp.add, [mine(gate, k) for k in range(fold)]) for gate in range(gates))

    def step(time, carry):
        slot = lax.rem(time, AHEAD)
        if refs.sequences:
            plgpu.barrier_wait(fetched.at[slot])
        inputs = [tuple(here[slot, part] for part in range(here.shape[1])) for here in sequences_here]
        constants = [tuple(here[part] for part in range(here.shape[0])) for here in constants_here]
        dot = functools.partial(product, time)
        new, outputs = apart.run([(leaf,) for leaf in carry], inputs, constants, dot)
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)
        for here, value in zip(outputs_here, outputs, strict=True):
            for part, one in enumerate(value):
                here[part] = one.astype(jnp.float32)
        plgpu.commit_smem()
        return tuple(leaf for (leaf,) in new)

    load()
    if refs.sequences:
        fetch(0)
    plgpu.barrier_wait(loaded)
    last = lax.fori_loop(0, length, step, tuple(here[...] for here in carry_here))
    put_out(length - 1)
    for here, leaf in zip(carry_here, last, strict=True):
        here[...] = leaf
    plgpu.commit_smem()
    for here, ref in zip(carry_here, refs.last, strict=True):
        plgpu.copy_smem_to_gmem(here, ref.at[ours, columns(0)])
    plgpu.wait_smem_to_gmem(0)
