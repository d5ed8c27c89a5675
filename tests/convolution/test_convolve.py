"""Convolutions compared with those of XLA: values, gradients, accumulation, and lowering to other platforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxnets.convolution.conv import Conv

CASES = {
    "1 x 1": dict(features=5, kernel_size=(1, 1)),
    "1 x 1, strides": dict(features=5, kernel_size=(1, 1), strides=(2, 3), padding=0),
    "1 x 1, padded": dict(features=5, kernel_size=(1, 1), padding=1),
    "1 x 1, groups": dict(features=8, kernel_size=(1, 1), feature_group_count=2),
    "depthwise": dict(features=4, kernel_size=(3, 3), padding=1, feature_group_count=4),
    "depthwise, same": dict(features=4, kernel_size=(5, 3), strides=2, feature_group_count=4),
    "depthwise, strides": dict(features=4, kernel_size=(3, 5), strides=(2, 3), padding=(1, 2), feature_group_count=4),
    "depthwise, dilated": dict(
        features=4, kernel_size=(3, 2), kernel_dilation=(2, 3), padding=((2, 1), (0, 3)), feature_group_count=4
    ),
    "depthwise, more features": dict(features=8, kernel_size=(3, 3), feature_group_count=4),
    "depthwise, dilated input": dict(
        features=4, kernel_size=(3, 3), padding=1, input_dilation=2, feature_group_count=4
    ),
    "depthwise, no padding": dict(features=4, kernel_size=(3, 3), padding="VALID", feature_group_count=4),
    "depthwise, larger than the image": dict(features=4, kernel_size=(10, 3), padding="VALID", feature_group_count=4),
    "depthwise, negative padding": dict(
        features=4, kernel_size=(3, 3), padding=((-1, 1), (1, -1)), feature_group_count=4
    ),
    "few channels": dict(features=5, kernel_size=(3, 3), strides=2, padding=1),
    "dense": dict(features=5, kernel_size=(3, 3), padding=1),
    "dense, strides": dict(features=5, kernel_size=(5, 3), strides=(1, 2), padding=((2, 1), (0, 3))),
    "dense, stride beyond the kernel": dict(features=5, kernel_size=(3, 1), strides=2),
    "dense, dilated": dict(features=5, kernel_size=(3, 2), kernel_dilation=(2, 3)),
    "dense, few pixels": dict(features=5, kernel_size=(3, 5), strides=4, padding=((2, 1), (0, 3))),
    "dense, few pixels, dilated": dict(features=5, kernel_size=(3, 2), kernel_dilation=(2, 3), strides=(2, 3)),
    "dense, no padding": dict(features=5, kernel_size=(7, 9), padding="VALID"),
    "dense, larger than the image": dict(features=5, kernel_size=(8, 9), padding="VALID"),
    "dense, circular padding": dict(features=5, kernel_size=(3, 3), padding="CIRCULAR"),
    "dense, negative padding": dict(features=5, kernel_size=(3, 3), padding=((-1, 1), (1, -1))),
    "dense, groups": dict(features=6, kernel_size=(3, 3), feature_group_count=2),
    "dense, dilated input": dict(features=5, kernel_size=(3, 3), padding=1, input_dilation=2),
}


@pytest.mark.parametrize("case", CASES)
def test_convolutions_and_gradients_match_linen(case, float64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 7, 9, 8 if case.startswith("dense") else 4)))
    conv, reference = (make(**CASES[case], dtype=jnp.float64) for make in (Conv, nn.Conv))
    variables = reference.init(jax.random.key(0), x)
    weighted_sum = lambda y: jnp.sum(jnp.cos(jnp.arange(y.size)).reshape(y.shape) * y)
    actual, expected = (
        jax.jit(jax.value_and_grad(lambda v, x, module=module: weighted_sum(module.apply(v, x)), (0, 1)))(variables, x)
        for module in (conv, reference)
    )
    assert conv.apply(variables, x).shape == reference.apply(variables, x).shape
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), actual, expected)


DENSE = Conv(5, (3, 3))
MANY = jnp.asarray(np.random.default_rng(1).normal(size=(6, 40, 41, 8)), jnp.float32)


def test_kernel_gradients_of_many_images_are_summed_in_chunks():
    images = jnp.concatenate([MANY] * 3)
    variables = DENSE.init(jax.random.key(0), images)
    gradient = jax.jit(jax.grad(lambda v, conv: jnp.sum(conv.apply(v, images) ** 2)), static_argnums=1)
    actual, expected = gradient(variables, DENSE), gradient(variables, nn.Conv(5, (3, 3)))
    assert "while" in gradient.lower(variables, DENSE).compile().as_text()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-2), actual, expected)


def test_forward_mode_second_derivatives_and_vmap_match_linen(float64):
    x = MANY[:2, :5, :6].astype(jnp.float64)
    conv, reference = (make(5, (3, 3), dtype=jnp.float64) for make in (Conv, nn.Conv))
    v = reference.init(jax.random.key(0), x)
    tangent = jax.tree.map(jnp.cos, v)
    for derive in (
        lambda f: jax.jvp(f, (v, x), (tangent, jnp.sin(x)))[1],
        lambda f: jax.jvp(lambda v: f(v, x), (v,), (tangent,))[1],
        lambda f: jax.jvp(jax.grad(f), (v, x), (tangent, jnp.sin(x)))[1],
        lambda f: jax.grad(lambda v: jax.jvp(lambda x: f(v, x), (x,), (jnp.sin(x),))[1])(v),
        lambda f: jax.grad(lambda x: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(jax.grad(f)(v, x))))(x),
        lambda f: jax.vmap(jax.grad(f), (None, 0))(v, jnp.stack([x, 2 * x])),
    ):
        actual, expected = (derive(lambda v, x, m=m: jnp.sum(m.apply(v, x) ** 3)) for m in (conv, reference))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), actual, expected)


def test_bfloat16_kernel_gradients_accumulate_in_float32():
    images = jnp.ones((64, 32, 32, 8), jnp.bfloat16)  # a bfloat16 sum of 65536 ones would stop at 256
    conv = Conv(2, (3, 3), padding="VALID", dtype=jnp.bfloat16)
    gradient = jax.grad(lambda v: jnp.sum(conv.apply(v, images).astype(jnp.float32)))
    kernel = gradient(conv.init(jax.random.key(0), images))["params"]["kernel"]
    np.testing.assert_allclose(kernel, 64 * 30 * 30, rtol=2**-8)


def test_bfloat16_patch_products_accumulate_in_float32():
    x = jnp.ones((1, 2, 2, 512), jnp.bfloat16)
    conv = Conv(1, (2, 2), padding="VALID", dtype=jnp.bfloat16, kernel_init=nn.initializers.constant(1 + 2**-7))
    y = conv.apply(conv.init(jax.random.key(0), x), x)
    assert y.dtype == jnp.bfloat16
    assert float(y[0, 0, 0, 0]) == float(jnp.bfloat16(2048 * (1 + 2**-7)))


def test_residuals_are_no_larger_than_inputs_and_parameters():
    v = DENSE.init(jax.random.key(0), MANY)
    _, vjp = jax.vjp(lambda v, x: DENSE.apply(v, x), v, MANY)
    residuals = sum(leaf.nbytes for leaf in jax.tree.leaves(vjp))
    assert residuals <= 1.1 * (MANY.nbytes + sum(leaf.nbytes for leaf in jax.tree.leaves(v)))


def test_bfloat16_depthwise_convolutions_accumulate_in_float32():
    x = jnp.ones((1, 8, 8, 2), jnp.bfloat16)
    conv = Conv(2, (7, 7), feature_group_count=2, dtype=jnp.bfloat16, kernel_init=nn.initializers.constant(1 + 2**-7))
    y = conv.apply(conv.init(jax.random.key(0), x), x)
    assert y.dtype == jnp.bfloat16
    assert float(y[0, 4, 4, 0]) == float(jnp.bfloat16(49 * (1 + 2**-7)))


def test_kernel_gradients_are_convolutions_on_other_platforms():
    traced = jax.jit(jax.grad(lambda v: jnp.sum(DENSE.apply(v, MANY) ** 2))).trace(DENSE.init(jax.random.key(0), MANY))
    text = {platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda", "tpu")}
    assert [text[platform].count("stablehlo.convolution") for platform in text] == [1, 2, 2]


def test_depthwise_convolutions_stay_convolutions_on_other_platforms():
    x, conv = jnp.ones((1, 8, 8, 2)), Conv(2, (3, 3), feature_group_count=2)
    traced = jax.jit(conv.apply).trace(conv.init(jax.random.key(0), x), x)
    text = {platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda", "tpu")}
    assert ["stablehlo.convolution" in text[platform] for platform in text] == [False, True, True]
