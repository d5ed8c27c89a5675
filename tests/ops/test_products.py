"""Matrix products with joined leading axes."""

import jax
import jax.numpy as jnp

from jaxnets.ops.products import dot_general, linear


def test_product_accumulates_in_the_preferred_dtype():
    xs, kernel = jnp.ones((2, 3, 512), jnp.bfloat16), jnp.full((512, 1), 1 + 2**-7, jnp.bfloat16)
    logits = linear(xs, kernel, preferred_element_type=jnp.float32)
    assert logits.dtype == jnp.float32
    assert logits.shape == (2, 3, 1)
    assert logits[0, 0, 0] == 512 * (1 + 2**-7)


def test_kernel_gradient_contracts_joined_axes_only_on_cpu(monkeypatch):
    xs, kernel = jnp.ones((2, 3, 4)), jnp.ones((4, 5))

    def contracted_axes():
        jaxpr = jax.make_jaxpr(jax.grad(lambda kernel: jnp.sum(linear(xs, kernel) ** 2)))(kernel)
        products = [e.params["dimension_numbers"] for e in jaxpr.eqns if e.primitive.name == "dot_general"]
        return [len(left) for (left, _), _ in products]

    assert contracted_axes() == [1, 1]
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert contracted_axes() == [1, 2]


def test_batched_product_has_the_shape_of_lax():
    xs, kernels = jnp.ones((2, 3, 4)), jnp.ones((2, 4, 5))
    assert dot_general(xs, kernels, (((2,), (1,)), ((0,), (0,)))).shape == (2, 3, 5)
