"""Checks of the persistent kernel, in the Pallas interpreter, against the sequential method.

The interpreter runs the blocks of the kernel as threads that wait for each other. Checks with several blocks must run
in a separate process with more threads than processors.
"""

from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
from all_cells import problem, wide
from jax._src.pallas.mosaic_gpu.interpret import gpu_callbacks
from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

from jaxnets import recurrent
from jaxnets.recurrent.experimental import persistent_tiling


def transposing(wgmma):
    """Adds transposed operands to ``wgmma`` of the interpreter of JAX 0.10."""

    def wrapped(*, b_transforms, **arguments):
        multiply = np.matmul
        assert [type(transform).__name__ for transform in b_transforms][-1] == "TransposeTransform"
        with mock.patch.object(np, "matmul", lambda a, b, dtype: multiply(a, b.T, dtype=dtype)):
            return wgmma(b_transforms=b_transforms[:-1], **arguments)

    return wrapped


if jax.__version_info__ < (0, 11):
    gpu_callbacks.wgmma = transposing(gpu_callbacks.wgmma)


def interpreted_method(sizes, **settings):
    """Returns the method in the interpreter, with block sizes ``(rows, units)``."""
    return recurrent.Persistent(sizes=sizes, interpret=InterpretGPUParams(**settings))


def check(cell, sizes, length, batch, dtype=jnp.float32, tolerance=1e-5, **options):
    params, xs, carry = problem(cell, length, batch)
    carry = jax.tree.map(lambda a: a + jax.random.normal(jax.random.key(7), a.shape), carry)

    def results_and_gradients(method):
        def f(params, xs, carry):
            last, ys = recurrent.scan(cell, params, xs.astype(dtype), carry, method=method, **options)
            weights = jnp.cos(jnp.arange(ys.size, dtype=wide(ys))).reshape(ys.shape)
            return jnp.sum(weights * (ys**2).astype(weights.dtype)) + sum(
                jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(last)
            ), (last, ys)

        return jax.block_until_ready(jax.jit(jax.grad(f, (0, 1, 2), has_aux=True))(params, xs, carry))

    actual, expected = results_and_gradients(interpreted_method(sizes)), results_and_gradients("sequential")
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    chex.assert_trees_all_close(actual, expected, rtol=tolerance, atol=tolerance)


RAGGED = {"lengths": jnp.array([4, 0, 1]), "resets": jax.random.bernoulli(jax.random.key(9), 0.3, (3, 4))}


def one_block():
    check(recurrent.lstm(16), (8, 16), 4, (3,), **RAGGED)


def one_block_with_batch_axes_in_bfloat16():
    check(recurrent.peephole_lstm(16), (8, 16), 1, (2, 1), jnp.bfloat16, 2e-2)


def cluster_of_blocks():
    check(recurrent.lstm(32), (16, 16), 4, (3,), **RAGGED)
    check(recurrent.gru(32, "after"), (16, 8), 3, (3,), reverse=True)


def two_products_per_step():
    check(recurrent.gru(32), (16, 8), 4, (3,), **RAGGED)
    check(recurrent.mgu(32), (8, 16), 2, (3,), jnp.float16, 1e-2)


def several_groups_of_rows():
    check(recurrent.elman(32), (8, 16), 3, (17,))
    check(recurrent.learned_carry(recurrent.lstm(32)), (8, 16), 3, (9,))


def folded_contractions():
    check(recurrent.lstm(64), (64, 16), 2, (60,))  # 64 rows: one fold
    check(recurrent.lstm(64), (24, 16), 2, (20,))  # 24 rows: two folds, a third of the rows of a block is unused
    check(recurrent.lstm(64), (8, 16), 2, (5,))  # forward four folds, backward eight


def split_operands():
    for splits in (4, 8):
        with mock.patch.object(persistent_tiling, "OPERAND_SPLITS", (splits,)):
            check(recurrent.gru(64, "after"), (32, 16), 3, (20,))
            no_races_between_blocks(64)


def no_races_between_blocks(hidden=32):
    cell, sizes = recurrent.gru(hidden), (16, hidden // 4)
    params, xs, carry = problem(cell, 4, (16,))
    run = lambda xs: recurrent.scan(cell, params, xs, carry, method=interpreted_method(sizes, detect_races=True))
    jax.block_until_ready(jax.jit(run)(xs))
    assert not gpu_callbacks.get_races().races_found
