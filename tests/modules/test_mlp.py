"""Multilayer perceptron: comparison with Linen's layers, dtypes, dropout and invalid arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxnets import modules

XS = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)


@pytest.mark.parametrize("hidden_sizes", [(), (7,), (7, 4)])
def test_mlp_equals_a_chain_of_linen_layers(hidden_sizes):
    model = modules.MLP(3, hidden_sizes=hidden_sizes, activation="tanh")
    variables = model.init(jax.random.key(0), XS)
    ys = jnp.asarray(XS.reshape(5, 6))
    for i, size in enumerate(hidden_sizes):
        ys = jnp.tanh(nn.Dense(size).apply({"params": variables["params"][f"layer_{i}"]}, ys))
    expected = nn.Dense(3).apply({"params": variables["params"]["head"]}, ys)
    np.testing.assert_allclose(model.apply(variables, XS), expected, rtol=1e-5, atol=1e-6)


def test_bfloat16_outputs_are_close_and_dropout_needs_train():
    model = modules.MLP(2, hidden_sizes=(64,), dropout=0.5, dtype=jnp.bfloat16)
    variables = model.init(jax.random.key(0), XS)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    undropped = model.apply(variables, XS)
    assert undropped.dtype == jnp.float32
    exact = modules.MLP(2, hidden_sizes=(64,)).apply(variables, XS)
    np.testing.assert_allclose(undropped, exact, atol=0.05)
    dropped = model.apply(variables, XS, train=True, rngs={"dropout": jax.random.key(1)})
    assert np.abs(dropped - undropped).max() > 0.05


@pytest.mark.parametrize(
    "arguments", [{"num_outputs": 0}, {"num_outputs": 1, "hidden_sizes": "ab"}, {"num_outputs": 1, "activation": "x"}]
)
def test_invalid_arguments_are_rejected(arguments):
    with pytest.raises(ValueError, match="must be"):
        modules.MLP(**arguments).init(jax.random.key(0), XS)
