"""DenseNets: parameter counts, shapes, dense blocks, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled_variables import filled

from jaxnets.convolution.models import densenet
from jaxnets.convolution.pooling import max_pool

COUNTS = {
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "densenet161": 28_681_000,
}
TINY = densenet.DenseNet((2, 1), growth_rate=4, width=6, num_classes=5)


@pytest.fixture(scope="module")
def tiny():
    """Variables, and images of minimum height and odd width."""
    images = np.random.default_rng(0).normal(size=(2, 5, 15, 3)).astype(np.float32)
    return filled(TINY, images), images


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    model = getattr(densenet, name)()
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 29, 29, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == COUNTS[name]


def test_activation_shapes_and_concatenated_inputs(tiny):
    variables, images = tiny
    names = ("stem", "block_1", "transition_1", "block_2", "norm", "pooled", "logits")
    actual = jax.jit(lambda v, x: TINY.apply(v, x, features=names))(variables, images)
    assert {name: a.shape[1:] for name, a in actual.items()} == {
        "stem": (3, 8, 6),
        "block_1": (2, 4, 14),
        "transition_1": (1, 2, 7),
        "block_2": (1, 2, 11),
        "norm": (1, 2, 11),
        "pooled": (11,),
        "logits": (5,),
    }
    np.testing.assert_array_equal(actual["block_1"][..., :6], max_pool(actual["stem"], 3, 2, padding=1))
    np.testing.assert_array_equal(actual["block_2"][..., :7], actual["transition_1"])


def test_layer_matches_its_equation(tiny):
    params, stats = (tiny[0][kind]["block_1_layer_1"] for kind in ("params", "batch_stats"))
    x = np.random.default_rng(2).normal(size=(2, 1, 1, 6)).astype(np.float32)
    layer = densenet.DenseLayer(4)
    y = jax.jit(layer.apply)({"params": params, "batch_stats": stats}, x)

    def normed(n, a):
        scale, bias = params[n]["scale"], params[n]["bias"]
        return np.maximum((a - stats[n]["mean"]) / np.sqrt(stats[n]["var"] + 1e-5) * scale + bias, 0)

    hidden = normed("norm_1", x[:, 0, 0]) @ params["conv_1"]["kernel"][0, 0]
    added = normed("norm_2", hidden) @ params["conv_2"]["kernel"][1, 1]  # the other pixels are padding
    np.testing.assert_allclose(y[:, 0, 0], np.concatenate([x[:, 0, 0], added], -1), rtol=1e-4, atol=1e-5)


def test_training_updates_all_statistics_and_has_finite_gradients(tiny):
    variables, images = tiny

    def loss(params):
        logits, updated = TINY.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])
        return jnp.sum(logits * jnp.arange(5.0)[None]), updated

    gradient, updated = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradient))
    assert all(bool(g["kernel"].any()) for g in (gradient["stem"]["conv"], gradient["block_1_layer_1"]["conv_1"]))
    before, after = (jax.tree.leaves(tree) for tree in (variables["batch_stats"], updated["batch_stats"]))
    assert all(bool((a != b).any()) for a, b in zip(before, after, strict=True))


def test_dropout_applies_to_the_added_channels():
    layer, x = densenet.DenseLayer(40, dropout=0.5), np.cos(np.arange(48, dtype=np.float32)).reshape(4, 2, 2, 3)
    variables = filled(layer, x)
    run = jax.jit(lambda key: layer.apply(variables, x, True, rngs={"dropout": key}, mutable=["batch_stats"])[0])
    first, second = run(jax.random.key(1)), run(jax.random.key(2))
    np.testing.assert_array_equal(first[..., :3], x)
    assert 0.4 < float((first[..., 3:] == 0).mean()) < 0.6 and bool((first != second).any())


def test_bfloat16_model_has_float32_logits_and_parameters(tiny):
    variables, images = tiny
    model = TINY.clone(dtype=jnp.bfloat16)
    actual = jax.jit(lambda v, x: model.apply(v, x, features=("block_2", "pooled", "logits")))(variables, images)
    types = {name: a.dtype for name, a in actual.items()}
    assert types == {"block_2": jnp.bfloat16, "pooled": jnp.bfloat16, "logits": jnp.float32}
    np.testing.assert_allclose(actual["logits"], jax.jit(TINY.apply)(variables, images), atol=0.1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_model_without_a_head_and_invalid_images(tiny):
    variables, images = tiny
    run = lambda images, model=TINY, **given: jax.eval_shape(lambda v: model.apply(v, images, **given), variables)
    assert run(images[:1], TINY.clone(num_classes=0)).shape == (1, 11)
    with pytest.raises(ValueError, match="at least 5 x 5, got 4 x 15"):
        run(images[:, :4])
    with pytest.raises(ValueError, match="at least 29 x 29, got 28 x 29"):  # 29 x 29: in test_parameter_counts
        densenet.densenet121().init(jax.random.key(0), jnp.zeros((1, 28, 29, 3)))
    with pytest.raises(ValueError, match="`images` must have 3 channels, got 1"):
        run(images[..., :1])
    with pytest.raises(ValueError, match="among stem, block_1.*, got 'block1'.*did you mean 'block_1'"):
        run(images, features=("block1",))
