"""Checks of normalizing flows on 8 simulated devices."""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from on_devices import assert_close, make_mesh

from jaxnets.generative import Glow, SplineFlow


def flows_are_those_of_one_device():
    """Initialization, which depends on the whole batch, and likelihoods of a sharded batch."""
    sharding = NamedSharding(make_mesh(8), PartitionSpec("time"))
    for model in (Glow((4, 4, 1), 1, 2, 4), SplineFlow(3, 2, (4,), 2)):
        rows = np.random.default_rng(0).normal(size=(16, *model.example_shape)) + np.arange(16).reshape(
            -1, *(1,) * len(model.example_shape)
        )
        rows = rows.astype(np.float32)

        @jax.jit
        def run(xs, model=model):
            variables = model.init(jax.random.key(0), xs)
            return variables, model.apply(variables, xs)

        assert_close(run(jax.device_put(rows, sharding)), run(rows), 1e-5)
