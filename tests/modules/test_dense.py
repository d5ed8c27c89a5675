"""Dense layers: outputs and gradients equal those of Linen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxnets.modules.dense import Dense, DenseGeneral

LAYERS = {
    "dense": (Dense(5), nn.Dense(5)),
    "no bias": (Dense(5, use_bias=False), nn.Dense(5, use_bias=False)),
    "heads": (DenseGeneral((2, 3)), nn.DenseGeneral((2, 3))),
    "merge heads": (DenseGeneral(5, axis=(-2, -1)), nn.DenseGeneral(5, axis=(-2, -1))),
    "inner axis": (DenseGeneral(5, axis=-2), nn.DenseGeneral(5, axis=-2)),
    "batched kernel": (DenseGeneral(5, batch_dims=(0,)), nn.DenseGeneral(5, batch_dims=(0,))),
}


@pytest.mark.parametrize("shape", [(3, 4, 6), (2, 3, 4, 6), (4, 6), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("layer", LAYERS)
def test_outputs_and_gradients_equal_those_of_linen(layer, shape, float64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    ours, reference = (module.clone(param_dtype=jnp.float64) for module in LAYERS[layer])
    variables = reference.init(jax.random.key(0), x)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, variables, ours.init(jax.random.key(0), x)))
    result, expected = (
        jax.jit(jax.value_and_grad(lambda v, x, m=m: jnp.sum(jnp.sin(m.apply(v, x))), (0, 1)))(variables, x)
        for m in (ours, reference)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), result, expected)
    assert ours.apply(variables, x).shape == reference.apply(variables, x).shape


@pytest.mark.parametrize("layer", ["dense", "heads"])
def test_empty_batch_yields_empty_outputs_and_zero_gradients(layer):
    module, x = LAYERS[layer][0], jnp.ones((3, 0, 6))
    variables = module.init(jax.random.key(0), x)
    assert module.apply(variables, x).shape[:2] == (3, 0)
    gradients = jax.grad(lambda v: jnp.sum(module.apply(v, x)))(variables)
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(gradients))
