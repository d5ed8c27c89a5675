"""Checks of diffusion on 8 simulated devices."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from on_devices import assert_close, make_mesh

from jaxnets.generative import GaussianDiffusion, RectifiedFlow, UNet


def samples_are_those_of_one_device():
    """Samples of keys that are sharded over devices."""
    sharding = NamedSharding(make_mesh(8), PartitionSpec("time"))
    model = UNet((4, 4, 1), width=4, multipliers=(1, 2), num_blocks=1, attention_levels=(), num_groups=2)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)), jnp.zeros(1)))
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: (0.3 * random.normal(size=leaf.shape)).astype(np.float32), shapes)
    keys = jax.random.split(jax.random.key(1), 16)
    for process, sampler in ((GaussianDiffusion(), "ancestral"), (RectifiedFlow(), "heun")):

        @jax.jit
        def sample(variables, keys, process=process, sampler=sampler):
            network = lambda xs, times: model.apply(variables, xs, times)
            return process.sample(network, keys, model.image_shape, 3, sampler)[0]

        found = sample(variables, jax.device_put(keys, sharding))
        assert found.sharding.is_equivalent_to(sharding, found.ndim)  # no device has all samples
        assert_close(found, sample(variables, keys), 1e-4)
