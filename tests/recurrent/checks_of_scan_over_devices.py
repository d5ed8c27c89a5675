"""``scan_over_devices`` on 8 simulated devices against ``scan`` on one device."""

import jax
import jax.numpy as jnp
import numpy as np
from all_cells import CELLS, problem, wide
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from on_devices import assert_close, collectives, make_mesh

from jaxnets import recurrent

RESETS = jax.random.bernoulli(jax.random.key(9), 0.2, (3, 16))
NAMES = ("min gru", "min lstm", "lru")


def results_and_gradients(run, cell, **options):
    """Returns a function from params, xs and carry to all gradients, the last carry and the outputs."""

    def f(*arguments):
        last, ys = run(cell, *arguments, **options)
        weights = jnp.cos(jnp.arange(ys.size, dtype=wide(ys))).reshape(ys.shape)
        return jnp.sum(weights * (ys**2).astype(weights.dtype)) + sum(
            jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(last)
        ), (last, ys)

    return jax.grad(f, (0, 1, 2), has_aux=True)


def check(cell, arguments, count, tolerance, **options):
    whole = {**options, "method": "autodiff"}
    got = jax.jit(
        results_and_gradients(recurrent.scan_over_devices, cell, mesh=make_mesh(count), axis="time", **options)
    )
    wanted = jax.jit(results_and_gradients(recurrent.scan, cell, **whole))(*arguments)
    assert_close(jax.block_until_ready(got(*arguments)), wanted, tolerance)


def scan_options(length):
    ragged = {"lengths": jnp.array([length, 5, 0]), "resets": RESETS[:, :length]}
    return {
        "plain": {},
        "ragged, reset": {**ragged, "method": "associative"},
        "ragged, reset, in reverse": {**ragged, "reverse": True, "method": recurrent.Sequential(2)},
    }


def two_cells():
    jax.config.update("jax_enable_x64", True)
    options = scan_options(13)
    for name, chosen in (("lru", "ragged, reset, in reverse"), ("min gru", "ragged, reset")):
        check(CELLS[name], problem(CELLS[name], 13, dtype=jnp.float64), 8, 1e-12, **options[chosen])


def all_cells_options_and_device_counts():
    jax.config.update("jax_enable_x64", True)
    for name in NAMES:
        for count in (1, 2, 4, 8):
            for length in (16, 13) if count == 8 else (16,):
                for options in scan_options(length).values():
                    check(CELLS[name], problem(CELLS[name], length, dtype=jnp.float64), count, 1e-12, **options)


def float32():
    for name in NAMES:
        for options in scan_options(13).values():
            check(CELLS[name], problem(CELLS[name], 13), 4, 1e-5, **options)


def edge_cases():
    """Empty sequences, fewer steps than devices, a batch of 1, no batch axis, two batch axes with time first."""
    jax.config.update("jax_enable_x64", True)
    for length, batch, time_major in ((0, (2,), False), (3, (1,), False), (9, (), False), (9, (2, 3), True)):
        params, xs, carry = problem(CELLS["lru"], length, batch, jnp.float64)
        xs = jnp.moveaxis(xs, -2, 0) if time_major else xs
        check(CELLS["lru"], (params, xs, carry), 8, 1e-12, time_major=time_major)


def nan_padding_has_no_effect():
    params, xs, carry = problem(CELLS["lru"], 13)
    lengths = jnp.array([13, 5, 0])
    nan_padded = jnp.where((jnp.arange(13)[None] < lengths[:, None])[..., None], xs, jnp.nan)
    run = results_and_gradients(
        recurrent.scan_over_devices, CELLS["lru"], mesh=make_mesh(8), axis="time", lengths=lengths
    )
    assert_close(jax.block_until_ready(jax.jit(run)(params, nan_padded, carry)), jax.jit(run)(params, xs, carry), 0)


def half_precision():
    params, xs, carry = problem(CELLS["lru"], 16)
    last, ys = recurrent.scan_over_devices(
        CELLS["lru"], params, xs.astype(jnp.bfloat16), carry, mesh=make_mesh(4), axis="time"
    )
    same_last, same_ys = recurrent.scan(CELLS["lru"], params, xs.astype(jnp.bfloat16), carry)
    assert_close(last, same_last, 1e-5)
    assert_close(ys, same_ys, 0.02)


