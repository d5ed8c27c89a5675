"""``fold_over_devices`` on 8 simulated devices against the poolings of the whole on one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from folds import BINS, FOLDS
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from on_devices import make_mesh, messages, same

from jaxnets import sets

EVERY = {
    **FOLDS,
    "cumulative": (
        sets.histogram_fold(BINS, cumulative=True),
        lambda xs, valid: sets.histogram(xs, BINS, valid, cumulative=True),
    ),
}


def problem(count, dtype=jnp.float64):
    """Two sets of so many elements: real ones here and there, and none at all."""
    xs = jax.random.uniform(jax.random.key(0), (2, count, 3), dtype)
    mask = jax.random.bernoulli(jax.random.key(1), 0.6, (2, count)).at[1].set(False)
    return xs, mask


def everything(pool, xs, valid):
    """The summary and its gradient."""

    def f(xs):
        found = pool(xs, valid)
        return jnp.sum(jnp.cos(jnp.arange(found.size)).reshape(found.shape) * found**2), found

    return jax.jit(jax.grad(f, has_aux=True))(xs)


def check(name, count, xs, valid, tolerance=1e-12):
    fold, pool = EVERY[name]
    over = functools.partial(sets.fold_over_devices, fold, mesh=make_mesh(count), axis="time")
    got = jax.block_until_ready(everything(over, xs, valid))
    same(got, everything(pool, xs, valid), tolerance)


def a_few():
    jax.config.update("jax_enable_x64", True)
    for name in ("mean", "max", "histogram"):
        check(name, 8, *problem(21))


def every_fold_and_number_of_devices():
    jax.config.update("jax_enable_x64", True)
    for name in EVERY:
        for count in (1, 2, 4, 8):
            xs, mask = problem(21)
            check(name, count, xs, mask)
        check(name, 8, xs, None)
        check(name, 8, xs, mask.at[:, 5:].set(False))  # six devices have nothing that is real
        segments = sets.Segments(jax.random.randint(jax.random.key(2), (21,), -1, 6), 7)
        check(name, 8, xs[0], segments)


def float32():
    for name in EVERY:
        check(name, 4, *problem(40, jnp.float32), 1e-6)


def edges():
    """Fewer elements than devices or none; no batch, one of 1 and one of two axes; NaN where nothing is real."""
    jax.config.update("jax_enable_x64", True)
    for name in EVERY:
        for shape in ((3, 3), (1, 1, 3), (2, 3, 9, 3), (2, 0, 3)):
            check(name, 8, jax.random.uniform(jax.random.key(0), shape), None)
        xs, mask = problem(21)
        check(name, 8, jnp.where(mask[..., None], xs, jnp.nan), mask)


def gradients_reach_what_a_fold_is_made_of():
    jax.config.update("jax_enable_x64", True)
    xs, mask = problem(21)
    bins = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), sets.bins_init("soft", 3, 5))
    weigh = lambda found: jnp.sum(jnp.cos(jnp.arange(found.size)).reshape(found.shape) * found)

    def over(bins):
        fold = sets.histogram_fold(bins, "soft")
        return weigh(sets.fold_over_devices(fold, xs, mask, mesh=make_mesh(8), axis="time"))

    wanted = jax.grad(lambda bins: weigh(sets.histogram(xs, bins, mask, kind="soft")))(bins)
    same(jax.block_until_ready(jax.jit(jax.grad(over))(bins)), wanted, 1e-12)
    same(jax.block_until_ready(jax.grad(over)(bins)), wanted, 1e-12)


def messages_do_not_grow_with_the_set():
    mesh = make_mesh(8)
    for name, summary in (("mean", "f32[8,2,3]"), ("max", "f32[8,2,3]"), ("histogram", "f32[8,2,3,5]")):
        fold, _ = EVERY[name]
        over = functools.partial(sets.fold_over_devices, fold, mesh=mesh, axis="time")
        f = jax.grad(lambda xs, mask, over=over: jnp.sum(over(xs, mask) ** 2))
        found = []
        for count in (64, 8192):
            place = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=jax.NamedSharding(mesh, P(None, "time")))
            shapes = jax.eval_shape(lambda count=count: problem(count, jnp.float32))
            found.append(messages(f, *map(place, shapes)))
        assert found[0] == found[1], found
        assert (summary, "all-gather") in found[0], found


def a_batch_goes_on_being_divided():
    mesh = jax.make_mesh((2, 4), ("data", "time"), (AxisType.Auto,) * 2)
    xs, mask = problem(16, jnp.float32)
    placed = jax.device_put((xs, mask), jax.NamedSharding(mesh, P("data", "time")))
    over = functools.partial(sets.fold_over_devices, sets.mean_fold, mesh=mesh, axis="time")
    gradient, found = jax.block_until_ready(everything(over, *placed))
    same((gradient, found), everything(sets.mean_pool, xs, mask), 1e-6)
    assert gradient.addressable_shards[0].data.shape == (1, 4, 3)
    assert np.isfinite(over(*placed)).all()  # not in jit
