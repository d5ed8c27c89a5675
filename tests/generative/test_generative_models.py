"""Generative models: published counts, shapes, labels and wrong sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import convolution
from jaxnets.generative import DCGAN, GAN, VAE, VQVAE, Autoencoder, ConvVAE, gan_2014, pac_gan
from jaxnets.generative.models.dcgan import POSSIBLE, grid_and_doublings

BOTH = {"generator", "discriminator"}


def params_of(model, *shapes):
    zeros = [jnp.zeros(shape) for shape in shapes]
    return jax.eval_shape(lambda: model.init(jax.random.key(0), *zeros))["params"]


def random_variables(model, *inputs, std=0.5, **options):
    """Variables without compiled initializers; vectors are positive, as scales and variances are."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs, **options))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda a: (abs if a.ndim == 1 else np.array)(std * rng.normal(size=a.shape)).astype(a.dtype), shapes
    )


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# ---- published counts


@pytest.mark.parametrize(
    "model, shapes, count",
    [
        (Autoencoder(), [(2, 784)], 2_837_314),
        (VAE(784), [(2, 784), (2, 20)], 652_824),
        (VAE(784, hidden_sizes=(500,)), [(2, 784), (2, 20)], 815_824),
        (VAE(784, 50, (200,)), [(2, 784), (2, 50)], 344_884),
        (VAE(784, 50, (200, 200)), [(2, 784), (5, 2, 50)], 425_284),
        (ConvVAE(), [(2, 64, 64, 1), (2, 10)], 502_005),
        (VQVAE(), [(2, 28, 28, 1)], 32_768 + 370_368 + 288_257),
    ],
)
def test_counts(model, shapes, count):
    assert size(params_of(model, *shapes)) == count


@pytest.mark.parametrize(
    "model, rows, generator, discriminator",
    [
        (gan_2014(), 1, 2_503_984, 1_231_441),
        (pac_gan(), 1, 484_802, 405_201),
        (pac_gan(pack=2), 2, 484_802, 407_201),
        (pac_gan(pack=4), 4, 484_802, 411_201),
        (DCGAN(), 1, 3_576_704, 2_765_568),
        (DCGAN(image_size=28, channels=1, width=16), 1, 165_344, 256 + 8192 + 64 + 1568),
        (GAN(), 1, 3 * 128 + 129 * 128 + 129 * 2, 3 * 128 + 129 * 128 + 129),
    ],
)
def test_counts_of_adversarial_models(model, rows, generator, discriminator):
    params = params_of(model, (rows, model.latent))
    assert {name: size(tree) for name, tree in params.items()} == {
        "generator": generator,
        "discriminator": discriminator,
    }


# ---- shapes and samples


def test_transposed_convolution_equals_the_gradient_of_a_convolution():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel, other = (jnp.asarray(rng.normal(size=s)) for s in ((2, 3, 5, 4), (4, 4, 4, 3), (2, 6, 10, 3)))
        dims = ("NHWC", "HWOI", "NHWC")  # the convolution of which it is the transpose maps 3 channels to 4
        down = lambda y: jax.lax.conv_general_dilated(y, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=dims)
        expected, found = jax.jit(
            lambda x: (jax.vjp(down, other)[1](x)[0], convolution.transposed_convolve(x, kernel))
        )(x)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    layer = convolution.ConvTranspose(3, dtype=jnp.bfloat16)
    outputs, variables = jax.eval_shape(lambda: layer.init_with_output(jax.random.key(0), jnp.ones((1, 1, 2, 4))))
    assert outputs.shape == (1, 2, 4, 3) and outputs.dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32


def test_several_samples_per_example_are_those_of_single_samples():
    model = VAE(6, 2, (5,))
    rng = np.random.default_rng(0)
    xs, noise = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 6), (4, 3, 2)))
    variables = random_variables(model, xs, noise)
    apply = jax.jit(lambda noise: model.apply(variables, xs, noise))
    logits, mean, _ = apply(noise)
    assert logits.shape == (4, 3, 6) and mean.shape == (3, 2)
    np.testing.assert_allclose(logits[2], apply(noise[2])[0], rtol=1e-5)


