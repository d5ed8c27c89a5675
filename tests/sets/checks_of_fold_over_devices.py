"""``fold_over_devices`` on 8 simulated devices, compared with pooling on one device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from folds import BINS, FOLDS
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from on_devices import assert_close, collectives, make_mesh

from jaxnets import sets

ALL_FOLDS = {
    **FOLDS,
    "cumulative": (
        sets.histogram_fold(BINS, cumulative=True),
        lambda xs, valid: sets.histogram(xs, BINS, valid, cumulative=True),
    ),
}


def problem(count, dtype=jnp.float64):
    """Two sets: one with ``count`` elements of which some are valid, and an empty one."""
    xs = jax.random.uniform(jax.random.key(0), (2, count, 3), dtype)
    mask = jax.random.bernoulli(jax.random.key(1), 0.6, (2, count)).at[1].set(False)
    return xs, mask


def gradient_and_summary(pool, xs, valid):
    """Returns the gradient and the summary."""

    def f(xs):
        summary = pool(xs, valid)
        return jnp.sum(jnp.cos(jnp.arange(summary.size)).reshape(summary.shape) * summary**2), summary

    return jax.jit(jax.grad(f, has_aux=True))(xs)


def check(name, count, xs, valid, tolerance=1e-12):
    fold, pool = ALL_FOLDS[name]
    over = functools.partial(sets.fold_over_devices, fold, mesh=make_mesh(count), axis="time")
    got = jax.block_until_ready(gradient_and_summary(over, xs, valid))
    assert_close(got, gradient_and_summary(pool, xs, valid), tolerance)


def some_folds():
    jax.config.update("jax_enable_x64", True)
    for name in ("mean", "max", "histogram"):
        check(name, 8, *problem(21))


def all_folds_and_device_counts():
    jax.config.update("jax_enable_x64", True)
    for name in ALL_FOLDS:
        for count in (1, 2, 4, 8):
            xs, mask = problem(21)
            check(name, count, xs, mask)
        check(name, 8, xs, None)
        check(name, 8, xs, mask.at[:, 5:].set(False))  # six devices have no valid element
        segments = sets.Segments(jax.random.randint(jax.random.key(2), (21,), -1, 6), 7)
        check(name, 8, xs[0], segments)


def float32():
    for name in ALL_FOLDS:
        check(name, 4, *problem(40, jnp.float32), 1e-6)


def short_and_empty_sets():
    """Fewer elements than devices, no elements, zero to two batch axes, and NaN in the padding."""
    jax.config.update("jax_enable_x64", True)
    for name in ALL_FOLDS:
        for shape in ((3, 3), (1, 1, 3), (2, 3, 9, 3), (2, 0, 3)):
            check(name, 8, jax.random.uniform(jax.random.key(0), shape), None)
        xs, mask = problem(21)
        check(name, 8, jnp.where(mask[..., None], xs, jnp.nan), mask)


def gradients_of_bins():
    jax.config.update("jax_enable_x64", True)
    xs, mask = problem(21)
    bins = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), sets.bins_init("soft", 3, 5))
    weighted_sum = lambda ys: jnp.sum(jnp.cos(jnp.arange(ys.size)).reshape(ys.shape) * ys)

    def over(bins):
        fold = sets.histogram_fold(bins, "soft")
        return weighted_sum(sets.fold_over_devices(fold, xs, mask, mesh=make_mesh(8), axis="time"))

    expected = jax.grad(lambda bins: weighted_sum(sets.histogram(xs, bins, mask, kind="soft")))(bins)
    assert_close(jax.block_until_ready(jax.jit(jax.grad(over))(bins)), expected, 1e-12)
    assert_close(jax.block_until_ready(jax.grad(over)(bins)), expected, 1e-12)


def messages_do_not_grow_with_the_set():
    mesh = make_mesh(8)
    for name, summary in (("mean", "f32[8,2,3]"), ("max", "f32[8,2,3]"), ("histogram", "f32[8,2,3,5]")):
        fold, _ = ALL_FOLDS[name]
        over = functools.partial(sets.fold_over_devices, fold, mesh=mesh, axis="time")
        f = jax.grad(lambda xs, mask, over=over: jnp.sum(over(xs, mask) ** 2))
        found = []
        for count in (64, 8192):
            place = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=jax.NamedSharding(mesh, P(None, "time")))
            shapes = jax.eval_shape(lambda count=count: problem(count, jnp.float32))
            found.append(collectives(f, *map(place, shapes)))
        assert found[0] == found[1], found
        assert (summary, "all-gather") in found[0], found


def batch_stays_sharded():
    mesh = jax.make_mesh((2, 4), ("data", "time"), (AxisType.Auto,) * 2)
    xs, mask = problem(16, jnp.float32)
    sharded = jax.device_put((xs, mask), jax.NamedSharding(mesh, P("data", "time")))
    over = functools.partial(sets.fold_over_devices, sets.mean_fold, mesh=mesh, axis="time")
    gradient, found = jax.block_until_ready(gradient_and_summary(over, *sharded))
    assert_close((gradient, found), gradient_and_summary(sets.mean_pool, xs, mask), 1e-6)
    assert gradient.addressable_shards[0].data.shape == (1, 4, 3)
    assert np.isfinite(over(*sharded)).all()  # not in jit
