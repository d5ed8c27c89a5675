"""Diffusion in float64: schedules, posteriors, the bound, samplers for a known denoiser, and rectified flow."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxnets.generative import GaussianDiffusion, RectifiedFlow, diffusion

DATA_STD = 0.5
LINEAR = diffusion.noise_schedule(diffusion.linear_betas())
COSINE = diffusion.noise_schedule(diffusion.cosine_betas())


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def test_schedules_of_the_papers():
    np.testing.assert_allclose(LINEAR.alphas_cumprod[[499, 999]], [0.0785872429, 4.03582977e-5], rtol=1e-8)
    np.testing.assert_allclose(COSINE.betas[[0, 499, 999]], [4.128422e-5, 3.1458862e-3, 0.999], rtol=1e-6)
    np.testing.assert_allclose(COSINE.alphas_cumprod[[499, 999]], [0.49384359, 2.42876691e-9], rtol=1e-7)
    assert (LINEAR.timesteps == np.arange(1000)).all() and LINEAR.alphas_cumprod_prev[0] == 1
    # The bits per number that the prior costs for images of extreme intensities.
    bits = diffusion.prior_term(LINEAR, jnp.ones((1, 10))) / 10 / math.log(2)
    np.testing.assert_allclose(bits, [2.9e-5], rtol=0.01)


@pytest.mark.parametrize(
    ("steps", "spacing", "expected"),
    [
        (4, "leading", [0, 250, 500, 750]),
        (3, "leading", [0, 333, 666]),
        (4, "trailing", [249, 499, 749, 999]),
        (3, "trailing", [332, 666, 999]),
        (1, "trailing", [999]),
    ],
)
def test_subsequences_keep_the_noise_of_their_times(steps, spacing, expected):
    part = diffusion.subsequence(LINEAR, steps, spacing)
    assert part.timesteps.tolist() == expected
    np.testing.assert_array_equal(part.alphas_cumprod, LINEAR.alphas_cumprod[expected])
    np.testing.assert_allclose(np.cumprod(1 - part.betas), part.alphas_cumprod, rtol=1e-11)


def test_all_steps_are_their_own_subsequence():
    for spacing in ("leading", "trailing"):
        for given, found in zip(LINEAR, diffusion.subsequence(LINEAR, 1000, spacing), strict=True):
            np.testing.assert_allclose(found, given, rtol=1e-9)


def test_the_posterior_is_that_of_bayes():
    """The product of the densities of x_t given x_{t-1} and of x_{t-1} given x_0, on a grid."""
    clean, noisy, t = 0.3, -0.8, 400
    grid = np.linspace(-6, 6, 200_001)
    density = stats.norm.pdf(noisy, np.sqrt(1 - LINEAR.betas[t]) * grid, np.sqrt(LINEAR.betas[t]))
    previous = LINEAR.alphas_cumprod_prev[t]
    density *= stats.norm.pdf(grid, np.sqrt(previous) * clean, np.sqrt(1 - previous))
    weights = density / density.sum()
    mean = np.sum(weights * grid)
    found = diffusion.posterior(LINEAR, jnp.array([[clean]]), jnp.array([[noisy]]), jnp.array([t]))
    np.testing.assert_allclose(found.mean, [[mean]], rtol=1e-9)
    np.testing.assert_allclose(np.exp(found.log_variance), [[np.sum(weights * (grid - mean) ** 2)]], rtol=1e-7)


def test_variances_of_the_reverse_process():
    small, large = (diffusion.log_variances(LINEAR, kind) for kind in ("fixed_small", "fixed_large"))
    assert small[0] == small[1] == large[0] and (large[1:] == np.log(LINEAR.betas[1:])).all()
    steps = jnp.array([0, 1, 700])
    for output, expected in ((-1.0, small), (1.0, np.log(LINEAR.betas)), (0.0, (small + np.log(LINEAR.betas)) / 2)):
        found = diffusion.learned_log_variance(LINEAR, jnp.full((3, 2), output), steps)
        np.testing.assert_allclose(found, np.repeat(expected[np.asarray(steps)][:, None], 2, 1), rtol=1e-12)


@pytest.mark.parametrize("kind", ["noise", "clean", "velocity"])
def test_predictions_give_the_clean_example(kind):
    clean, noise, steps = normal(3, 4), normal(3, 4, seed=1), jnp.array([0, 10, 999])
    noisy = diffusion.add_noise(COSINE, clean, noise, steps)
    target = diffusion.prediction_target(COSINE, kind, clean, noise, steps)
    found = diffusion.predicted_clean(COSINE, kind, target, noisy, steps)
    np.testing.assert_allclose(found, clean, rtol=1e-6, atol=1e-9)


def test_probabilities_of_levels_sum_to_one():
    log_prob = jax.jit(diffusion.discretized_gaussian_log_prob, static_argnums=3)
    means, log_variances = jnp.array([[0.1], [-1.4], [0.98]]), jnp.array([[-3.0], [0.0], [-9.0]])
    for levels in (2, 256):
        log_probs = log_prob(jnp.linspace(-1, 1, levels)[None], means, log_variances, levels)
        np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, rtol=1e-9)
    far = log_prob(jnp.array([-0.5, 0.5]), jnp.array([0.9, -0.9]), jnp.array(-12.0), 256)
    exact = [stats.norm.logpdf(1.4 * math.exp(6)) + math.log(2 / 255) + 6] * 2  # but for the slope in the interval
    np.testing.assert_allclose(far, exact, rtol=0.01)
    assert np.isfinite(jax.grad(lambda mean: log_prob(jnp.array(0.5), mean, jnp.array(-12.0), 256))(-0.9))


def test_terms_of_the_bound():
    clean, steps = jnp.round(normal(2, 5) * 20) / 127.5 - 1 / 255, jnp.array([0, 600])
    noisy = diffusion.add_noise(LINEAR, clean, normal(2, 5, seed=1), steps)
    predicted = diffusion.Gaussian(0.1 * normal(2, 5, seed=2), jnp.full((2, 1), -3.0))
    found = jax.jit(functools.partial(diffusion.bound_terms, LINEAR))(predicted, clean, noisy, steps)
    true = diffusion.posterior(LINEAR, clean, noisy, steps)
    std, other = np.exp(0.5 * np.asarray(true.log_variance[1])), math.exp(-1.5)
    kl = np.log(other / std) + (std**2 + (true.mean[1] - predicted.mean[1]) ** 2) / (2 * other**2) - 0.5
    half = 1 / 255
    cdf = lambda xs: stats.norm.cdf(xs, predicted.mean[0], other)
    decoder = -np.log(cdf(clean[0] + half) - cdf(clean[0] - half))
    np.testing.assert_allclose(found, [decoder.sum(), kl.sum()], rtol=1e-8)


def exact_denoiser(schedule):
    """The denoiser of data with a normal distribution of standard deviation 0.5."""
    factors = np.sqrt(schedule.alphas_cumprod) * DATA_STD**2
    factors = factors / (schedule.alphas_cumprod * DATA_STD**2 + 1 - schedule.alphas_cumprod)
    return lambda noisy, steps: diffusion.Denoised(jnp.asarray(factors)[steps][:, None] * noisy)


def exact_flow(noise, schedule):
    """The probability flow keeps quantiles."""
    last = schedule.alphas_cumprod[-1]
    return noise * DATA_STD / np.sqrt(last * DATA_STD**2 + 1 - last)


def sampled(sampler, count, noise):
    part = diffusion.subsequence(LINEAR, count)
    return diffusion.sample(exact_denoiser(part), sampler(part), noise, keys(len(noise)))


def test_samplers_for_normal_data():
    noise = normal(4000, 2)
    for sampler in (diffusion.ancestral, functools.partial(diffusion.ddim, eta=1.0)):
        np.testing.assert_allclose(np.std(sampled(sampler, 200, noise)), DATA_STD, rtol=0.06)
    exact = exact_flow(noise[:20], LINEAR)
    errors = {
        sampler: [np.abs(sampled(sampler, count, noise[:20]) - exact).max() for count in (20, 40, 80)]
        for sampler in (diffusion.ddim, diffusion.dpm_solver)
    }
    first, second = errors.values()
    assert 1.6 < first[0] / first[1] < 2.5 and 1.6 < first[1] / first[2] < 2.5
    assert second[0] < first[0] / 3 and second[2] < first[2] / 3


def test_ddim_with_eta_one_is_ancestral_sampling_with_small_variances():
    part = diffusion.subsequence(LINEAR, 30)
    ancestral, ddim = diffusion.ancestral(part, "fixed_small"), diffusion.ddim(part, eta=1.0)
    for name in ("noisy", "denoised", "std"):
        np.testing.assert_allclose(getattr(ddim, name)[1:], getattr(ancestral, name)[1:], rtol=1e-9, atol=1e-12)
    assert ddim.std[0] == ancestral.std[0] == ddim.noisy[0] == 0 and ddim.denoised[0] == 1


def test_one_and_three_steps():
    for count in (1, 3):
        for sampler in (diffusion.ancestral, diffusion.ddim, diffusion.dpm_solver):
            assert np.isfinite(sampled(sampler, count, normal(3, 2))).all()


def test_examples_do_not_depend_on_their_batch():
    noise = normal(5, 2)
    part = diffusion.subsequence(LINEAR, 5)
    run = lambda rows: diffusion.sample(exact_denoiser(part), diffusion.ancestral(part), noise[rows], keys(5)[rows])
    np.testing.assert_allclose(run(slice(2, 4)), run(slice(None))[2:4], rtol=1e-12)


def test_the_path_begins_with_the_noise():
    noise, part = normal(3, 2), diffusion.subsequence(LINEAR, 4)
    steps, denoise = diffusion.ddim(part), exact_denoiser(part)
    x, path = diffusion.sample_path(denoise, steps, noise, keys(3))
    np.testing.assert_array_equal(path[-1], noise)
    again = path[0] * steps.noisy[0] + denoise(path[0], jnp.zeros(3, int)).clean * steps.denoised[0]
    np.testing.assert_allclose(x, again, rtol=1e-12)


def test_learned_variances_replace_those_of_the_sampler():
    part = diffusion.subsequence(LINEAR, 3)
    network = lambda noisy, times: jnp.concatenate([noisy * 0.1, jnp.full_like(noisy, -1)], axis=-1)
    run = lambda denoise: diffusion.sample(denoise, diffusion.ancestral(part, "fixed_small"), normal(4, 2), keys(4))
    learned = run(diffusion.denoiser(network, part, learned_variance=True))
    fixed = run(diffusion.denoiser(lambda noisy, times: noisy * 0.1, part))
    np.testing.assert_allclose(learned, fixed, rtol=1e-9)
    other = lambda noisy, times: jnp.concatenate([noisy * 0.1, jnp.ones_like(noisy)], axis=-1)
    assert np.abs(run(diffusion.denoiser(other, part, learned_variance=True)) - fixed).max() > 1e-3


@pytest.mark.slow(seconds=3)
def test_inpainting_keeps_what_is_known_and_ignores_the_rest():
    part = diffusion.subsequence(LINEAR, 20)
    images, known = normal(200, 2), jnp.array([True, False])
    hidden = images.at[:, 1].set(jnp.nan)
    found = diffusion.inpaint(exact_denoiser(part), diffusion.ddim(part), hidden, known, keys(200))
    np.testing.assert_array_equal(found[:, 0], images[:, 0])
    assert 0.35 < np.std(found[:, 1]) < 0.65


def test_image_to_image_changes_more_with_more_strength():
    part, images = diffusion.subsequence(LINEAR, 20), DATA_STD * normal(300, 2)
    changes = []
    for strength, sampler in ((0.05, diffusion.ddim), (0.4, diffusion.dpm_solver), (0.9, diffusion.ancestral)):
        found = diffusion.image_to_image(exact_denoiser(part), sampler(part), images, keys(300), strength)
        assert 0.38 < np.std(found) < 0.6
        changes.append(np.abs(found - images).mean())
    assert changes[0] < changes[1] < changes[2]


def exact_velocity(xs, times):
    t = times[:, None]
    variance = (1 - t) ** 2 + t**2 * DATA_STD**2
    return xs * (t * DATA_STD**2 - (1 - t)) / variance


def test_rectified_flow_of_normal_data():
    noise = normal(6, 2)
    errors = {
        method: [
            np.abs(diffusion.integrate(exact_velocity, noise, count, method) - DATA_STD * noise).max()
            for count in (20, 40)
        ]
        for method in ("euler", "heun")
    }
    assert 1.7 < errors["euler"][0] / errors["euler"][1] < 2.4
    assert 3.3 < errors["heun"][0] / errors["heun"][1] < 4.9
    data = DATA_STD * normal(6, 2, seed=3)
    back = diffusion.integrate(exact_velocity, data, 200, "heun", begin=1.0, end=0.0)
    np.testing.assert_allclose(back, data / DATA_STD, rtol=1e-4)
    found = diffusion.flow_matching_log_prob(exact_velocity, data, jax.random.key(0), 200)
    np.testing.assert_allclose(found, stats.norm.logpdf(data, 0, DATA_STD).sum(1), rtol=1e-4)
    x, path = diffusion.integrate_path(exact_velocity, noise, 3)
    np.testing.assert_array_equal(path[0], noise)
    assert path.shape == (3, 6, 2) and x.shape == (6, 2)


def test_training_targets_of_the_flow():
    noise, data = normal(3, 2), normal(3, 2, seed=1)
    times = jnp.array([0.0, 0.25, 1.0])
    points = diffusion.straight_path(noise, data, times)
    np.testing.assert_allclose(points, [noise[0], 0.75 * noise[1] + 0.25 * data[1], data[2]])
    times = diffusion.logit_normal_times(jax.random.key(0), 4000)
    assert 0 < times.min() < times.max() < 1 and abs(float(jnp.mean(times < 0.5)) - 0.5) < 0.03


def test_losses_of_exact_predictions():
    """The smallest loss of the noise of normal data is the mean variance of the noise given the noisy example."""
    process = GaussianDiffusion(num_levels=17)
    variance = process.tables.alphas_cumprod * DATA_STD**2 + 1 - process.tables.alphas_cumprod
    factors = jnp.asarray(np.sqrt(1 - process.tables.alphas_cumprod) / variance)
    network = lambda xs, times: factors[times][:, None] * xs
    clean = DATA_STD * normal(40_000, 1)
    losses = process.losses(network, clean, jax.random.key(0))["loss"]
    expected = np.mean(1 - (1 - process.tables.alphas_cumprod) / variance)
    np.testing.assert_allclose(np.mean(losses), expected, rtol=0.05)


def test_the_bound_of_likelihood_of_an_exact_model_is_the_entropy():
    """Levels of a wide normal distribution: the bound exceeds their entropy by the cost of finite steps."""
    process, levels = GaussianDiffusion(num_levels=9, variance="fixed_small", predicts="clean"), 9
    rng = np.random.default_rng(0)
    clean = np.clip(np.round(rng.normal(size=(3000, 1)) * 1.5) / 4, -1, 1)
    bars, values = process.tables.alphas_cumprod, np.linspace(-1, 1, levels)[None]
    priors = np.mean(np.abs(clean - values) < 1e-6, axis=0, keepdims=True)

    def network(xs, times):
        bar = jnp.asarray(bars)[times][:, None]
        logits = jnp.log(jnp.asarray(priors)) - (xs - jnp.sqrt(bar) * values) ** 2 / (2 * (1 - bar))
        return jnp.sum(jax.nn.softmax(logits) * values, axis=-1, keepdims=True)

    nats = process.negative_log_likelihood(network, jnp.asarray(clean), jax.random.key(0))
    probabilities = np.unique(clean, return_counts=True)[1] / len(clean)
    entropy = -np.sum(probabilities * np.log(probabilities))
    assert entropy - 0.02 < np.mean(nats) < entropy + 0.1
    flow = RectifiedFlow(num_levels=levels)
    std = math.sqrt(np.var(clean) + 0.25**2 / 12)

    def velocity(xs, times):
        t = times[:, None] / 1000
        return xs * (t * std**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * std**2)

    nats = flow.negative_log_likelihood(velocity, jnp.asarray(clean), jax.random.key(0))
    assert entropy - 0.02 < np.mean(nats) < entropy + 0.05


@pytest.mark.slow(seconds=4)
def test_hybrid_loss_trains_variances_by_the_bound_only():
    process = GaussianDiffusion(variance="learned", bound_weight=1.0)
    clean = normal(4, 2)

    def loss(mean_factor, weight):
        network = lambda xs, times: jnp.concatenate([mean_factor * xs, weight * jnp.ones_like(xs)], axis=-1)
        terms = process.losses(network, clean, jax.random.key(1))
        return jnp.sum(terms["loss"]), jnp.sum(terms["error"])

    of_loss = jax.grad(lambda *args: loss(*args)[0], (0, 1))(0.3, 0.2)
    of_error = jax.grad(lambda *args: loss(*args)[1], (0, 1))(0.3, 0.2)
    np.testing.assert_allclose(of_loss[0], of_error[0], rtol=1e-9)
    assert of_error[1] == 0 and abs(of_loss[1]) > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: diffusion.noise_schedule([0.1, 1.0]), "`betas` must be between 0 and 1, got 1 at step 1"),
        (lambda: diffusion.noise_schedule([]), "shape"),
        (lambda: diffusion.noise_schedule([0.1, math.nan]), "got nan at step 1"),
        (lambda: diffusion.subsequence(LINEAR, 1001), "at most the 1000 steps of the schedule, got 1001"),
        (lambda: diffusion.subsequence(LINEAR, 0), "num_steps"),
        (lambda: diffusion.subsequence(LINEAR, 10, "even"), "leading, trailing"),
        (lambda: GaussianDiffusion(last_beta=1.5), "between 0 and 1, got 1"),
        (lambda: GaussianDiffusion(first_beta=0.0), "got 0 at step 0"),
        (lambda: GaussianDiffusion(schedule="quadratic"), "linear, cosine"),
        (lambda: GaussianDiffusion(predicts="x0"), "noise, clean, velocity"),
        (lambda: GaussianDiffusion(variance="large"), "fixed_small, fixed_large, learned"),
        (lambda: RectifiedFlow(times="normal"), "uniform, logit_normal"),
        (lambda: RectifiedFlow(num_levels=1), "num_levels"),
        (lambda: diffusion.ddim(LINEAR, eta=-1), "eta"),
        (lambda: diffusion.ddim(LINEAR, eta=50), "noise that a step removes"),
        (lambda: diffusion.integrate(exact_velocity, normal(2, 2), 0), "num_steps"),
        (lambda: diffusion.integrate(exact_velocity, normal(2, 2), 2, "rk4"), "euler, heun"),
        (
            lambda: diffusion.image_to_image(None, diffusion.ddim(LINEAR), normal(2, 2), keys(2), 1.5),
            "`strength` must be a number between 0 and 1, got 1.5",
        ),
        (lambda: diffusion.timestep_embedding(jnp.zeros(2), 7), "even"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
