"""Our way to compute convolutions against XLA's own, values and gradients, and what it lowers to elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxnets.convolution.convolve import Conv

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
    "dense": dict(features=5, kernel_size=(3, 3), strides=2, padding=1),
}


@pytest.mark.parametrize("case", CASES)
def test_a_convolution_and_its_gradients_are_those_of_linen(case, float64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 9, 4)))
    ours, theirs = (make(**CASES[case], dtype=jnp.float64) for make in (Conv, nn.Conv))
    variables = theirs.init(jax.random.key(0), x)
    weigh = lambda y: jnp.sum(jnp.cos(jnp.arange(y.size)).reshape(y.shape) * y)
    found, wanted = (
        jax.jit(jax.value_and_grad(lambda v, x, module=module: weigh(module.apply(v, x)), (0, 1)))(variables, x)
        for module in (ours, theirs)
    )
    assert ours.apply(variables, x).shape == theirs.apply(variables, x).shape
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), found, wanted)


def test_half_precision_is_summed_in_float32():
    x = jnp.ones((1, 8, 8, 2), jnp.bfloat16)
    conv = Conv(2, (7, 7), feature_group_count=2, dtype=jnp.bfloat16, kernel_init=nn.initializers.constant(1 + 2**-7))
    y = conv.apply(conv.init(jax.random.key(0), x), x)
    assert y.dtype == jnp.bfloat16
    assert float(y[0, 4, 4, 0]) == float(jnp.bfloat16(49 * (1 + 2**-7)))


def test_a_depthwise_one_stays_a_convolution_on_other_devices():
    x, conv = jnp.ones((1, 8, 8, 2)), Conv(2, (3, 3), feature_group_count=2)
    traced = jax.jit(conv.apply).trace(conv.init(jax.random.key(0), x), x)
    text = {platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda", "tpu")}
    assert ["stablehlo.convolution" in text[platform] for platform in text] == [False, True, True]
