"""ConvNeXt: parameter counts, shapes, blocks, precision of norms, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from filled_variables import filled
from flax import linen as nn

from jaxnets.convolution.blocks import StochasticDepth
from jaxnets.convolution.models import convnext

COUNTS = {
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
    "convnext_base": 88_591_464,
    "convnext_large": 197_767_336,
}
TINY = convnext.ConvNeXt((1, 2), (4, 6), num_classes=5)


@pytest.fixture(scope="module")
def tiny():
    """Variables, and images of minimum height and odd width."""
    images = np.random.default_rng(0).normal(size=(2, 8, 23, 3)).astype(np.float32)
    return filled(TINY, images), images


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    model = getattr(convnext, name)()
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == COUNTS[name]


def test_activation_shapes_and_the_norm_before_the_head(tiny):
    variables, images = tiny
    names = ("stem", "stage_1", "stage_2", "pooled", "norm", "logits")
    actual = jax.tree.map(np.asarray, jax.jit(lambda v, x: TINY.apply(v, x, features=names))(variables, images))
    assert [actual[name].shape[1:] for name in names] == [(2, 5, 4), (2, 5, 4), (1, 2, 6), (6,), (6,), (5,)]
    np.testing.assert_allclose(actual["pooled"], actual["stage_2"].mean((1, 2)), rtol=1e-5, atol=1e-6)
    centered = actual["pooled"] - actual["pooled"].mean(-1, keepdims=True)
    normed = centered / np.sqrt(centered.var(-1, keepdims=True) + 1e-6)
    p = jax.tree.map(np.asarray, variables["params"])
    np.testing.assert_allclose(actual["norm"], normed * p["norm"]["scale"] + p["norm"]["bias"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        actual["logits"], actual["norm"] @ p["head"]["kernel"] + p["head"]["bias"], rtol=1e-4, atol=1e-5
    )


def test_block_matches_its_equation():
    """For one pixel, only the center of the depthwise kernel matters."""
    block, x = convnext.ConvNeXtBlock(), np.random.default_rng(2).normal(size=(3, 1, 1, 6)).astype(np.float32)
    variables = filled(block, x)
    p = variables["params"]
    y = x[:, 0, 0] * p["depthwise"]["kernel"][3, 3, 0] + p["depthwise"]["bias"]
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
    y = (y * p["norm"]["scale"] + p["norm"]["bias"]) @ p["expand"]["kernel"] + p["expand"]["bias"]
    y = y * scipy.stats.norm.cdf(y)
    y = (y @ p["project"]["kernel"] + p["project"]["bias"]) * p["layer_scale"]
    np.testing.assert_allclose(jax.jit(block.apply)(variables, x)[:, 0, 0], x[:, 0, 0] + y, rtol=1e-4, atol=1e-5)


def test_initial_block_is_close_to_the_identity():
    block, x = convnext.ConvNeXtBlock(), np.cos(np.arange(210, dtype=np.float32)).reshape(1, 7, 5, 6)
    y, variables = jax.jit(block.init_with_output)(jax.random.key(1), x)
    assert 0 < float(jnp.abs(y - x).max()) < 1e-5
    params = variables["params"]
    np.testing.assert_array_equal(params["layer_scale"], np.full(6, 1e-6, np.float32))
    assert [0.015 < float(params[n]["kernel"].std()) < 0.025 for n in ("depthwise", "expand", "project")] == [True] * 3


@pytest.mark.parametrize("name, last", [("convnext_tiny", 0.1), ("convnext_small", 0.4), ("convnext_large", 0.5)])
def test_drop_rates_increase_linearly(name, last):
    model, rates = getattr(convnext, name)(), []
    model = model.clone(widths=(4,) * 4)

    def spy(call, args, kwargs, context):
        if isinstance(context.module, StochasticDepth):
            rates.append(context.module.rate)
        return call(*args, **kwargs)

    with nn.intercept_methods(spy):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    np.testing.assert_allclose(rates, np.linspace(0, last, sum(model.blocks)))


def test_training_is_random_with_finite_gradients(tiny):
    variables, images = tiny
    model = TINY.clone(stochastic_depth=0.5)

    @jax.jit
    def step(params, key):
        logits = lambda p: model.apply({"params": p}, images, train=True, rngs={"dropout": key})
        loss = lambda p: jnp.sum(logits(p) * jnp.arange(5.0)[None])
        return jax.value_and_grad(loss)(params)

    steps = [step(variables["params"], jax.random.key(seed)) for seed in range(4)]
    assert len({float(loss) for loss, _ in steps}) > 1
    for _, gradient in steps:
        assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradient))
        assert bool(gradient["stem"]["kernel"].any())


def test_bfloat16_model_has_float32_norms_and_logits(tiny):
    variables, images = tiny
    model = TINY.clone(dtype=jnp.bfloat16)
    actual = jax.jit(lambda v, x: model.apply(v, x, features=("stage_2", "norm", "logits")))(variables, images)
    types = {name: a.dtype for name, a in actual.items()}
    assert types == {"stage_2": jnp.bfloat16, "norm": jnp.bfloat16, "logits": jnp.float32}
    np.testing.assert_allclose(actual["logits"], jax.jit(TINY.apply)(variables, images), atol=0.05)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    # A bfloat16 sum of a thousand ones would be 256.
    x = jnp.concatenate([jnp.full(600, 3.0), jnp.full(400, 5.0)]).astype(jnp.bfloat16)[None]
    norm = convnext._norm(jnp.bfloat16, None)
    y = norm.apply(norm.init(jax.random.key(0), x), x)
    np.testing.assert_allclose(np.unique(y.astype(np.float32)), [-0.8165, 1.2247], rtol=4e-3)


def test_norm_is_exact_for_large_means():
    x = 1e4 + jnp.array([[-1.0, 0.0, 1.0]])
    norm = convnext._norm(jnp.float32, None)
    np.testing.assert_allclose(norm.apply(norm.init(jax.random.key(0), x), x), [[-1.224744, 0, 1.224744]], rtol=1e-4)


def test_model_without_a_head_and_invalid_images(tiny):
    variables, images = tiny
    run = lambda images, model=TINY, **given: jax.eval_shape(lambda v: model.apply(v, images, **given), variables)
    assert run(images[:1, :, :8], TINY.clone(num_classes=0)).shape == (1, 6)
    with pytest.raises(ValueError, match="at least 8 x 8, got 8 x 7"):
        run(images[:, :, :7])
    with pytest.raises(ValueError, match="at least 32 x 32, got 32 x 31"):  # 32 x 32: in test_parameter_counts
        convnext.convnext_tiny().init(jax.random.key(0), jnp.zeros((1, 32, 31, 3)))
    with pytest.raises(ValueError, match="`images` must have 3 channels, got 1"):
        run(images[..., :1])
    with pytest.raises(ValueError, match="among .*, got 'stage2'.*did you mean 'stage_2'"):
        run(images, features=("stage2",))