def custom_cells():
    """A cell over images with a scalar decay; wrappers; a learned carry with resets."""
    jax.config.update("jax_enable_x64", True)
    mean = recurrent.Cell(
        init=lambda key, features: {"input": {}, "recurrent": {}, "decay": jnp.array(0.7)},
        carry=lambda params, x: jnp.zeros_like(x),
        project=lambda params, xs: xs,
        step=recurrent.LinearStep(lambda rest, u: (rest["decay"], u), lambda rest, s, u, dot: jnp.tanh(s) * u),
        axes=3,
    )
    check(mean, problem(mean, 13, dtype=jnp.float64), 8, 1e-12, **scan_options(13)["ragged, reset"])
    for plain in (recurrent.min_gru(5), recurrent.lru(5)):
        cell = recurrent.learned_carry(recurrent.residual(plain))
        params, xs, carry = problem(cell, 13, dtype=jnp.float64)
        check(cell, (params, xs, carry), 8, 1e-12, **scan_options(13)["ragged, reset"])
        check(cell, (params, xs, None), 8, 1e-12, **scan_options(13)["ragged, reset, in reverse"])


def messages_do_not_grow_with_time():
    cell, mesh = CELLS["lru"], make_mesh(8)
    found = []
    for length in (64, 4096):
        params, xs, carry = jax.eval_shape(lambda length=length: problem(cell, length))
        xs = jax.ShapeDtypeStruct(xs.shape, xs.dtype, sharding=jax.NamedSharding(mesh, P(None, "time")))
        run = results_and_gradients(recurrent.scan_over_devices, cell, mesh=mesh, axis="time")
        found.append(collectives(run, params, xs, carry))
    assert found[0] == found[1], found
    # The states and decays of 3 rows and 4 units are gathered from 8 devices, for real and imaginary parts each.
    assert ("f32[8,3,2,4]", "all-gather") in found[0], found
    assert {kind for _, kind in found[0]} <= {"all-gather", "reduce-scatter", "all-reduce"}, found


def memory_is_that_of_one_shard():
    cell = recurrent.min_gru(64)

    def temporary(run, length, *sharding, **options):
        params = cell.init(jax.random.key(0), 64)
        xs = jax.ShapeDtypeStruct((1, length, 64), jnp.float32, sharding=sharding[0] if sharding else None)
        f = jax.grad(lambda *a: jnp.sum(run(cell, *a, **options)[1] ** 2), (0, 1))
        return jax.jit(f).lower(params, xs).compile().memory_analysis().temp_size_in_bytes

    mesh = make_mesh(8)
    sharding = jax.NamedSharding(mesh, P(None, "time"))
    mine = temporary(recurrent.scan_over_devices, 32768, sharding, mesh=mesh, axis="time")
    assert mine < temporary(recurrent.scan, 32768) / 3


def batch_stays_sharded():
    mesh = jax.make_mesh((2, 4), ("data", "time"), (AxisType.Auto,) * 2)
    params, xs, carry = problem(CELLS["min gru"], 16, (4,))
    placed = jax.device_put(xs, jax.NamedSharding(mesh, P("data", "time")))
    run = results_and_gradients(recurrent.scan_over_devices, CELLS["min gru"], mesh=mesh, axis="time")
    got = jax.block_until_ready(jax.jit(run)(params, placed, carry))
    assert_close(got, jax.jit(results_and_gradients(recurrent.scan, CELLS["min gru"]))(params, xs, carry), 1e-5)
    (_, xs_gradient, _), (_, ys) = got
    for array in (xs_gradient, ys):
        assert array.addressable_shards[0].data.shape[:2] == (2, 4)
    last, ys = recurrent.scan_over_devices(
        CELLS["min gru"], params, placed, carry, mesh=mesh, axis="time"
    )  # not in jit
    assert np.isfinite(ys).all() and last.shape == (4, 6)
