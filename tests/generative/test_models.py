"""Generative models: published counts, golden arrays of torch, shapes, labels and wrong sizes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import convolution, generative
from jaxnets.generative import DCGAN, GAN, VAE, VQVAE, Autoencoder, ConvVAE, gan_2014, pac_gan
from jaxnets.generative.models.dcgan import POSSIBLE, DCGANDiscriminator, DCGANGenerator, grid_and_doublings

GOLDEN = dict(np.load(Path(__file__).parent.parent / "reference" / "generative.npz"))
BOTH = {"generator", "discriminator"}


def params_of(model, *shapes):
    zeros = [jnp.zeros(shape) for shape in shapes]
    return jax.eval_shape(lambda: model.init(jax.random.key(0), *zeros))["params"]


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


# ---- golden arrays of torch


def golden(name):
    prefix = f"{name}/"
    arrays = {key.removeprefix(prefix): jnp.asarray(a) for key, a in GOLDEN.items() if key.startswith(prefix)}
    return arrays, {key.removeprefix("gradient/"): a for key, a in arrays.items() if key.startswith("gradient/")}


def transposed(kernel):  # [in, out, 4, 4]
    return jnp.transpose(kernel, (2, 3, 0, 1))


def conv(kernel):  # [out, in, 4, 4]
    return jnp.transpose(kernel, (2, 3, 1, 0))


def norm(torch, index):
    return {"scale": torch[f"{index}.weight"], "bias": torch[f"{index}.bias"]}


def generator_params(torch):
    first = jnp.transpose(torch["0.weight"], (0, 2, 3, 1))
    return {
        "dense": {"kernel": first.reshape(len(first), -1)},
        "norm_1": norm(torch, 1),
        "conv_1": {"kernel": transposed(torch["3.weight"])},
        "norm_2": norm(torch, 4),
        "conv_2": {"kernel": transposed(torch["6.weight"])},
    }


def discriminator_params(torch, biases=False):
    last = 4 if biases else 5
    params = {
        "conv_1": {"kernel": conv(torch["0.weight"])},
        "conv_2": {"kernel": conv(torch["2.weight"])},
        "head": {"kernel": conv(torch[f"{last}.weight"]).reshape(-1, 1)},
    }
    if biases:
        return {
            name: {**layer, "bias": torch[f"{index}.bias"]}
            for (name, layer), index in zip(params.items(), (0, 2, last), strict=True)
        }
    return {**params, "norm_2": norm(torch, 3)}


def weighted_sum(output):
    return jnp.sum(jnp.cos(jnp.arange(output.size, dtype=output.dtype)) * output.reshape(-1))


def check_golden(module, convert, name, inputs, outputs, to_ours, to_torch):
    with jax.enable_x64(True):
        torch, gradients = golden(name)
        params, xs = convert(torch), to_ours(torch[inputs])
        stats = module.init(jax.random.key(0), xs, False)["batch_stats"]

        def loss(params, xs):
            ys, updated = module.apply({"params": params, "batch_stats": stats}, xs, True, mutable=["batch_stats"])
            ys = to_torch(ys)
            return weighted_sum(ys), (ys, updated["batch_stats"])

        ((value, (ys, stats)), (by_params, by_xs)) = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, xs)
        np.testing.assert_allclose(value, torch["loss"], rtol=1e-9)
        np.testing.assert_allclose(ys, torch[outputs], atol=1e-10)
        np.testing.assert_allclose(by_xs, to_ours(gradients[inputs]), atol=1e-9)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), by_params, convert(gradients))
        return stats, torch


def test_generator_equals_torch_in_training():
    module = DCGANGenerator(4, (6, 3), 2, jnp.float64)
    unchanged, channels_first = lambda a: a, lambda a: jnp.transpose(a, (0, 3, 1, 2))
    stats, torch = check_golden(module, generator_params, "generator", "codes", "images", unchanged, channels_first)
    for name, index in (("norm_1", 1), ("norm_2", 4)):
        np.testing.assert_allclose(stats[name]["mean"], torch[f"{index}.running_mean"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(stats[name]["var"], torch[f"{index}.running_var"], rtol=1e-5)


def test_discriminator_equals_torch_in_training():
    module = DCGANDiscriminator((3, 6), "batch", False, jnp.float64)
    channels_last = lambda a: jnp.transpose(a, (0, 2, 3, 1))
    check_golden(module, discriminator_params, "discriminator", "xs", "logits", channels_last, lambda a: a)


def test_gradient_penalty_of_a_critic_equals_torch():
    with jax.enable_x64(True):
        torch, gradients = golden("critic")
        module = DCGANDiscriminator((3, 6), "none", False, jnp.float64)
        real, fake = (jnp.transpose(torch[name], (0, 2, 3, 1)) for name in ("real", "fake"))

        def penalty(params):
            critic = lambda xs: module.apply({"params": params}, xs, True)
            return generative.gradient_penalty(critic, real, fake, torch["weights"])

        value, slopes = jax.value_and_grad(penalty)(discriminator_params(torch, biases=True))
        np.testing.assert_allclose(value, torch["loss"], rtol=1e-10)
        expected = discriminator_params(gradients, biases=True)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), slopes, expected)


def vae_params(torch):
    dense = lambda name: {"kernel": torch[f"{name}.weight"].T, "bias": torch[f"{name}.bias"]}
    names = {"encoder_0": "encoder.0", "encoder_1": "encoder.2", "code": "encoder.4"}
    names |= {"decoder_0": "decoder.0", "decoder_1": "decoder.2", "output": "decoder.4"}
    return {ours: dense(theirs) for ours, theirs in names.items()}


def test_vae_equals_torch():
    with jax.enable_x64(True):
        torch, gradients = golden("vae")
        model, bits = VAE(12, 3, (7, 5)), torch["bits"]

        def loss(params):
            logits, mean, log_variance = model.apply({"params": params}, bits, torch["noise"])
            terms = generative.bernoulli_log_prob(logits, bits), generative.standard_normal_kl(mean, log_variance)
            return -jnp.mean(generative.elbo(*terms)), logits

        (value, logits), slopes = jax.value_and_grad(loss, has_aux=True)(vae_params(torch))
        np.testing.assert_allclose(value, torch["loss"], rtol=1e-12)
        np.testing.assert_allclose(logits, torch["logits"], rtol=1e-10)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), slopes, vae_params(gradients))


# ---- shapes and samples


def test_transposed_convolution_equals_the_gradient_of_a_convolution():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel, other = (jnp.asarray(rng.normal(size=s)) for s in ((2, 3, 5, 4), (4, 4, 4, 3), (2, 6, 10, 3)))
        dims = ("NHWC", "HWOI", "NHWC")  # the convolution of which it is the transpose maps 3 channels to 4
        down = lambda y: jax.lax.conv_general_dilated(y, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=dims)
        expected = jax.vjp(down, other)[1](x)[0]
        np.testing.assert_allclose(convolution.transposed_convolve(x, kernel), expected, rtol=1e-12)
    layer = convolution.ConvTranspose(3, dtype=jnp.bfloat16)
    outputs, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 1, 2, 4)))
    assert outputs.shape == (1, 2, 4, 3) and outputs.dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32


def test_several_samples_per_example_are_those_of_single_samples():
    model = VAE(6, 2, (5,))
    xs, noise = jax.random.normal(jax.random.key(0), (3, 6)), jax.random.normal(jax.random.key(1), (4, 3, 2))
    variables = model.init(jax.random.key(2), xs, noise)
    logits, mean, _ = model.apply(variables, xs, noise)
    assert logits.shape == (4, 3, 6) and mean.shape == (3, 2)
    np.testing.assert_allclose(logits[2], model.apply(variables, xs, noise[2])[0], rtol=1e-5)


def test_convolutional_vae_of_small_images():
    model = ConvVAE((8, 12, 2), 3, (4, 5), (7,), dtype=jnp.bfloat16)
    images, noise = jnp.ones((2, 8, 12, 2)), jnp.ones((5, 2, 3))
    (logits, mean, _), _ = model.init_with_output(jax.random.key(0), images, noise)
    assert logits.shape == (5, 2, 8, 12, 2) and logits.dtype == mean.dtype == jnp.float32
    with pytest.raises(ValueError, match="must have a height and a width that are multiples of 16 .*, got 28 x 28"):
        ConvVAE((28, 28, 1)).init(jax.random.key(0), jnp.ones((2, 28, 28, 1)), jnp.ones((2, 10)))
    with pytest.raises(ValueError, match=r"`images` must have the shape \[B, 8, 12, 2\], got \(2, 8, 8, 2\)"):
        model.init(jax.random.key(0), images[:, :, :8], noise)


def test_autoencoder_decodes_its_codes():
    model, xs = Autoencoder(12, 2, (6, 4)), jax.random.normal(jax.random.key(0), (3, 12))
    outputs, variables = model.init_with_output(jax.random.key(1), xs)
    codes = model.apply(variables, xs, method="encode")
    assert codes.shape == (3, 2)
    np.testing.assert_array_equal(model.apply(variables, codes, method="decode"), outputs)


def test_vq_vae_decodes_its_indices_and_trains_all_its_parameters():
    model = VQVAE(2, 9, 3, 4, 2, 1)
    images = jax.random.normal(jax.random.key(0), (2, 8, 4, 2))
    variables = jax.jit(model.init)(jax.random.key(1), images)
    indices = model.apply(variables, images, method="encode")
    assert indices.shape == (2, 2, 1) and indices.dtype == jnp.int32

    def loss(params):
        outputs, quantized = model.apply({"params": params}, images)
        return jnp.sum((outputs - images) ** 2) + jnp.sum(quantized.codebook_loss), outputs

    slopes, outputs = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    np.testing.assert_allclose(model.apply(variables, indices, method="decode"), outputs, atol=1e-6)
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
    model = DCGAN(image_size=16, channels=3, latent=64, width=32)
    params = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 64)))["params"]
    scale, kernel = params["generator"]["norm_1"]["scale"], params["discriminator"]["conv_2"]["kernel"]
    assert np.mean(scale) == pytest.approx(1, abs=0.01) and np.std(scale) == pytest.approx(0.02, rel=0.3)
    assert np.mean(kernel) == pytest.approx(0, abs=1e-3) and np.std(kernel) == pytest.approx(0.02, rel=0.05)


def test_images_are_in_the_range_of_tanh_in_half_precision():
    model = small(dtype=jnp.bfloat16)
    codes = 100 * jax.random.normal(jax.random.key(0), (4, 3))
    variables = model.init(jax.random.key(1), codes)
    images = model.apply(variables, codes, method="generate")
    assert images.dtype == jnp.float32 and np.abs(images).max() <= 1
    assert model.apply(variables, images, method="discriminate").dtype == jnp.float32


def test_spectral_norms_are_estimated_in_training():
    model = small("spectral")
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    variables = model.init(jax.random.key(1), jnp.ones((2, 3)))
    judge = jax.jit(lambda v: model.apply(v, images, train=True, method="discriminate", mutable=["batch_stats"]))
    for _ in range(50):
        logits, updated = judge(variables)
        variables = {**variables, **updated}
    scaled = {**variables, "params": jax.tree.map(lambda w: 10 * w, variables["params"])}
    judge_scaled = model.apply(scaled, images, method="discriminate")
    np.testing.assert_allclose(judge_scaled, logits, rtol=1e-4)  # the biases are 0
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
    codes, labels = jax.random.normal(jax.random.key(0), (4, model.latent)), jnp.array([0, 1, 2, 0])
    variables = model.init(jax.random.key(1), codes, labels)
    assert set(variables["params"]) == BOTH
    examples, _ = model.apply(variables, codes, labels, True, method="generate", mutable=["batch_stats"])
    logits, _ = model.apply(variables, examples, labels, True, method="discriminate", mutable=["batch_stats"])
    assert logits.shape == (2,)
    others = model.apply(variables, codes, labels[::-1], method="generate")
    assert not np.allclose(others, model.apply(variables, codes, labels, method="generate"))
    with pytest.raises(ValueError, match="`labels` must be in 0 ... 2, got 3"):
        model.apply(variables, codes, labels + 1, method="generate")
    with pytest.raises(ValueError, match=r"`labels` must be integers of shape \(4,\)"):
        model.apply(variables, codes, method="generate")
    with pytest.raises(ValueError, match=r"`codes` must have the shape \[B, \d\]"):
        model.apply(variables, jnp.ones((4, 9)), labels, method="generate")


def test_examples_of_another_shape_are_errors():
    model = small()
    variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    with pytest.raises(ValueError, match=r"`xs` must be images of shape \[B, 8, 8, 1\], got \(2, 16, 16, 1\)"):
        model.apply(variables, jnp.ones((2, 16, 16, 1)), method="discriminate")
