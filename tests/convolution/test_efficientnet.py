"""EfficientNets: parameter counts, compound scaling, shapes, stochastic depth, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled_variables import filled
from flax import linen as nn

from jaxnets.convolution.blocks import StochasticDepth
from jaxnets.convolution.models import efficientnet

COUNTS = [5_288_548, 7_794_184, 9_109_994, 12_233_232, 19_341_616, 30_389_784, 43_040_704, 66_347_960]
STAGES = (efficientnet.Stage(1, 3, 1, 16, 1), efficientnet.Stage(6, 5, 2, 20, 2))
TINY = efficientnet.EfficientNet(0.5, 0.6, STAGES, num_classes=5)


@pytest.fixture(scope="module")
def tiny():
    """Variables, and images of an odd size."""
    images = np.random.default_rng(0).normal(size=(2, 6, 15, 3)).astype(np.float32)
    return filled(TINY, images), images


@pytest.mark.parametrize("variant", [pytest.param(v, marks=pytest.mark.slow) if v > 3 else v for v in range(8)])
def test_parameter_counts(variant):
    model = getattr(efficientnet, f"efficientnet_b{variant}")()
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1, 1, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == COUNTS[variant]


def test_activation_shapes(tiny):
    variables, images = tiny
    names = ("stem", "stage_1", "stage_2", "last", "pooled", "logits")
    actual = jax.jit(lambda v, x: TINY.apply(v, x, features=names))(variables, images)
    assert [actual[name].shape[1:] for name in names] == [(3, 8, 16), (3, 8, 8), (2, 4, 16), (2, 4, 64), (64,), (5,)]
    assert "stage_2_block_2" in variables["params"] and "stage_1_block_2" not in variables["params"]
    np.testing.assert_allclose(actual["pooled"], actual["last"].mean((1, 2)), rtol=1e-5, atol=1e-6)


def rates(model, size=32):
    """Returns the rates of stochastic depth of a model, in order."""
    rates = []

    def spy(call, args, kwargs, context):
        if isinstance(context.module, StochasticDepth):
            rates.append(context.module.rate)
        return call(*args, **kwargs)

    with nn.intercept_methods(spy):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    return rates


def test_drop_rates_increase_linearly():
    # B0 has 16 blocks; the first block of each stage has no shortcut.
    expected = [0.2 * block / 16 for block in (2, 4, 6, 7, 9, 10, 12, 13, 14)]
    np.testing.assert_allclose(rates(efficientnet.efficientnet_b0()), expected)
    assert not any(rates(TINY.clone(stochastic_depth=0.0)))


def test_channels_are_rounded_to_multiples_of_eight():
    scaled = lambda width, channels: efficientnet.EfficientNet(width)._channels(channels)
    assert [scaled(1.1, c) for c in (16, 24, 40, 80, 112)] == [16, 24, 48, 88, 120]
    assert scaled(0.6, 32) == 24  # the nearest multiple of 8 to 19.2 is 16, which would lose more than 10 %
    assert scaled(0.1, 16) == 8


def test_block_matches_its_equation():
    """For one pixel, only the center of the depthwise kernel matters, and the channel means are the pixel."""
    block = efficientnet.MBConv(8, expand_ratio=2, kernel_size=5, epsilon=0.1)
    x = np.random.default_rng(2).normal(size=(3, 1, 1, 8)).astype(np.float32)
    variables = filled(block, x)
    p, stats = variables["params"], variables["batch_stats"]
    silu, sigmoid = (lambda a: a / (1 + np.exp(-a))), (lambda a: 1 / (1 + np.exp(-a)))

    def normed(name, y):
        norm, running = p[name]["norm"], stats[name]["norm"]
        return (y - running["mean"]) / np.sqrt(running["var"] + 0.1) * norm["scale"] + norm["bias"]

    hidden = silu(normed("expand", x[:, 0, 0] @ p["expand"]["conv"]["kernel"][0, 0]))
    hidden = silu(normed("depthwise", hidden * p["depthwise"]["conv"]["kernel"][2, 2, 0]))
    dense = lambda name, a: a @ p["squeeze_excite"][name]["kernel"][0, 0] + p["squeeze_excite"][name]["bias"]
    assert p["squeeze_excite"]["squeeze"]["kernel"].shape == (1, 1, 16, 2)
    hidden *= sigmoid(dense("excite", silu(dense("squeeze", hidden))))
    expected = x[:, 0, 0] + normed("project", hidden @ p["project"]["conv"]["kernel"][0, 0])
    np.testing.assert_allclose(jax.jit(block.apply)(variables, x)[:, 0, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change", [dict(stride=2), dict(features=16)]
)  # for one pixel, the output is one pixel with any stride
def test_block_that_changes_the_shape_has_no_shortcut(change):
    block = efficientnet.MBConv(**{"features": 8, **change})
    x = np.ones((1, 1, 1, 8), np.float32)
    variables = jax.tree.map(np.zeros_like, filled(block, x))
    assert not jax.jit(block.apply)(variables, x).any()


def test_training_is_random_and_updates_all_statistics(tiny):
    variables, images = tiny

    @jax.jit
    def step(params, key):
        def loss(params):
            given = {**variables, "params": params}
            logits, updated = TINY.apply(given, images, train=True, rngs={"dropout": key}, mutable=["batch_stats"])
            return jnp.sum(logits * jnp.arange(5.0)[None]), updated

        (value, updated), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return value, updated, gradient

    value, updated, gradient = step(variables["params"], jax.random.key(2))
    assert value != step(variables["params"], jax.random.key(3))[0]
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradient))
    assert bool(gradient["stem"]["conv"]["kernel"].any())
    before, after = (jax.tree.leaves(tree) for tree in (variables["batch_stats"], updated["batch_stats"]))
    assert all(bool((a != b).any()) for a, b in zip(before, after, strict=True))


def test_bfloat16_model_has_float32_logits_and_parameters(tiny):
    variables, images = tiny
    model = TINY.clone(dtype=jnp.bfloat16)
    actual = jax.jit(lambda v, x: model.apply(v, x, features=("stage_2", "pooled", "logits")))(variables, images)
    types = {name: a.dtype for name, a in actual.items()}
    assert types == {"stage_2": jnp.bfloat16, "pooled": jnp.bfloat16, "logits": jnp.float32}
    np.testing.assert_allclose(actual["logits"], jax.jit(TINY.apply)(variables, images), atol=0.1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_options_override_the_defaults_of_a_variant():
    assert efficientnet.efficientnet_b7().dropout == 0.5 and efficientnet.efficientnet_b7(dropout=0.1).dropout == 0.1
    assert (efficientnet.efficientnet_b4().epsilon, efficientnet.efficientnet_b5().epsilon) == (1e-5, 1e-3)
    assert (efficientnet.efficientnet_b4().momentum, efficientnet.efficientnet_b5().momentum) == (0.9, 0.99)


def test_model_without_a_head_and_invalid_images(tiny):
    variables, images = tiny
    run = lambda images, model=TINY, **given: jax.eval_shape(lambda v: model.apply(v, images, **given), variables)
    assert run(images[:1, :1, :1], TINY.clone(num_classes=0)).shape == (1, 64)
    with pytest.raises(ValueError, match="at least 1 x 1, got 0 x 15"):
        run(images[:, :0])
    with pytest.raises(ValueError, match="`images` must have 3 channels, got 2"):
        run(images[..., :2])
    with pytest.raises(ValueError, match="among stem, stage_1.*, got 'stage_3'"):
        run(images, features=("stage_3",))
