"""One block of the persistent kernel: all steps of some hidden units, for some rows of the batch."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxnets.recurrent.experimental.persistent_tiling import AHEAD, CLUSTER, Tiling
from jaxnets.recurrent.experimental.taken_apart import Apart


class Refs(NamedTuple):
    """In global memory."""

    weights: list
    carry: list
    constants: list
    sequences: list
    last: list
    outputs: list
    operands: list


def run_block(
    apart: Apart,
    length: int,
    tiling: Tiling,
    blocks: int,
    reverse: bool,
    refs: Refs,
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
