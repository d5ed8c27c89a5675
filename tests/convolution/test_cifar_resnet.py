"""CIFAR ResNets and wide residual networks: parameter counts, shortcuts, shapes and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.convolution.models.cifar_resnet import (
    CifarBlock,
    CifarResNet,
    cifar_resnet20,
    cifar_resnet32,
    cifar_resnet56,
    cifar_resnet110,
    padded_shortcut,
)
from jaxnets.convolution.models.wide_resnet import WideBlock, WideResNet, wide_resnet16_4, wide_resnet28_10

IMAGES = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
SMALL = {"cifar": CifarResNet(8, width=4), "wide": WideResNet(10, 1, dropout=0.3)}
each = pytest.mark.parametrize("name", SMALL)


def shapes(model, images=IMAGES):
    return jax.eval_shape(model.init, jax.random.key(0), images)


@pytest.mark.parametrize(
    "make, count",
    [
        (cifar_resnet20, 269_722),
        (cifar_resnet32, 464_154),
        (cifar_resnet56, 853_018),
        pytest.param(cifar_resnet110, 1_727_962, marks=pytest.mark.slow),
        (wide_resnet28_10, 36_479_194),
        (wide_resnet16_4, 2_748_890),
    ],
)
def test_parameter_counts_match_the_papers(make, count):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes(make())["params"])) == count


def test_padded_shortcut_subsamples_and_appends_zeros():
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    expected = np.zeros((2, 3, 2, 6), np.float32)
    expected[..., :3] = x[:, [0, 2, 4]][:, :, [0, 2]]
    np.testing.assert_array_equal(padded_shortcut(jnp.asarray(x), 6, 2), expected)
    block = CifarBlock(6, 2)
    variables = jax.jit(block.init)(jax.random.key(0), x)
    assert set(variables["params"]) == {"conv_1", "conv_2"}
    variables["params"]["conv_2"]["norm"]["scale"] *= 0  # leaves only the shortcut
    np.testing.assert_array_equal(jax.jit(block.apply)(variables, x), np.maximum(expected, 0))


def test_shortcut_of_a_wide_block_follows_the_norm():
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    same, wider = WideBlock(3), WideBlock(4, 2)
    for block in (same, wider):
        variables = jax.jit(block.init)(jax.random.key(0), x)
        variables["params"]["conv_2"]["kernel"] *= 0
        actual = jax.jit(block.apply)(variables, x)
        if block is same:
            np.testing.assert_array_equal(actual, x)
        else:
            activated = np.maximum(x[:, ::2, ::2] / np.sqrt(1 + 1e-5), 0)
            np.testing.assert_allclose(actual, activated @ variables["params"]["shortcut"]["kernel"][0, 0], atol=1e-5)


@each
def test_activation_shapes_and_invalid_arguments(name):
    model, odd_sized = SMALL[name], jax.ShapeDtypeStruct((1, 33, 30, 3), jnp.float32)
    variables = shapes(model)
    apply = lambda images, **options: jax.eval_shape(lambda v, x: model.apply(v, x, **options), variables, images)
    assert apply(odd_sized, features=("stage_3",))["stage_3"].shape[1:3] == (9, 8)
    assert apply(jax.ShapeDtypeStruct((1, 1, 1, 3), jnp.float32)).shape == (1, 10)
    pooled = jax.eval_shape(model.clone(num_classes=0).apply, shapes(model.clone(num_classes=0)), IMAGES)
    assert pooled.shape == apply(IMAGES, features=("pooled",))["pooled"].shape
    with pytest.raises(ValueError, match="at least 1 x 1, got 0 x 4"):
        apply(jax.ShapeDtypeStruct((1, 0, 4, 3), jnp.float32))
    with pytest.raises(ValueError, match="`images` must have 3 channels, got 1"):
        apply(jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32))
    with pytest.raises(ValueError, match="did you mean 'stage_3'"):
        apply(IMAGES, features=("stage_4",))
    for depth in (2, 4, 21):
        with pytest.raises(ValueError, match=rf"`depth` must be 6 n \+ [24], .*, got {depth}"):
            shapes(model.clone(depth=depth))


@each
def test_bfloat16_gradients_are_finite(name):
    model = SMALL[name].clone(dtype=jnp.bfloat16)
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}

    @jax.jit
    def gradient(params, key):
        def loss(params):
            given = {**variables, "params": params}
            actual, new = model.apply(
                given, images, train=True, mutable="batch_stats", rngs={"dropout": key}, features=("stage_1", "logits")
            )
            return jnp.sum(actual["logits"] ** 2), (actual, new)

        return jax.grad(loss, has_aux=True)(params)

    grads, (actual, new) = gradient(variables["params"], jax.random.key(2))
    assert actual["stage_1"].dtype == jnp.bfloat16
    assert actual["logits"].dtype == jnp.float32
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((grads, new)))
    other = gradient(variables["params"], jax.random.key(3))[1][0]["logits"]
    assert bool((other != actual["logits"]).any()) == (name == "wide")  # only wide networks have dropout
