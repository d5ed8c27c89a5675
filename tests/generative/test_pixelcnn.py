"""Autoregressive models of images: causality, blind spots, exact probabilities, rows, samples, counts."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import generative
from jaxnets.generative.autoregressive.pixel_model import CategoricalPixelModel
from jaxnets.generative.autoregressive.weight_norm import WeightNormConv, double_size

KEY = jax.random.key(0)
GRAY = {"hidden": 4, "head": 4}
COLOR = {"image_shape": (3, 4, 3), "num_levels": 2, "hidden": 6, "head": 6}
PLUS = {"hidden": 4, "num_blocks": 1, "num_mixtures": 2}
MODELS = {
    "pixelcnn": (generative.PixelCNN(num_blocks=2, **GRAY), (5, 5, 1)),
    "pixelcnn, color": (generative.PixelCNN(num_blocks=1, **COLOR), (3, 4, 3)),
    "pixelcnn, levels": (generative.PixelCNN(num_blocks=1, **{**COLOR, "num_levels": 3}), (3, 3, 3)),
    "gated": (generative.GatedPixelCNN(num_layers=2, num_classes=3, **GRAY), (5, 5, 1)),
    "gated, color": (generative.GatedPixelCNN(num_layers=2, **COLOR), (3, 4, 3)),
    "gated, embedded": (
        generative.GatedPixelCNN((4, 3, 1), num_layers=2, num_levels=5, hidden=8, head=6, embed_dim=3),
        (4, 3, 1),
    ),
    "pixelcnn++": (generative.PixelCNNPlusPlus(**PLUS), (4, 8, 3)),
    "pixelcnn++, gray": (
        generative.PixelCNNPlusPlus(image_shape=(8, 4, 1), num_classes=3, num_levels=4, **PLUS),
        (8, 4, 1),
    ),
}


def labels_of(model, count):
    return jnp.arange(count, dtype=jnp.int32) % model.num_classes if model.num_classes else None


@functools.cache
def example(name, count=2):
    """Returns a model, its variables, pixels ``[count, H, W, C]`` and labels."""
    model, shape = MODELS[name]
    levels = np.random.default_rng(0).integers(0, model.num_levels, (16, *shape))
    xs = jnp.asarray(2 * levels / (model.num_levels - 1) - 1, jnp.float32)
    variables = jax.jit(model.init)(KEY, xs, labels_of(model, 16))  # initialized by many pixels
    return model, variables, xs[:count], labels_of(model, count)


ALL = [pytest.param(name, marks=pytest.mark.slow(20) if "++" in name else []) for name in MODELS]


@pytest.mark.parametrize("name", ALL)
def test_no_output_depends_on_later_pixels(name):
    model, variables, xs, labels = example(name, 1)
    _, height, width, channels = xs.shape
    outputs = lambda x: model.apply(variables, x[None], labels)[0].reshape(height * width, -1)
    jacobian = np.asarray(jax.jit(jax.jacrev(outputs))(xs[0])).reshape(height * width, -1, height * width, channels)
    dependent = np.abs(jacobian).max(axis=1)  # [output, input, channel]
    assert not dependent[np.triu_indices(height * width, 1)].any()
    if channels == 3 and isinstance(model, CategoricalPixelModel):
        by_channel = np.abs(jacobian).reshape(height * width, channels, -1, height * width, channels).max(axis=2)
        own = by_channel[np.arange(height * width), :, np.arange(height * width)]  # [pixel, output, input]
        assert not own[:, *np.triu_indices(3)].any() and own[:, *np.tril_indices(3, -1)].any()
    else:
        assert not dependent[np.diag_indices(height * width)].any()


def test_embedded_levels_change_the_outputs_of_later_pixels_only():
    model, variables, xs, _ = example("gated, embedded", 1)
    outputs = lambda x: np.asarray(model.apply(variables, x)).reshape(12, -1)
    for pixel in range(12):
        changed = xs.at[0, pixel // 3, pixel % 3, 0].add(jnp.where(xs[0, pixel // 3, pixel % 3, 0] > 0, -0.5, 0.5))
        differs = np.abs(outputs(changed) - outputs(xs)).max(axis=1) > 0
        assert not differs[: pixel + 1].any() and (differs[pixel + 1 :].any() or pixel == 11)


def sees(model, size):
    """Returns which pixels of a square image the output at the center of its last row depends on."""
    xs = jnp.ones((1, size, size, 1))
    variables = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.1), model.init(KEY, xs))
    gradient = jax.grad(lambda x: model.apply(variables, x)[0, -1, size // 2, 0])(xs)
    return np.asarray(gradient[0, ..., 0]) != 0


@pytest.mark.slow(10)
def test_pixelcnn_has_the_published_blind_spot_and_the_gated_network_none():
    seen = sees(generative.PixelCNN(num_blocks=7, hidden=2, head=2), 31)[-16:]  # 15 rows above
    assert seen.sum() == 192
    gated = sees(generative.GatedPixelCNN(num_layers=8, hidden=2, head=2), 21)
    rows = gated[-11:].reshape(-1)  # 3 rows by the first layer, and one by each later one
    before = 10 * 21 + 10
    assert rows[:before].all() and not rows[before:].any()


@pytest.mark.parametrize("name", ["pixelcnn", "pixelcnn, color", "gated", "gated, color"])
def test_probabilities_of_all_images_sum_to_one(name):
    model, shape = MODELS[name]
    shape = (2, 2, 1) if shape[-1] == 1 else (1, 2, 3)
    bits = np.array(list(itertools.product([-1.0, 1.0], repeat=np.prod(shape))), np.float32).reshape(-1, *shape)
    labels = labels_of(model, len(bits))
    labels = labels if labels is None else jnp.zeros_like(labels)
    variables = example(name)[1]
    log_probs = jax.jit(lambda xs: model.log_prob(model.apply(variables, xs, labels), xs))(bits)
    np.testing.assert_allclose(jnp.exp(log_probs).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_blocks_of_rows_equal_the_whole_image(name):
    model, variables, xs, labels = example(name)
    with jax.enable_x64(True):  # the few features of these networks amplify rounding errors
        model = model.clone(dtype=jnp.float64)
        xs = jnp.concatenate([xs, xs[:, ::-1], xs], axis=1).astype(jnp.float64)
        apply = jax.jit(lambda rows, carry: model.apply(variables, rows, carry, labels, method="rows"))
        expected = apply(xs, None)[0]
        carry, outputs, block = None, [], model.block_rows * (1 if model.block_rows > 1 else 2)
        for top in range(0, xs.shape[1], block):
            rows = xs[:, top : top + block]
            output, carry = apply(rows, carry)
            outputs.append(output)
        np.testing.assert_allclose(jnp.concatenate(outputs, axis=1), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["pixelcnn, levels", "gated", pytest.param("pixelcnn++", marks=pytest.mark.slow(20))])
def test_samples_are_drawn_from_the_outputs_at_each_pixel(name):
    model, variables, xs, labels = example(name)
    keys = jax.random.split(jax.random.key(1), 2)
    step = lambda rows, carry: model.apply(variables, rows, carry, labels, method="rows")
    sample = jax.jit(
        lambda: generative.sample_images(step, model.draw, keys, xs.shape[1:], model.block_rows, model.groups)
    )
    images = sample()
    outputs = jax.jit(model.apply)(variables, images, labels)
    _, height, width, channels = xs.shape
    position = jnp.arange(height * width * model.groups, dtype=jnp.uint32)
    by_pixel = outputs.reshape(2, height * width, *outputs.shape[3:])
    repeated = jnp.repeat(by_pixel, model.groups, axis=1)
    draw = lambda key, outputs: jax.vmap(model.draw)(jax.vmap(jax.random.fold_in, (None, 0))(key, position), outputs)
    drawn = jax.jit(jax.vmap(draw))(keys, repeated).reshape(2, height, width, model.groups, channels)
    expected = jnp.diagonal(drawn, axis1=3, axis2=4) if model.groups > 1 else drawn[..., 0, :]
    np.testing.assert_array_equal(images, expected)
    assert len(np.unique(images)) > 1


def test_frequencies_of_samples_are_the_probabilities():
    model = generative.GatedPixelCNN(num_layers=1, **GRAY)
    bits = np.array(list(itertools.product([-1.0, 1.0], repeat=4)), np.float32).reshape(-1, 2, 2, 1)
    variables = jax.tree.map(lambda leaf: 2 * leaf, model.init(KEY, jnp.asarray(bits)))
    expected = np.exp(model.log_prob(model.apply(variables, jnp.asarray(bits)), jnp.asarray(bits)))
    step = lambda rows, carry: model.apply(variables, rows, carry, method="rows")
    keys = jax.random.split(KEY, 20_000)
    images = jax.jit(lambda keys: generative.sample_images(step, model.draw, keys, (2, 2, 1)))(keys)
    index = (np.asarray(images).reshape(-1, 4) > 0) @ np.array([8, 4, 2, 1])
    found = np.bincount(index, minlength=16) / len(keys)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(0.25 / len(keys)))


def test_an_image_does_not_depend_on_the_others_of_its_batch():
    model, variables, xs, _ = example("pixelcnn")
    step = lambda rows, carry: model.apply(variables, rows, carry, method="rows")
    keys = jax.random.split(KEY, 3)
    sample = lambda keys: generative.sample_images(step, model.draw, keys, xs.shape[1:])
    np.testing.assert_array_equal(sample(keys[1:2])[0], sample(keys)[1])


@pytest.mark.parametrize(
    "model, shape, count",
    [
        (generative.PixelCNN(hidden=16), (28, 28, 1), 26_433),
        (generative.PixelCNN(hidden=32), (28, 28, 1), 99_393),
        (generative.PixelCNNPlusPlus(), (32, 32, 3), 53_659_080),
    ],
)
def test_counts(model, shape, count):
    shapes = jax.eval_shape(model.init, KEY, jnp.zeros((1, *shape)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_weights_that_are_not_masked():
    model = generative.PixelCNN(hidden=16, num_blocks=1)
    variables = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.1), model.init(KEY, jnp.zeros((1, 9, 9, 1))))
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(model.apply(v, jnp.ones((1, 9, 9, 1))))))(variables)
    count = lambda tree: sum(int(jnp.sum(leaf != 0)) for leaf in jax.tree.leaves(tree))
    block = {name: leaves for name, leaves in gradient["params"].items() if name.startswith("block_0")}
    assert count(gradient) + 6 * count(block) == 18_465  # 7 blocks


def test_masks_of_colors():
    mask_a, mask_b = (generative.causal_mask((3, 3), 6, 3, center, 3) for center in (False, True))
    groups = np.array([0, 0, 1, 1, 2, 2])[:, None]
    np.testing.assert_array_equal(mask_a[1, 1], groups < np.arange(3))
    np.testing.assert_array_equal(mask_b[1, 1], groups <= np.arange(3))
    assert mask_a[0].all() and mask_a[1, 0].all() and not mask_a[1, 2].any() and not mask_a[2].any()


@pytest.mark.parametrize("width", [2, 3])
def test_doubling_is_the_transposed_convolution_of_the_paper(width):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, width, 5, 6))
    full = np.zeros((2, 6, 8 + width - 1, 6))
    for row, column, i, j in itertools.product(range(3), range(4), range(2), range(width)):
        full[:, 2 * row + i, 2 * column + j] += x[:, row, column] @ kernel[i, j]
    expected = full[:, :, (width - 1) // 2 :][:, :, :8]  # cropped as in the authors' code
    np.testing.assert_allclose(
        double_size(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("options", [{"window": (2, 3), "left": 1, "right": 1}, {"window": (2, 3), "transposed": True}])
def test_first_outputs_of_normalized_weights_are_standardized(options):
    x = 3 + 5 * jax.random.normal(KEY, (4, 5, 6, 3))
    layer = WeightNormConv(7, init_scale=0.1, **options)
    y, variables = layer.init_with_output(KEY, x)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 0.1, rtol=1e-4)
    chex.assert_tree_all_finite(layer.init(KEY, jnp.zeros((1, 2, 2, 3))))  # constant inputs
    assert {name: leaf.shape for name, leaf in variables["params"].items()} == {
        "direction": (2, 3, 3, 7),
        "scale": (7,),
        "bias": (7,),
    }


@pytest.mark.parametrize("channels, num_levels", [(1, 256), (1, 3), (3, 4)])
def test_mixtures_of_logistics_sum_to_one(channels, num_levels):
    per_component = 3 if channels == 1 else 10
    parameters = jax.random.normal(KEY, (2, 2 * per_component))
    levels = np.array(list(itertools.product(range(num_levels), repeat=channels)))
    xs = jnp.asarray(2 * levels / (num_levels - 1) - 1, jnp.float32)
    log_prob = lambda each: generative.discretized_logistic_mixture_log_prob(
        jnp.broadcast_to(each, (len(xs), each.shape[-1])), xs, num_levels
    )
    np.testing.assert_allclose([jnp.exp(log_prob(each)).sum() for each in parameters], 1, rtol=1e-4)


def test_samples_of_mixtures_have_their_probabilities():
    parameters = jnp.asarray([0.5, -0.5, -0.6, 0.3, -1.5, -2.0])
    keys = jax.random.split(KEY, 20_000)
    draw = lambda key: generative.sample_discretized_logistic_mixture(key, parameters, 1, 5)
    found = np.asarray(jax.jit(jax.vmap(draw))(keys))[:, 0]
    levels = np.linspace(-1, 1, 5, dtype=np.float32)
    expected = np.exp(
        generative.discretized_logistic_mixture_log_prob(jnp.tile(parameters, (5, 1)), levels[:, None], 5)
    )
    frequencies = [np.mean(np.isclose(found, level, atol=1e-6)) for level in levels]
    np.testing.assert_allclose(frequencies, expected, atol=5 * np.sqrt(0.25 / len(keys)))


def test_gradients_of_mixtures_are_finite_far_from_the_pixels():
    parameters = jnp.asarray([[0.0, 1e4, -30.0], [0.0, -1e4, 30.0], [0.0, 0.3, -7.0]])
    xs = jnp.asarray([[-1.0], [1.0], [0.2]])
    value, gradient = jax.value_and_grad(lambda p: jnp.sum(generative.discretized_logistic_mixture_log_prob(p, xs)))(
        parameters
    )
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "model, xs, labels, message",
    [
        ("pixelcnn", (1, 4, 4, 2), None, r"`xs` must be pixels \[B, H, W, 1\], got shape \(1, 4, 4, 2\)"),
        ("gated", (1, 4, 4, 1), None, r"`labels` must be integers of shape \(1,\) in 0 ... 2, got None"),
        ("pixelcnn", (1, 4, 4, 1), [0], "`labels` must be None"),
        ("pixelcnn++", (1, 6, 8, 3), None, "height and width of `xs` must be multiples of 4, got 6 x 8"),
    ],
)
def test_wrong_inputs_are_rejected(model, xs, labels, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(MODELS[model][0].init, KEY, jnp.zeros(xs), labels if labels is None else jnp.asarray(labels))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: generative.causal_mask((2, 3), 1, 1, True), "`window` must have an odd height and width, got 2 x 3"),
        (
            lambda: generative.causal_mask((3, 3), 4, 3, True, 3),
            "`groups` must be a divisor of `in_channels`, 4, got 3",
        ),
        (
            lambda: generative.discretized_logistic_mixture_log_prob(jnp.zeros((1, 7)), jnp.zeros((1, 1))),
            "`parameters` must be 3 for each component, got 7",
        ),
        (
            lambda: generative.discretized_logistic_mixture_log_prob(jnp.zeros((1, 10)), jnp.zeros((1, 2))),
            "`xs` must have 1 or 3 channels, got 2",
        ),
    ],
)
def test_wrong_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "model, message",
    [
        (generative.PixelCNN((4, 4)), r"`image_shape` must be height, width and channels, got \(4, 4\)"),
        (generative.GatedPixelCNN((4, 4, 3)), "`hidden` must be a multiple of the 3 channels, got 32"),
        (generative.PixelCNN((4, 4, 3), hidden=6), "`head` must be a multiple of the 3 channels, got 32"),
        (generative.PixelCNN((4, 4, 1), num_levels=1), "`num_levels` must be an integer of at least 2, got 1"),
        (generative.PixelCNNPlusPlus((4, 4, 2)), r"`image_shape` must have 1 or 3 channels, got \(4, 4, 2\)"),
    ],
)
def test_wrong_attributes_are_rejected(model, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, KEY, jnp.zeros((1, *model.image_shape)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", ["gated, color", pytest.param("pixelcnn++", marks=pytest.mark.slow(20))])
def test_half_precision(name, dtype):
    model, variables, xs, labels = example(name)
    low = jax.jit(model.clone(dtype=dtype).apply)(variables, xs, labels)
    assert low.dtype == jnp.float32 and np.isfinite(low).all()
    if name == "pixelcnn++":  # the weight normalization of a few features amplifies rounding errors
        return
    expected = jax.jit(model.apply)(variables, xs, labels)
    assert np.mean(np.abs(low - expected)) < 0.1 * np.mean(np.abs(expected))
