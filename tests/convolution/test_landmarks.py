"""LeNet-5, AlexNet, VGG and GoogLeNet: parameter counts, image sizes, activations, and errors."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from jaxnets.convolution.models.alexnet import alexnet, alexnet_2012, local_response_norm
from jaxnets.convolution.models.googlenet import googlenet
from jaxnets.convolution.models.lenet import lenet5, lenet5_wide
from jaxnets.convolution.models.vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from jaxnets.convolution.pooling import max_pool

DIGIT, SMALL, LARGE = (28, 28, 1), (32, 32, 3), (224, 224, 3)
COUNTS = [
    (lenet5, {}, DIGIT, 61_706),
    (lenet5, {"padding": (0, 0)}, (32, 32, 1), 61_706),
    (lenet5_wide, {}, SMALL, 1_677_170),
    (alexnet, {}, LARGE, 61_100_840),
    (alexnet_2012, {}, LARGE, 60_965_224),
    (alexnet_2012, {"grouped": False}, LARGE, 62_378_344),
    (vgg11, {}, LARGE, 132_863_336),
    (vgg13, {}, LARGE, 133_047_848),
    (vgg16, {}, LARGE, 138_357_544),
    (vgg19, {}, LARGE, 143_667_240),
    (vgg11_bn, {}, LARGE, 132_868_840),
    (vgg13_bn, {}, LARGE, 133_053_736),
    (vgg16_bn, {}, LARGE, 138_365_992),
    (vgg19_bn, {}, LARGE, 143_678_248),
    (googlenet, {}, LARGE, 6_624_904),
    (googlenet, {"auxiliary": True}, LARGE, 13_004_888),
    (googlenet, {"variant": "published"}, LARGE, 6_998_552),
    (googlenet, {"variant": "published_bn"}, LARGE, 7_005_832),
]
# One builder of each kind, its options, the shape of its images, and its minimum image size.
KINDS = [
    (lenet5, {}, DIGIT, 12),
    (lenet5_wide, {}, SMALL, 4),
    (alexnet, {}, LARGE, 63),
    (alexnet_2012, {}, LARGE, 63),
    (vgg11, {}, LARGE, 32),
    (vgg11_bn, {}, LARGE, 32),
    (googlenet, {}, LARGE, 15),
    (googlenet, {"auxiliary": True, "variant": "published"}, LARGE, 31),
]
each_kind = pytest.mark.parametrize("build, options, shape, min_size", KINDS)


def case_id(build, options):
    return "-".join([build.__name__, *map(str, options.values())])


@functools.cache
def shapes_of_variables(model, shape):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))


def shapes(model, shape, batch=1, dtype=jnp.float32, **arguments):
    run = lambda variables, images: model.apply(variables, images, **arguments)
    return jax.eval_shape(run, shapes_of_variables(model, shape), jax.ShapeDtypeStruct((batch, *shape), dtype))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("build, options, shape, expected", COUNTS, ids=[case_id(*row[:2]) for row in COUNTS])
def test_parameter_counts_are_exact(build, options, shape, expected):
    assert count(shapes_of_variables(build(**options), shape)["params"]) == expected


def test_parameter_counts_of_wide_lenet_layers():
    params = shapes_of_variables(lenet5_wide(), SMALL)["params"]
    counts = {name: count(layer) for name, layer in params.items()}
    assert counts == {"conv_1": 1_520, "conv_2": 25_050, "dense_1": 1_600_500, "head": 50_100}


@each_kind
def test_logits_are_float32_and_activations_have_the_compute_dtype(build, options, shape, min_size):
    model = build(num_classes=7, dtype=jnp.bfloat16, **options)
    variables = shapes_of_variables(model, shape)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits = shapes(model, shape, batch=3)
    assert logits.shape == (3, 7) and logits.dtype == jnp.float32
    assert shapes(model, shape, features=("pooled",))["pooled"].dtype == jnp.bfloat16


@each_kind
def test_without_a_head_the_output_is_the_last_activation(build, options, shape, min_size):
    model = build(num_classes=0, **{**options, "auxiliary": False} if "auxiliary" in options else options)
    assert "head" not in shapes_of_variables(model, shape)["params"]
    last = {"lenet5": 84, "lenet5_wide": 500, "googlenet": 1024}.get(build.__name__, 4096)
    assert shapes(model, shape).shape == (1, last)


class EmptyPoolingError(Exception):
    """The output of a pooling is empty."""


@each_kind
def test_smaller_images_than_the_minimum_are_rejected(build, options, shape, min_size, monkeypatch):
    def checked_max_pool(*args, **kwargs):
        pooled = max_pool(*args, **kwargs)
        if not pooled.size:
            raise EmptyPoolingError
        return pooled

    model, channels = build(**options), shape[-1]
    init = lambda height, width: jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, height, width, channels)))
    module = importlib.import_module(model.__class__.__module__)
    monkeypatch.setattr(module, "max_pool", checked_max_pool)
    init(min_size, min_size + 7)
    with pytest.raises(ValueError, match=f"at least {min_size} x {min_size}, got {min_size} x {min_size - 1}"):
        init(min_size, min_size - 1)
    monkeypatch.setattr(module, "check_images", lambda *args: None)
    with pytest.raises(EmptyPoolingError):
        init(min_size, min_size - 1)


@each_kind
def test_invalid_images_and_names_are_rejected(build, options, shape, min_size):
    model, name = build(**options), type(build()).__name__
    variables = shapes_of_variables(model, shape)
    apply = lambda *args, **kwargs: jax.eval_shape(lambda v: model.apply(v, *args, **kwargs), variables)
    height, width, channels = shape
    with pytest.raises(ValueError, match=f"{name}: `images` must have {channels} channels, got 2"):
        apply(jnp.zeros((1, height, width, 2)))
    with pytest.raises(ValueError, match="`images` must be floating point, got uint8"):
        apply(jnp.zeros((1, *shape), jnp.uint8))
    with pytest.raises(ValueError, match="among conv_1.*, got 'conv_9'"):
        apply(jnp.zeros((1, *shape)), features=("conv_9",))


def test_lenet_rejects_images_of_another_size():
    variables = shapes_of_variables(lenet5(), DIGIT)
    with pytest.raises(ValueError, match="must have the size that the parameters were initialized with, got 32 x 28"):
        jax.eval_shape(lenet5().apply, variables, jnp.zeros((1, 32, 28, 1)))


def test_lenet_matches_its_equations(float64):
    model = lenet5(dtype=jnp.float64)
    images = jax.random.normal(jax.random.key(0), (1, 13, 14, 2), jnp.float64)  # pooled to 1 x 1
    variables = jax.jit(model.init)(jax.random.key(1), images)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])

    def layer(x, padding, kernel, bias):  # x [C, H, W]
        x = np.pad(x, [(0, 0), (padding, padding), (padding, padding)])
        x = np.stack([correlate(x, kernel[..., c].transpose(2, 0, 1), "valid")[0] + bias[c] for c in range(len(bias))])
        x = np.maximum(x, 0)[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
        return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).max((2, 4))

    x = layer(np.asarray(images[0]).transpose(2, 0, 1), 2, **params["conv_1"])
    x = layer(x, 0, **params["conv_2"]).reshape(-1)
    for name in ("dense_1", "dense_2"):
        x = np.maximum(x @ params[name]["kernel"] + params[name]["bias"], 0)
    x = x @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(jax.jit(model.apply)(variables, images)[0], x, rtol=1e-10)


def test_features_are_flattened_channel_first():
    model = lenet5_wide(convolutions=(2, 3), dense_features=(4,), num_classes=2)
    images = jax.random.normal(jax.random.key(0), (2, 8, 12, 3))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    actual = jax.jit(lambda *given: model.apply(*given, features=("pooled", "dense_1")))(variables, images)
    assert actual["pooled"].shape == (2, 2, 3, 3)
    flat = np.asarray(actual["pooled"]).transpose(0, 3, 1, 2).reshape(2, -1)
    dense = jax.tree.map(np.asarray, variables["params"]["dense_1"])
    np.testing.assert_allclose(actual["dense_1"], np.maximum(flat @ dense["kernel"] + dense["bias"], 0), rtol=1e-5)


def test_response_norm_matches_torch():
    # torch.nn.functional.local_response_norm(x, 3, alpha=0.3, beta=0.75, k=2.0)
    expected = [0.50297338, -0.79876822, 1.21836519, 0.16115955, 1.52257597]
    normed = local_response_norm(jnp.array([1.0, -2.0, 3.0, 0.5, 4.0]), 3, alpha=0.1)
    np.testing.assert_allclose(normed, expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 4, 5, 13])
def test_response_norm_matches_its_equation(float64, size):
    x = np.random.default_rng(0).normal(size=(2, 3, 9))
    expected = np.empty_like(x)
    for i in range(9):
        window = x[..., max(0, i - size // 2) : i + (size - 1) // 2 + 1]
        expected[..., i] = x[..., i] / (1.5 + 0.2 * (window**2).sum(-1)) ** 0.6
    np.testing.assert_allclose(local_response_norm(jnp.array(x), size, 0.2, 0.6, 1.5), expected, rtol=1e-12)


def test_response_norm_squares_in_float32():
    x = jnp.full((1, 1, 1, 5), 300.0, jnp.float16)  # the square overflows float16
    y = local_response_norm(x)
    assert y.dtype == jnp.float16
    np.testing.assert_allclose(np.float32(y[..., 2]), 300 / (2 + 1e-4 * 5 * 90_000) ** 0.75, rtol=1e-3)


STEPS = {
    "lenet5_wide": (lenet5_wide(dropout=0.5), (9, 8, 3)),
    "alexnet": (alexnet(dense_features=8, num_classes=3), (63, 66, 1)),
    "alexnet_2012": (alexnet_2012(dense_features=8, num_classes=3), (66, 63, 2)),
    "vgg_bn": (VGG((1, 1, 1, 1, 1), num_classes=3, batch_norm=True, dense_features=8), (32, 35, 3)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name != "lenet5_wide" else name for name in STEPS]
)
def test_gradients_of_one_image_are_finite_in_bfloat16(name):
    model, shape = STEPS[name]
    model = model.clone(dtype=jnp.bfloat16)
    images = jax.random.normal(jax.random.key(0), (1, *shape))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    params, rest = variables["params"], {key: value for key, value in variables.items() if key != "params"}

    @jax.jit
    @jax.grad
    def gradient(params, key):
        variables = {"params": params, **rest}
        logits, _ = model.apply(variables, images, train=True, rngs={"dropout": key}, mutable=["batch_stats"])
        return jnp.sum(logits**2)

    first, second = gradient(params, jax.random.key(2)), gradient(params, jax.random.key(3))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(first))
    assert {leaf.dtype for leaf in jax.tree.leaves(first)} == {jnp.dtype("float32")}
    assert not np.allclose(first["head"]["bias"], second["head"]["bias"])  # dropout depends on the key


def test_auxiliary_heads_are_optional():
    model = googlenet(auxiliary=True, num_classes=5)
    variables = shapes_of_variables(model, (32, 32, 3))
    assert {"auxiliary_1", "auxiliary_2"} <= set(variables["params"])
    assert {"auxiliary_1", "auxiliary_2"} <= set(variables["batch_stats"])
    rngs = {"dropout": jax.random.key(0)}
    heads, updated = shapes(model, (32, 32, 3), 2, train=True, rngs=rngs, mutable=["batch_stats"])
    assert isinstance(heads, tuple) and [logits.shape for logits in heads] == [(2, 5)] * 3
    assert jax.tree.structure(updated["batch_stats"]) == jax.tree.structure(variables["batch_stats"])
    assert shapes(model, (32, 32, 3), 2).shape == (2, 5)
    activations = shapes(model, (32, 32, 3), features=("auxiliary_2", "logits"))
    assert list(activations) == ["auxiliary_2", "logits"] and activations["auxiliary_2"].shape == (1, 5)
    with pytest.raises(ValueError, match="`features` must be among .*got 'auxiliary_1'"):
        shapes(googlenet(), (32, 32, 3), features=("auxiliary_1",))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"variant": "caffe"}, "`variant` must be one of torchvision, published_bn, published, got 'caffe'"),
        ({"auxiliary": True, "num_classes": 0}, "`num_classes` must be at least 1 with auxiliary heads, got 0"),
    ],
)
def test_invalid_googlenet_attributes_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        shapes(googlenet(**options), (32, 32, 3))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["torchvision", "published_bn", "published"])
def test_each_googlenet_head_has_gradients(variant):
    model = googlenet(auxiliary=True, num_classes=3, variant=variant, dtype=jnp.bfloat16)
    images = jax.random.normal(jax.random.key(0), (2, 33, 31, 1))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    rest = {key: value for key, value in variables.items() if key != "params"}

    @jax.jit
    @jax.grad
    def gradient(params, weights):
        rngs = {"dropout": jax.random.key(2)}
        heads, _ = model.apply({"params": params, **rest}, images, train=True, rngs=rngs, mutable=["batch_stats"])
        return sum(weight * jnp.sum(head[:, 0]) for weight, head in zip(weights, heads, strict=True))

    for head, last in enumerate(("inception_5b", "inception_4a", "inception_4d")):
        gradients = gradient(variables["params"], jnp.eye(3)[head])
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))
        nonzero = [name for name, g in gradients.items() if any(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(g))]
        inceptions = [name for name in nonzero if name.startswith("inception")]
        assert max(inceptions) == last and "conv_1" in nonzero
