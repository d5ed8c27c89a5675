"""Dense layers over leading axes against Linen's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxnets.dense import Dense, DenseGeneral, dot_general, matmul

LAYERS = {
    "dense": (Dense(5), nn.Dense(5)),
    "without bias": (Dense(5, use_bias=False), nn.Dense(5, use_bias=False)),
    "heads": (DenseGeneral((2, 3)), nn.DenseGeneral((2, 3))),
    "of heads": (DenseGeneral(5, axis=(-2, -1)), nn.DenseGeneral(5, axis=(-2, -1))),
    "of an inner axis": (DenseGeneral(5, axis=-2), nn.DenseGeneral(5, axis=-2)),
    "of rows": (DenseGeneral(5, batch_dims=(0,)), nn.DenseGeneral(5, batch_dims=(0,))),
}


@pytest.mark.parametrize("shape", [(3, 4, 6), (2, 3, 4, 6), (4, 6), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_and_its_gradients_are_those_of_linen(layer, shape, float64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    ours, theirs = (module.clone(param_dtype=jnp.float64) for module in LAYERS[layer])
    variables = theirs.init(jax.random.key(0), x)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, variables, ours.init(jax.random.key(0), x)))
    found, wanted = (
        jax.jit(jax.value_and_grad(lambda v, x, m=m: jnp.sum(jnp.sin(m.apply(v, x))), (0, 1)))(variables, x)
        for m in (ours, theirs)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, wanted)
    assert ours.apply(variables, x).shape == theirs.apply(variables, x).shape


@pytest.mark.parametrize("layer", ["dense", "heads"])
def test_no_rows_give_no_rows_and_gradients_of_zero(layer):
    module, x = LAYERS[layer][0], jnp.ones((3, 0, 6))
    variables = module.init(jax.random.key(0), x)
    assert module.apply(variables, x).shape[:2] == (3, 0)
    gradients = jax.grad(lambda v: jnp.sum(module.apply(v, x)))(variables)
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_a_product_accumulates_in_the_type_asked_for():
    xs, kernel = jnp.ones((2, 3, 512), jnp.bfloat16), jnp.full((512, 1), 1 + 2**-7, jnp.bfloat16)
    logits = matmul(xs, kernel, preferred_element_type=jnp.float32)
    assert logits.dtype == jnp.float32
    assert logits.shape == (2, 3, 1)
    assert logits[0, 0, 0] == 512 * (1 + 2**-7)


def test_a_kernels_gradient_contracts_one_axis_on_a_cpu_and_leaves_the_axes_apart_elsewhere(monkeypatch):
    xs, kernel = jnp.ones((2, 3, 4)), jnp.ones((4, 5))

    def contracted():
        jaxpr = jax.make_jaxpr(jax.grad(lambda kernel: jnp.sum(matmul(xs, kernel) ** 2)))(kernel)
        products = [e.params["dimension_numbers"] for e in jaxpr.eqns if e.primitive.name == "dot_general"]
        return [len(left) for (left, _), _ in products]

    assert contracted() == [1, 1]
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert contracted() == [1, 2]


def test_a_product_with_rows_of_its_own_is_laxs():
    xs, kernels = jnp.ones((2, 3, 4)), jnp.ones((2, 4, 5))
    assert dot_general(xs, kernels, (((2,), (1,)), ((0,), (0,)))).shape == (2, 3, 5)
