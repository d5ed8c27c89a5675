"""Narrow DCGAN and VAE against torch: values and gradients in training, in float64."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import generative
from jaxnets.generative.models.dcgan import DCGANDiscriminator, DCGANGenerator

GOLDEN = dict(np.load(Path(__file__).parent.parent / "reference" / "generative.npz"))


def golden(name):
    prefix = f"{name}/"
    arrays = {key.removeprefix(prefix): a for key, a in GOLDEN.items() if key.startswith(prefix)}
    return arrays, {key.removeprefix("gradient/"): a for key, a in arrays.items() if key.startswith("gradient/")}


def transposed(kernel):  # [in, out, 4, 4]
    return np.transpose(kernel, (2, 3, 0, 1))


def conv(kernel):  # [out, in, 4, 4]
    return np.transpose(kernel, (2, 3, 1, 0))


def norm(torch, index):
    return {"scale": torch[f"{index}.weight"], "bias": torch[f"{index}.bias"]}


def generator_params(torch):
    first = np.transpose(torch["0.weight"], (0, 2, 3, 1))
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
        shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), xs, False))["batch_stats"]
        stats = {
            name: {"mean": np.zeros(s["mean"].shape), "var": np.ones(s["var"].shape)} for name, s in shapes.items()
        }

        def loss(params, xs):
            ys, updated = module.apply({"params": params, "batch_stats": stats}, xs, True, mutable=["batch_stats"])
            ys = to_torch(ys)
            return weighted_sum(ys), (ys, updated["batch_stats"])

        ((value, (ys, stats)), (by_params, by_xs)) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, xs)
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
        np.testing.assert_allclose(stats[name]["mean"], torch[f"{index}.running_mean"], rtol=1e-9)
        np.testing.assert_allclose(stats[name]["var"], torch[f"{index}.running_var"], rtol=1e-9)


def test_discriminator_equals_torch_in_training():
    module = DCGANDiscriminator((3, 6), "batch", False, jnp.float64)
    channels_last = lambda a: np.transpose(a, (0, 2, 3, 1))
    check_golden(module, discriminator_params, "discriminator", "xs", "logits", channels_last, lambda a: a)


def test_gradient_penalty_of_a_critic_equals_torch():
    with jax.enable_x64(True):
        torch, gradients = golden("critic")
        module = DCGANDiscriminator((3, 6), "none", False, jnp.float64)
        real, fake = (np.transpose(torch[name], (0, 2, 3, 1)) for name in ("real", "fake"))

        def penalty(params):
            critic = lambda xs: module.apply({"params": params}, xs, True)
            return generative.gradient_penalty(critic, real, fake, torch["weights"])

        value, slopes = jax.jit(jax.value_and_grad(penalty))(discriminator_params(torch, biases=True))
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
        model, bits = generative.VAE(12, 3, (7, 5)), torch["bits"]

        def loss(params):
            logits, mean, log_variance = model.apply({"params": params}, bits, torch["noise"])
            terms = generative.bernoulli_log_prob(logits, bits), generative.standard_normal_kl(mean, log_variance)
            return -jnp.mean(generative.elbo(*terms)), logits

        (value, logits), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(vae_params(torch))
        np.testing.assert_allclose(value, torch["loss"], rtol=1e-12)
        np.testing.assert_allclose(logits, torch["logits"], rtol=1e-10)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), slopes, vae_params(gradients))
