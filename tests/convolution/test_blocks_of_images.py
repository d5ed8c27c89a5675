"""Blocks shared by image models, and residual networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxnets import convolution
from jaxnets.convolution import Bottleneck, ConvNorm, ResidualBlock, SqueezeExcite, StochasticDepth, stochastic_depth

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(3, 5, 7, 8)).astype(np.float32)


def test_stochastic_depth_drops_whole_examples_and_preserves_the_mean():
    branch = jnp.ones((4000, 2, 3))
    actual = stochastic_depth(jax.random.key(0), branch, 0.25)
    rows = np.asarray(actual).reshape(4000, -1)
    assert np.all(rows == rows[:, :1])
    assert set(np.unique(rows)) == {0.0, np.float32(1 / 0.75)}
    assert np.mean(rows == 0) == pytest.approx(0.25, abs=0.03)
    assert stochastic_depth(jax.random.key(0), branch.astype(jnp.bfloat16), 0.25).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match=r"`rate` must be a number in \[0, 1\), got 1"):
        stochastic_depth(jax.random.key(0), branch, 1.0)


def test_stochastic_depth_is_off_in_evaluation():
    module = StochasticDepth(0.5)
    np.testing.assert_array_equal(module.apply({}, X), X)
    assert np.any(module.apply({}, X, train=True, rngs={"dropout": jax.random.key(0)}) != X)


def test_squeeze_excite_matches_its_equation():
    module = SqueezeExcite(3)
    params = jax.tree.map(np.asarray, module.init(jax.random.key(0), X)["params"])
    dense = lambda x, layer: x @ layer["kernel"][0, 0] + layer["bias"]
    hidden = np.maximum(dense(X.mean((1, 2)), params["squeeze"]), 0)
    expected = X * jax.nn.sigmoid(dense(hidden, params["excite"]))[:, None, None]
    np.testing.assert_allclose(module.apply({"params": params}, X), expected, rtol=1e-5)


@pytest.mark.parametrize("stride, groups, kernel", [(1, 1, 3), (2, 2, 5), (2, 1, 1)])
def test_conv_norm_has_symmetric_padding(stride, groups, kernel):
    module = ConvNorm(6, kernel, stride, groups, activation=None)
    variables = module.init(jax.random.key(0), X)
    expected = jax.lax.conv_general_dilated(
        X,
        variables["params"]["conv"]["kernel"],
        (stride, stride),
        [(kernel // 2, kernel // 2)] * 2,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(module.apply(variables, X), expected / np.sqrt(1 + 1e-5), atol=1e-5)


@pytest.mark.parametrize("block", [ResidualBlock(8), Bottleneck(8, 4), Bottleneck(8, 4, groups=2)])
def test_block_with_zero_last_scale_is_relu(block):
    variables = block.init(jax.random.key(0), X)
    last = "conv_3" if isinstance(block, Bottleneck) else "conv_2"
    variables["params"][last]["norm"]["scale"] *= 0
    np.testing.assert_allclose(block.apply(variables, X), nn.relu(X), atol=1e-6)
    assert "shortcut" not in variables["params"]
    assert "shortcut" in block.clone(features=16).init(jax.random.key(0), X)["params"]
    assert "shortcut" in block.clone(stride=2).init(jax.random.key(0), X)["params"]


NETWORK = convolution.ResNet((1, 1, 1, 1), num_classes=4, bottleneck=True, groups=2)


def shapes(model, images, **options):
    return jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), jnp.zeros(images), **options))


def test_activations_have_the_expected_shapes():
    names = ("stem", "stage_1", "stage_2", "stage_3", "stage_4", "pooled", "logits")
    actual, _ = shapes(NETWORK, (2, 33, 64, 3), features=names)
    assert [actual[name].shape[1:] for name in names] == [
        (17, 32, 64),
        (9, 16, 256),
        (5, 8, 512),
        (3, 4, 1024),
        (2, 2, 2048),
        (2048,),
        (4,),
    ]
    pooled, variables = shapes(NETWORK.clone(num_classes=0), (1, 1, 1, 1))
    assert pooled.shape == (1, 2048) and "head" not in variables["params"]


def test_bfloat16_model_has_float32_logits_and_parameters():
    actual, variables = shapes(NETWORK.clone(dtype="bfloat16"), (2, 32, 32, 3), features=("stage_4", "logits"))
    assert (actual["stage_4"].dtype, actual["logits"].dtype) == (jnp.bfloat16, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    "images, options, message",
    [
        ((32, 32, 3), {}, r"ResNet: `images` must be \[B, H, W, C\], got shape \(32, 32, 3\)"),
        ((2, 0, 32, 3), {}, "at least 1 x 1, got 0 x 32"),
        ((2, 32, 32, 3), {"features": ("stage4",)}, "among stem.*, got 'stage4'; did you mean 'stage_4'"),
        ((2, 32, 32, 3), {"features": "stem"}, r"`features` must be a sequence of names, such as \('stem',\)"),
    ],
)
def test_invalid_images_and_features_are_rejected(images, options, message):
    with pytest.raises(ValueError, match=message):
        shapes(NETWORK, images, **options)


def test_other_channels_and_bytes_are_rejected():
    _, variables = shapes(NETWORK, (1, 32, 32, 3))
    apply = lambda images: jax.eval_shape(NETWORK.apply, variables, images)
    with pytest.raises(ValueError, match="ResNet: `images` must have 3 channels, got 1"):
        apply(jnp.zeros((2, 32, 32, 1)))
    with pytest.raises(ValueError, match=r"`images` must be floating point, got uint8 \(divide bytes by 255\)"):
        apply(jnp.zeros((2, 32, 32, 3), jnp.uint8))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda v, x: NETWORK.apply(v, x, train=True), r"must be mutable with train=True: apply\(..., mutable="),
        (lambda v, x: NETWORK.apply(v["params"], x), '`variables` must have a collection "params", got none'),
        (lambda v, x: NETWORK.apply(v, [[1.0]]), "`images` must be an array .*, got list"),
        (lambda v, x: convolution.BatchNorm().init(jax.random.key(0), x, True, x[..., 0]), "must be bool, got float32"),
    ],
)
def test_invalid_calls_suggest_a_fix(call, message):
    _, variables = shapes(NETWORK, (1, 32, 32, 3))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call, variables, jnp.zeros((1, 32, 32, 3)))