def test_convolutional_vae_of_small_images():
    model = ConvVAE((8, 12, 2), 3, (4, 5), (7,), dtype=jnp.bfloat16)
    images, noise = jnp.ones((2, 8, 12, 2)), jnp.ones((5, 2, 3))
    logits, mean, _ = jax.jit(model.apply)(random_variables(model, images, noise), images, noise)
    assert np.isfinite(logits).all()
    assert logits.shape == (5, 2, 8, 12, 2) and logits.dtype == mean.dtype == jnp.float32
    with pytest.raises(ValueError, match="must have a height and a width that are multiples of 16 .*, got 28 x 28"):
        ConvVAE((28, 28, 1)).init(jax.random.key(0), jnp.ones((2, 28, 28, 1)), jnp.ones((2, 10)))
    with pytest.raises(ValueError, match=r"`images` must have the shape \[B, 8, 12, 2\], got \(2, 8, 8, 2\)"):
        model.init(jax.random.key(0), images[:, :, :8], noise)


def test_autoencoder_decodes_its_codes():
    model, xs = Autoencoder(12, 2, (6, 4)), np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)

    variables = random_variables(model, xs)

    @jax.jit
    def run():
        codes = model.apply(variables, xs, method="encode")
        return model.apply(variables, xs), codes, model.apply(variables, codes, method="decode")

    outputs, codes, decoded = run()
    assert codes.shape == (3, 2)
    np.testing.assert_allclose(decoded, outputs, rtol=1e-6)


def test_vq_vae_decodes_its_indices_and_trains_all_its_parameters():
    model = VQVAE(2, 9, 3, 4, 2, 1)
    images = np.random.default_rng(0).normal(size=(2, 8, 4, 2)).astype(np.float32)

    def loss(params):
        outputs, quantized = model.apply({"params": params}, images)
        return jnp.sum((outputs - images) ** 2) + jnp.sum(quantized.codebook_loss), outputs

    variables = random_variables(model, images)

    @jax.jit
    def run():
        slopes, outputs = jax.grad(loss, has_aux=True)(variables["params"])
        indices = model.apply(variables, images, method="encode")
        return slopes, outputs, indices, model.apply(variables, indices, method="decode")

    slopes, outputs, indices, decoded = run()
    assert indices.shape == (2, 2, 1) and indices.dtype == jnp.int32
    np.testing.assert_allclose(decoded, outputs, rtol=1e-4, atol=1e-5)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(slopes))
    with pytest.raises(ValueError, match=r"`images` must have the shape \[B, H, W, 2\], H and W multiples of 4"):
        model.apply(variables, images[:, :6])


@pytest.mark.parametrize("image_size", [8, 10, 14, 24])
def test_image_sizes(image_size):
    model = DCGAN(image_size=image_size, channels=2, latent=3, width=2)
    make = lambda codes: model.init_with_output(jax.random.key(0), codes, method="generate")[0]
    assert jax.eval_shape(make, jnp.ones((5, 3))).shape == (5, image_size, image_size, 2)


def test_possible_image_sizes():
    for image_size in range(1, 300):
        if image_size in POSSIBLE:
            grid, doublings = grid_and_doublings(image_size)
            assert grid * 2**doublings == image_size and 4 <= grid <= 7
        else:
            with pytest.raises(ValueError, match=rf"\(8, 10, 12, 14, 16, .*\), got {image_size}$"):
                grid_and_doublings(image_size)
    with pytest.raises(ValueError, match="must be 4, 5, 6 or 7 times a power of two .* got 30"):
        DCGAN(image_size=30).init(jax.random.key(0), jnp.ones((1, 100)))


def small(norm="batch", **options):
    return DCGAN(8, 1, 3, 2, norm, **options)


