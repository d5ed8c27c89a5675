"""Checks of sharding on 8 simulated devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from test_strict_images import CALLS, MODULES, trace_function, trace_module

from jaxnets.convolution import BatchNorm

EXPLICIT = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Explicit,))
ROWS = NamedSharding(EXPLICIT, PartitionSpec("batch"))


def outputs_are_sharded_by_batch():
    with jax.set_mesh(EXPLICIT):
        for name in MODULES:
            y, later, _ = trace_module(name, jnp.float32, ROWS)
            for leaf in jax.tree.leaves((y, later)):
                assert leaf.sharding.spec[0] == "batch", name
        for name in CALLS:
            y, _ = trace_function(name, jnp.float32, ROWS)
            assert y.sharding.spec[0] == "batch", name


def batch_norm_is_exact_far_from_zero():
    """Batch norm is equal on one device, on automatic and explicit meshes, and with an axis name."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(16, 3, 4, 2)) + np.array([1e4, 1e6]) + rng.normal(size=(16, 1, 1, 1))).astype(np.float32)
    weights = np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape)
    variables = BatchNorm().init(jax.random.key(0), x)

    def step(x, weights, axis_name=None):
        norm = BatchNorm(axis_name=axis_name)
        apply = lambda x: norm.apply(variables, x, train=True, mutable=["batch_stats"])
        y, vjp, updated = jax.vjp(apply, x, has_aux=True)
        return y, vjp(weights)[0], updated["batch_stats"]

    wide = x.astype(np.float64)
    mean, std = wide.mean((0, 1, 2)), np.sqrt(wide.var((0, 1, 2)) + 1e-5)
    normed = (wide - mean) / std
    inner = (weights * normed).mean((0, 1, 2))
    gradient = (weights - weights.mean((0, 1, 2)) - normed * inner) / std
    automatic = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("batch")
    shards = jax.shard_map(
        functools.partial(step, axis_name="batch"),
        mesh=automatic,
        in_specs=spec,
        out_specs=(spec, spec, PartitionSpec()),
    )
    for mesh, run in ((None, step), (automatic, step), (EXPLICIT, step), (automatic, shards)):
        put = (lambda a: a) if mesh is None else lambda a, mesh=mesh: jax.device_put(a, NamedSharding(mesh, spec))
        found = jax.tree.map(np.asarray, jax.jit(run)(put(x), put(weights)))
        np.testing.assert_allclose(found[0], normed, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found[1], gradient, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[2]["mean"], 0.1 * mean, rtol=1e-6)
