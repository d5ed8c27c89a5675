"""One block of the persistent kernel: all steps of some hidden units, for some rows of the batch."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxnets.recurrent.experimental.persistent_tiling import CLUSTER_SIZE, INPUT_SLOTS, Tiling
from jaxnets.recurrent.experimental.step_decomposition import DecomposedStep


class Refs(NamedTuple):
    """References to arrays in global memory."""

    weights: list
    carry: list
    constants: list
    sequences: list
    last: list
    outputs: list
    operands: list


def run_block(
    decomposed: DecomposedStep,
    length: int,
    tiling: Tiling,
    blocks: int,
    reverse: bool,
    refs: Refs,
    *,
    weights_smem,
    operands_smem,
    products_smem,
    staging_smem,
    carry_smem,
    constants_smem,
    sequences_smem,
    outputs_smem,
    load_barrier,
    operand_barriers,
    input_barriers,
    group_barrier=None,
) -> None:
    """Runs one block of the kernel: all steps of its units, for its rows."""
    (products_smem,), (staging_smem,) = products_smem, staging_smem
    rows, units, folds, splits = tiling
    group, block = lax.axis_index("group"), lax.axis_index("block")
    row_slice = pl.ds(group * rows, rows)
    hidden = units * blocks
    columns = lambda gate: pl.ds(gate * hidden + block * units, units)
    at = lambda time: length - 1 - time if reverse else time

    def load():
        for ref, smem, fold in zip(refs.weights, weights_smem, folds, strict=True):
            wide, width = ref.shape[1], ref.shape[2] // fold
            for i in range(fold):
                source = ref.at[block, :, pl.ds(i * width, width)]
                plgpu.copy_gmem_to_smem(source, smem.at[pl.ds(i * wide, wide)], load_barrier)
        for ref, smem in zip(refs.carry, carry_smem, strict=True):
            plgpu.copy_gmem_to_smem(ref.at[row_slice, columns(0)], smem, load_barrier)
        for ref, smem in zip(refs.constants, constants_smem, strict=True):
            for gate in range(smem.shape[0]):
                plgpu.copy_gmem_to_smem(ref.at[row_slice, columns(gate)], smem.at[gate], load_barrier)

    def prefetch(time):
        """Starts to load the inputs of a step."""
        slot = lax.rem(time, INPUT_SLOTS)
        for ref, smem in zip(refs.sequences, sequences_smem, strict=True):
            for gate in range(smem.shape[1]):
                source = ref.at[at(time), row_slice, columns(gate)]
                plgpu.copy_gmem_to_smem(source, smem.at[slot, gate], input_barriers.at[slot])

    def store_outputs(time):
        """Starts to store the outputs of a step."""
        for ref, smem in zip(refs.outputs, outputs_smem, strict=True):
            for gate in range(smem.shape[0]):
                plgpu.copy_smem_to_gmem(smem.at[gate], ref.at[at(time), row_slice, columns(gate)])

    def overlap_copies(time):
        """Starts copies that overlap with this step: the outputs of the previous step and the inputs of the next."""

        @pl.when(time > 0)
        def _():
            store_outputs(time - 1)

        if refs.sequences:

            @pl.when(time + 1 < length)
            def _():
                prefetch(time + 1)

    def synchronize(time, product):
        """Waits until all blocks of a group have stored their slices of an operand."""
        if blocks > CLUSTER_SIZE:
            plgpu.semaphore_signal(group_barrier.at[group], memory_scope="gpu")
        elif blocks > 1:
            plgpu.barrier_arrive(group_barrier)
        if product == 0:
            overlap_copies(time)
        if blocks > CLUSTER_SIZE:
            count = (time * len(folds) + product + 1) * blocks
            plgpu.semaphore_wait(group_barrier.at[group], value=count, decrement=False, memory_scope="gpu")
        elif blocks > 1:
            plgpu.barrier_wait(group_barrier)

    def product(time, i, operand):
        fold, ref = folds[i], refs.operands[i]
        fold_width, width = ref.shape[2] // fold, ref.shape[2] // (fold * splits[i])
        (smem,) = [ref for ref in operands_smem if ref.shape == (min(splits[i], 2), 64, width)]
        for gate, value in enumerate(operand):
            staging_smem[gate] = value.astype(smem.dtype)
        plgpu.commit_smem()
        for gate in range(len(operand)):
            plgpu.copy_smem_to_gmem(staging_smem.at[gate], ref.at[time, row_slice, columns(gate)])
        plgpu.wait_smem_to_gmem(0, wait_read_only=False)
        synchronize(time, i)

        def load_slice(split):
            slot = split % 2
            for k in range(fold):
                source = ref.at[time, row_slice, pl.ds(k * fold_width + split * width, width)]
                plgpu.copy_gmem_to_smem(source, smem.at[slot, pl.ds(k * rows, rows)], operand_barriers[i].at[slot])

        def multiply(sums):
            for split in range(splits[i]):
                plgpu.barrier_wait(operand_barriers[i].at[split % 2])
                weights = weights_smem[i].at[:, pl.ds(split * width, width)]
                plgpu.wgmma(sums, smem.at[split % 2], weights.transpose((1, 0)))
                if 1 <= split < splits[i] - 1:
                    plgpu.wgmma_wait(1)
                    plgpu.commit_smem()  # all threads have used the previous slice, which may now be overwritten
                    load_slice(split + 1)
            plgpu.wgmma_wait(0)
            return sums[...]

        for split in range(min(splits[i], 2)):
            load_slice(split)
        num_columns = weights_smem[i].shape[0] // units
        sums = pl.run_scoped(multiply, plgpu.ACC((64, num_columns * units), jnp.float32))
        for gate in range(num_columns):
            products_smem[gate] = sums[:, gate * units : (gate + 1) * units]
        plgpu.commit_smem()
        # Fold k of the contraction has its own rows and columns; products with the columns of other folds are unused.
        gates = num_columns // fold
        fold_block = lambda gate, k: products_smem[k * gates + gate, pl.ds(k * rows, rows)]
        return tuple(functools.reduce(jnp.add, [fold_block(gate, k) for k in range(fold)]) for gate in range(gates))

    def step(time, carry):
        slot = lax.rem(time, INPUT_SLOTS)
        if refs.sequences:
            plgpu.barrier_wait(input_barriers.at[slot])
        inputs = [tuple(smem[slot, gate] for gate in range(smem.shape[1])) for smem in sequences_smem]
        constants = [tuple(smem[gate] for gate in range(smem.shape[0])) for smem in constants_smem]
        dot = functools.partial(product, time)
        new, outputs = decomposed.run([(leaf,) for leaf in carry], inputs, constants, dot)
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)
        for smem, value in zip(outputs_smem, outputs, strict=True):
            for gate, array in enumerate(value):
                smem[gate] = array.astype(jnp.float32)
        plgpu.commit_smem()
        return tuple(leaf for (leaf,) in new)

    load()
    if refs.sequences:
        prefetch(0)
    plgpu.barrier_wait(load_barrier)
    last = lax.fori_loop(0, length, step, tuple(smem[...] for smem in carry_smem))
    store_outputs(length - 1)
    for smem, leaf in zip(carry_smem, last, strict=True):
        smem[...] = leaf
    plgpu.commit_smem()
    for smem, ref in zip(carry_smem, refs.last, strict=True):
        plgpu.copy_smem_to_gmem(smem, ref.at[row_slice, columns(0)])
    plgpu.wait_smem_to_gmem(0)