def test_initial_scales_and_kernels():
    model = DCGAN(image_size=8, channels=3, latent=64, width=128)
    params = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 64)))["params"]
    scale, kernel = params["generator"]["norm_1"]["scale"], params["discriminator"]["conv_1"]["kernel"]
    assert np.mean(scale) == pytest.approx(1, abs=0.01) and np.std(scale) == pytest.approx(0.02, rel=0.3)
    assert np.mean(kernel) == pytest.approx(0, abs=1e-3) and np.std(kernel) == pytest.approx(0.02, rel=0.05)


def test_images_are_in_the_range_of_tanh_in_half_precision():
    model, codes = small(dtype=jnp.bfloat16), 100 * np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    variables = random_variables(model, codes)
    images = jax.jit(lambda codes: model.apply(variables, codes, method="generate"))(codes)
    assert images.dtype == jnp.float32 and 0.9 < np.abs(images).max() <= 1
    assert variables["params"]["generator"]["conv_1"]["kernel"].dtype == jnp.float32
    judge = lambda: model.apply(variables, images, method="discriminate")
    assert jax.eval_shape(judge).dtype == jnp.float32


def test_spectral_norms_are_estimated_in_training():
    model = small("spectral")
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    variables = random_variables(model, images, method="discriminate")
    judge = jax.jit(lambda v: model.apply(v, images, train=True, method="discriminate", mutable=["batch_stats"]))
    for _ in range(50):
        logits, updated = judge(variables)
        variables = {**variables, **updated}
    scaled = {**variables, "params": jax.tree.map(lambda w: 10 * w if w.ndim > 1 else w, variables["params"])}
    np.testing.assert_allclose(judge(scaled)[0], logits, rtol=1e-4)
    kernel = variables["params"]["discriminator"]["head"]["kernel"]
    assert np.linalg.norm(kernel) > 0 and "spectral_head" in variables["batch_stats"]["discriminator"]


@pytest.mark.parametrize(
    "model",
    [
        GAN(hidden_sizes=(4,), num_classes=3, pack=2),
        gan_2014(features=4, latent=2, hidden_sizes=(4,), maxout_sizes=(3,), num_classes=3, pack=2),
        pac_gan(hidden_sizes=(4,), maxout_sizes=(3,), num_classes=3, pack=2),
        small(num_classes=3, pack=2, minibatch_std=True),
    ],
)
def test_labels_and_packs_of_all_models(model):
    codes = np.random.default_rng(0).normal(size=(4, model.latent)).astype(np.float32)
    labels = np.array([0, 1, 2, 0], np.int32)
    variables = random_variables(model, codes, labels)
    assert set(variables["params"]) == BOTH

    @functools.partial(jax.jit, static_argnames="method")
    def apply(inputs, labels, method):
        return model.apply(variables, inputs, labels, True, method=method, mutable=["batch_stats"])[0]

    examples = apply(codes, labels, "generate")
    logits = apply(examples, labels, "discriminate")
    assert logits.shape == (2,)
    assert not np.allclose(examples, apply(codes, labels[::-1], "generate"))
    assert not np.allclose(logits, apply(examples, labels[::-1], "discriminate"))
    with pytest.raises(ValueError, match="`labels` must be in 0 ... 2, got 3"):
        model.apply(variables, codes, labels + 1, method="generate")
    with pytest.raises(ValueError, match=r"`labels` must be integers of shape \(4,\)"):
        model.apply(variables, codes, method="generate")
    with pytest.raises(ValueError, match=r"`codes` must have the shape \[B, \d\]"):
        model.apply(variables, jnp.ones((4, 9)), labels, method="generate")


def test_examples_of_another_shape_are_errors():
    model = small()
    variables = random_variables(model, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match=r"`xs` must be images of shape \[B, 8, 8, 1\], got \(2, 16, 16, 1\)"):
        model.apply(variables, jnp.ones((2, 16, 16, 1)), method="discriminate")
