"""Persistent method: decomposition, tilings, and the kernel in the Pallas interpreter and on a GPU."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import pytest
from all_cells import CELLS, gradient, problem

from jaxnets import recurrent
from jaxnets.recurrent.cell import plain_dot, split_params
from jaxnets.recurrent.executors.steps import StepMasks, masked_step
from jaxnets.recurrent.experimental import persistent, persistent_kernel
from jaxnets.recurrent.experimental.persistent_tiling import NUM_PROCESSORS, Tiling, tilings
from jaxnets.recurrent.experimental.step_decomposition import decompose_step

CHECKS = Path(__file__).parent / "checks_of_persistent.py"
SUPPORTED = (
    "elman",
    "gru",
    "gru, after",
    "gru, none",
    "mgu",
    "lstm",
    "lstm, coupled",
    "peephole",
    "zoneout",
    "residual",
)
SUPPORTED = (*SUPPORTED, "learned carry", "recurrent dropout", "elman, identity")
RAGGED = {"lengths": jnp.array([5, 0, 2]), "resets": jax.random.bernoulli(jax.random.key(9), 0.3, (3, 5))}


def loop_with_scan(decomposed, carry, length, dtype, tiling, *, reverse, interpret=None):
    """Implements ``persistent_loop`` with ``lax.scan``."""
    hidden = carry[0].shape[-1]
    blocks = lambda a: tuple(jnp.split(a, a.shape[-1] // hidden, axis=-1))
    whole = lambda value: jnp.concatenate(value, axis=-1)

    def dot(i, operand):
        product = jnp.matmul(whole(operand).astype(dtype), decomposed.weights[i], preferred_element_type=jnp.float32)
        return blocks(product)

    def step(carry, inputs):
        new, outputs = decomposed.run(
            list(map(blocks, carry)), list(map(blocks, inputs)), list(map(blocks, decomposed.constants)), dot
        )
        return list(map(whole, new)), list(map(whole, outputs))

    float32 = lambda a: a.astype(jnp.float32)
    sequences = [float32(a) for a in decomposed.sequences]
    return jax.lax.scan(step, [float32(a) for a in carry], sequences, length=length, reverse=reverse)


@pytest.fixture
def fake_gpu(monkeypatch):
    """Simulates a Hopper GPU with ``lax.scan`` instead of kernels."""
    monkeypatch.setattr(persistent_kernel, "persistent_loop", loop_with_scan)
    monkeypatch.setattr(persistent, "tilings", lambda *_: [Tiling(8, 16, (1,), (1,))])
    monkeypatch.setattr(persistent, "check_device", lambda: None)


@pytest.mark.parametrize("name", SUPPORTED)
@pytest.mark.parametrize(
    "chunk, options",
    [
        pytest.param(None, {}, id="whole", marks=pytest.mark.slow),
        pytest.param(2, {**RAGGED, "reverse": True}, id="ragged, in chunks"),
    ],
)
def test_outputs_and_gradients_match_sequential(fake_gpu, name, chunk, options):
    cell = CELLS[name]
    arguments = problem(cell, 5)
    kernel, plain = recurrent.Persistent(chunk), recurrent.Sequential(chunk)
    run = lambda method: recurrent.scan(cell, *arguments, method=method, **options)
    chex.assert_trees_all_close(run(kernel), run(plain), atol=1e-5)
    of = lambda method: gradient(cell, method=method, **options)(*arguments)
    chex.assert_trees_all_close(of(kernel), of(plain), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_time_major_and_batch_axes(fake_gpu, dtype):
    params, xs, carry = problem(CELLS["lstm"], 5, (2, 3))
    xs = jnp.moveaxis(xs, -2, 0).astype(dtype)
    run = lambda method: recurrent.scan(CELLS["lstm"], params, xs, carry, time_major=True, method=method)
    chex.assert_trees_all_equal_shapes_and_dtypes(run("persistent"), run("sequential"))
    chex.assert_trees_all_close(run("persistent"), run("sequential"), rtol=2e-2, atol=2e-2)


def test_operations_independent_of_the_carry_are_precomputed():
    cell = CELLS["peephole"]
    params, xs, carry = problem(cell, 5)
    source, recurrent_weights, rest = split_params(params)
    one = masked_step(cell, rest, plain_dot(cell, recurrent_weights, jnp.float32), jnp.float32)
    active = jnp.ones((5, 3), bool)
    inputs = (cell.project(source, jnp.moveaxis(xs, 1, 0)), StepMasks(active, None))
    decomposed = decompose_step(lambda carry, inputs: one(carry, *inputs, ()), carry, inputs)
    assert [a.shape for a in decomposed.sequences] == [(5, 3, 6)] * 5  # four gates and one mask, as wide as the units
    assert [a.shape for a in decomposed.constants] == [(3, 6)] * 3  # peepholes, for each row
    assert [a.shape for a in decomposed.weights] == [(6, 24)]


UNSUPPORTED = {
    "units that are normalized together": ("layer norm lstm", {}, "must be elementwise except for state products"),
    "carries of two widths": ("lstm, projection", {}, r"its carry must have arrays of one shape \[B, H\]"),
    "images": ("conv lstm 1-D", {}, "got images"),
    "no product": ("min gru", {}, "it must have a state product"),
}


@pytest.mark.parametrize("name, options, message", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_cells_are_rejected(fake_gpu, name, options, message):
    with pytest.raises(
        ValueError, match=rf'method "persistent" does not support this cell: .*{message}.*use "sequential"'
    ):
        recurrent.scan(CELLS[name], *problem(CELLS[name], 5), method="persistent", **options)


def test_sizes_too_large_for_the_chip_are_rejected(monkeypatch):
    monkeypatch.setattr(persistent, "check_device", lambda: None)
    for cell, batch in ((recurrent.lstm(6), 3), (recurrent.lstm(2048), 3), (recurrent.lstm(256), 5000)):
        params = jax.eval_shape(lambda key, cell=cell: cell.init(key, 5), jax.random.key(0))
        run = lambda params, xs, cell=cell: recurrent.scan(cell, params, xs, method="persistent")
        with pytest.raises(ValueError, match=f"units for a batch of {batch} in float32"):
            jax.eval_shape(run, params, jnp.zeros((batch, 4, 5)))


def test_double_precision_is_rejected(fake_gpu):
    with jax.enable_x64(True), pytest.raises(ValueError, match="float32, bfloat16, float16, got float64"):
        recurrent.scan(CELLS["lstm"], *problem(CELLS["lstm"], 5, dtype=jnp.float64), method="persistent")


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="needs a machine without a GPU")
def test_persistent_without_a_gpu_is_rejected():
    with pytest.raises(ValueError, match='"persistent" must be an NVIDIA Hopper GPU, got cpu'):
        recurrent.scan(CELLS["lstm"], *problem(CELLS["lstm"], 5), method="persistent")


@pytest.mark.parametrize(
    "batch, hidden, dtype",
    [(32, 128, "float32"), (64, 256, "bfloat16"), (1, 64, "float32"), (16, 768, "bfloat16")],
)
def test_tilings_cover_all_units_and_fit_on_the_chip(batch, hidden, dtype):
    cell = recurrent.lstm(hidden)
    params = jax.eval_shape(lambda key: cell.init(key, 8), jax.random.key(0))
    one = jnp.zeros((3, batch, 8))

    def add_tilings(params, xs):
        source, weights, rest = split_params(params)
        step = masked_step(cell, rest, plain_dot(cell, weights, dtype), dtype)
        carry = cell.carry(params, xs[0])
        decomposed = decompose_step(lambda carry, u: step(carry, u, StepMasks(), ()), carry, cell.project(source, xs))
        found.extend(tilings(batch, hidden, decomposed, dtype, NUM_PROCESSORS // 2))
        return 0.0

    found: list = []
    jax.eval_shape(add_tilings, params, one)
    assert found
    for rows, units, (fold,), (splits,) in found:
        assert rows % 8 == 0 and hidden % units == 0 and units % 8 == 0 and rows * units % 128 == 0
        assert fold * rows <= 64 and hidden % (fold * splits) == 0 and 4 * fold * units <= 256
        assert hidden // units * -(-batch // rows) <= NUM_PROCESSORS // 2


def test_kernel_with_one_block(run_on_devices):
    run_on_devices(CHECKS, "one_block", "one_block_with_batch_axes_in_bfloat16")


needs_cluster_barriers = pytest.mark.skipif(
    jax.__version_info__ < (0, 11), reason="the interpreter of JAX 0.10 has no cluster barriers"
)


@needs_cluster_barriers
def test_kernel_with_several_blocks(run_on_devices):
    run_on_devices(CHECKS, "cluster_of_blocks", "no_races_between_blocks")


@needs_cluster_barriers
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["two_products_per_step", "several_groups_of_rows", "folded_contractions", "split_operands"]
)
def test_kernel_with_other_tilings(run_on_devices, name):
    run_on_devices(CHECKS, name)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("hidden", [16, 128, 256])  # one block; a cluster; blocks that meet through global memory
@pytest.mark.parametrize("kind", [recurrent.lstm, recurrent.gru, recurrent.peephole_lstm])
def test_kernel_on_a_gpu(kind, hidden):
    arguments = problem(kind(hidden), 50, (5,))
    of = lambda method: gradient(kind(hidden), method=method)(*arguments)
    # The tensor cores multiply in TF32.
    chex.assert_trees_all_close(of("persistent"), of("sequential"), rtol=1e-2, atol=1e-2)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
def test_independent_kernels_do_not_deadlock():
    cell = recurrent.lstm(768)  # more blocks each than half of the chip
    params, xs, _ = problem(cell, 50, (16,))
    run = lambda method: jax.jit(
        lambda xs: recurrent.bidirectional((cell, cell), (params, params), xs, method=method)[1]
    )(xs)
    chex.assert_trees_all_close(run("persistent"), run("sequential"), rtol=1e-2, atol=1e-2)
