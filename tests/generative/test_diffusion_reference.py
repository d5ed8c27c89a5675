"""Schedules and samplers of diffusion, compared with diffusers (from tests/reference/make_diffusion.py)."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.generative import diffusion

REFERENCE = Path(__file__).parent.parent / "reference"
spec = importlib.util.spec_from_file_location("make_diffusion", REFERENCE / "make_diffusion.py")
make_diffusion = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_diffusion)
GOLDEN = np.load(REFERENCE / "diffusion.npz")
PREDICTIONS = {"epsilon": "noise", "sample": "clean", "v_prediction": "velocity"}


def golden(name):
    prefix = f"{name}/"
    return {key.removeprefix(prefix): GOLDEN[key] for key in GOLDEN.files if key.startswith(prefix)}


def schedule_of(options):
    count = options.get("num_train_timesteps", 1000)
    kind = diffusion.linear_betas if options.get("beta_schedule", "linear") == "linear" else diffusion.cosine_betas
    return diffusion.noise_schedule(kind(count))


def network(xs, times):
    return make_diffusion.network(xs, times.astype(xs.dtype).reshape(-1, 1, 1, 1), jnp)


def network_with_variances(xs, times):
    weights = make_diffusion.variance_weights(xs, times.astype(xs.dtype).reshape(-1, 1, 1, 1), jnp)
    return jnp.concatenate([network(xs, times), weights], axis=-1)


def assert_steps_match(case, schedule, steps, denoise):
    """Compares each step, computed from the golden images before it."""
    count = len(schedule.timesteps)
    np.testing.assert_array_equal(case["times"], schedule.timesteps[::-1])
    noisy, expected = case["xs"][:-1][::-1], case["xs"][1:][::-1]
    rows = np.repeat(np.arange(count), noisy.shape[1])
    found = denoise(jnp.asarray(noisy.reshape(-1, *noisy.shape[2:])), jnp.asarray(rows))
    clean = np.asarray(found.clean).reshape(noisy.shape)
    previous = np.concatenate([clean[1:], np.zeros_like(clean[:1])])
    std = np.broadcast_to(steps.std.reshape(-1, 1, 1, 1, 1), noisy.shape)
    if found.log_variance is not None:
        std = np.exp(0.5 * np.asarray(found.log_variance)).reshape(noisy.shape)
    of = lambda table: table.reshape(-1, 1, 1, 1, 1)
    xs = of(steps.noisy) * noisy + of(steps.denoised) * clean + of(steps.previous) * previous
    if "noise" in case:
        xs = xs + std * case["noise"][::-1]
    np.testing.assert_allclose(xs, expected, rtol=1e-12, atol=1e-12)
    assert np.ptp(expected, axis=0).min() > 1e-3  # the steps change the images


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_schedules_match_diffusers(name):
    case = golden(f"schedule/{name}")
    schedule = schedule_of({"beta_schedule": name})
    np.testing.assert_allclose(schedule.betas[::37], case["betas"], rtol=1e-12)
    np.testing.assert_allclose(schedule.alphas_cumprod[::37], case["alphas_cumprod"], rtol=1e-12)


@pytest.mark.parametrize("name", make_diffusion.DDPM)
def test_ancestral_steps_match_diffusers(name, float64):
    options, count = make_diffusion.DDPM[name]
    schedule = diffusion.subsequence(schedule_of(options), count, "leading")
    learned = name == "learned"
    denoise = diffusion.denoiser(
        network_with_variances if learned else network,
        schedule,
        PREDICTIONS[options.get("prediction_type", "epsilon")],
        learned_variance=learned,
    )
    steps = diffusion.ancestral(schedule, "fixed_large" if learned else options.get("variance_type"))
    assert steps.std[0] == 0
    assert_steps_match(golden(f"ddpm/{name}"), schedule, steps, denoise)


@pytest.mark.parametrize("name", make_diffusion.DDIM)
def test_ddim_steps_match_diffusers(name, float64):
    options, eta, count = make_diffusion.DDIM[name]
    schedule = diffusion.subsequence(schedule_of(options), count, options["timestep_spacing"])
    denoise = diffusion.denoiser(network, schedule, clip=None)
    assert_steps_match(golden(f"ddim/{name}"), schedule, diffusion.ddim(schedule, eta), denoise)


@pytest.mark.parametrize("name", make_diffusion.DPM_SOLVER)
def test_dpm_solver_steps_match_diffusers(name, float64):
    options, count = make_diffusion.DPM_SOLVER[name]
    schedule = diffusion.subsequence(schedule_of(options), count)
    denoise = diffusion.denoiser(network, schedule, clip=None)
    assert_steps_match(golden(f"dpm_solver/{name}"), schedule, diffusion.dpm_solver(schedule), denoise)


def sampled(sampler, spacing, start, count):
    schedule = diffusion.subsequence(schedule_of({}), count, spacing)
    keys = jax.random.split(jax.random.key(0), len(start))
    denoise = diffusion.denoiser(network, schedule, clip=None)
    return diffusion.sample_path(denoise, sampler(schedule), jnp.asarray(start), keys)


def test_whole_loops_match_diffusers(float64):
    case = golden("dpm_solver/long")
    x, path = sampled(diffusion.dpm_solver, "trailing", case["xs"][0], 20)
    np.testing.assert_allclose(np.concatenate([path[::-1], x[None]]), case["xs"], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "sampler", "spacing", "count"),
    [("ddim", diffusion.ddim, "leading", 50), ("dpm_solver", diffusion.dpm_solver, "trailing", 20)],
)
def test_float32_loops_are_close_to_those_of_diffusers(name, sampler, spacing, count):
    start = golden(f"{name}/{'leading' if name == 'ddim' else 'long'}")["xs"][0].astype(np.float32)
    x, _ = sampled(sampler, spacing, start, count)
    expected = GOLDEN[f"float32/{name}"]
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_flows_match_diffusers(float64):
    # The times of diffusers are those of the noise, and its velocities lead from data to noise.
    steps = make_diffusion.FLOW_STEPS
    velocity = lambda xs, times: -network(xs, steps * (1 - times))
    case = golden("flow/euler")
    x, path = diffusion.integrate_path(velocity, jnp.asarray(case["xs"][0]), steps)
    np.testing.assert_allclose(np.concatenate([path, x[None]]), case["xs"], rtol=1e-12, atol=1e-12)
    start, before_last, end = golden("flow/heun")["xs"]
    last = 1 - 1 / steps
    found = diffusion.integrate(velocity, jnp.asarray(start), steps - 1, "heun", end=last)
    np.testing.assert_allclose(found, before_last, rtol=1e-12, atol=1e-12)
    found = diffusion.integrate(velocity, found, 1, begin=last)
    np.testing.assert_allclose(found, end, rtol=1e-12, atol=1e-12)
