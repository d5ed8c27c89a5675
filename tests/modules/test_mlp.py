"""The multilayer perceptron against Linen's layers, and its arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxnets import modules

XS = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)


@pytest.mark.parametrize("hidden_sizes", [(), (7,), (7, 4)])
def test_it_is_dense_layers_one_after_the_other(hidden):
    model = modules.MLP(3, hidden_sizes=hidden, activation="tanh")
    variables = model.init(jax.random.key(0), XS)
    ys = jnp.asarray(XS.reshape(5, 6))
    for i, width in enumerate(hidden):
        ys = jnp.tanh(nn.Dense(width).apply({"params": variables["params"][f"layer_{i}"]}, ys))
    wanted = nn.Dense(3).apply({"params": variables["params"]["head"]}, ys)
    np.testing.assert_allclose(model.apply(variables, XS), wanted, rtol=1e-5, atol=1e-6)


def test_half_precision_and_dropout():
    model = modules.MLP(2, hidden_sizes=(64,), dropout=0.5, dtype=jnp.bfloat16)
    variables = model.init(jax.random.key(0), XS)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    still = model.apply(variables, XS)
    assert still.dtype == jnp.float32
    exact = modules.MLP(2, hidden_sizes=(64,)).apply(variables, XS)
    np.testing.assert_allclose(still, exact, atol=0.05)
    dropped = model.apply(variables, XS, train=True, rngs={"dropout": jax.random.key(1)})
    assert np.abs(dropped - still).max() > 0.05


@pytest.mark.parametrize(
    "arguments", [{"num_outputs": 0}, {"num_outputs": 1, "hidden_sizes": "ab"}, {"num_outputs": 1, "activation": "x"}]
)
def test_wrong_arguments_are_told(arguments):
    with pytest.raises(ValueError, match="must be"):
        modules.MLP(**arguments).init(jax.random.key(0), XS)
