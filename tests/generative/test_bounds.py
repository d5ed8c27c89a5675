"""Bounds, divergences, likelihoods and vector quantization, in float64."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

from jaxnets import generative

GOLDEN = dict(np.load(Path(__file__).parent.parent / "reference" / "generative.npz"))
# Compiled: operation by operation, the tests would take four times as long.
(
    gaussian_kl,
    standard_normal_kl,
    uniform_kl,
    gaussian_log_prob,
    bernoulli_log_prob,
    importance_weighted_bound,
    log_importance_weights,
    reparameterize,
    vector_quantize,
    elbo,
) = map(
    jax.jit,
    (
        generative.gaussian_kl,
        generative.standard_normal_kl,
        generative.uniform_kl,
        generative.gaussian_log_prob,
        generative.bernoulli_log_prob,
        generative.importance_weighted_bound,
        generative.log_importance_weights,
        generative.reparameterize,
        generative.vector_quantize,
        generative.elbo,
    ),
)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


def test_divergences_and_likelihoods_equal_torch():
    mean, log_variance, other_mean, other_log_variance = map(jnp.asarray, GOLDEN["kl/parameters"])
    found = gaussian_kl(mean, log_variance, other_mean, other_log_variance)
    np.testing.assert_allclose(found, GOLDEN["kl/gaussian"], rtol=1e-12)
    np.testing.assert_allclose(uniform_kl(mean), GOLDEN["kl/uniform"], rtol=1e-12)
    found = gaussian_log_prob(mean, other_mean, other_log_variance)
    np.testing.assert_allclose(found, GOLDEN["kl/log_prob"], rtol=1e-12)
    zeros = jnp.zeros_like(mean)
    standard = standard_normal_kl(mean, log_variance)
    np.testing.assert_allclose(standard, gaussian_kl(mean, log_variance, zeros, zeros), rtol=1e-12)


def test_gradients_equal_finite_differences():
    pairs = arrays(*[(3, 2)] * 4)
    check_grads(gaussian_kl, pairs, order=1, modes=["rev"])
    check_grads(standard_normal_kl, pairs[:2], order=1, modes=["rev"])
    check_grads(gaussian_log_prob, pairs[:3], order=1, modes=["rev"])
    check_grads(uniform_kl, pairs[:1], order=1, modes=["rev"])
    check_grads(importance_weighted_bound, pairs[:1], order=1, modes=["rev"])
    check_grads(log_importance_weights, (jnp.ones(3), *pairs[:3]), order=1, modes=["rev"])


def test_divergence_of_a_certain_category():
    logits = jnp.array([0.0, -jnp.inf, -jnp.inf])
    value, slope = jax.value_and_grad(uniform_kl)(logits)
    assert float(value) == pytest.approx(math.log(3)) and np.isfinite(slope).all()
    assert uniform_kl(jnp.ones(4)) == pytest.approx(0)


def test_bernoulli_log_prob_equals_scipy():
    (logits,) = arrays((4, 3))
    bits = np.random.default_rng(0).integers(0, 2, (4, 3))
    expected = stats.bernoulli(1 / (1 + np.exp(-np.asarray(logits)))).logpmf(bits).sum(-1)
    np.testing.assert_allclose(bernoulli_log_prob(logits, jnp.asarray(bits * 1.0)), expected, rtol=1e-10)


def test_importance_weighted_bound():
    (log_weights,) = arrays((5, 3))
    expected = np.log(np.exp(np.asarray(log_weights)).mean(0))
    np.testing.assert_allclose(importance_weighted_bound(log_weights), expected, rtol=1e-12)
    np.testing.assert_array_equal(importance_weighted_bound(log_weights[:1]), log_weights[0])
    shifted = importance_weighted_bound(log_weights - 1000)  # the weights underflow
    np.testing.assert_allclose(shifted, expected - 1000, rtol=1e-12)


def test_weights_are_constant_for_the_exact_posterior():
    # p(z) = N(0, 1) and p(x|z) = N(x; z, 1): the posterior is N(x / 2, 1 / 2), and p(x) = N(x; 0, 2).
    xs, noise = arrays((4, 1), (6, 4, 1))
    mean, log_variance = xs / 2, jnp.full((4, 1), math.log(0.5))
    codes = reparameterize(mean, log_variance, noise)
    log_likelihood = gaussian_log_prob(jnp.broadcast_to(xs, codes.shape), codes, jnp.zeros_like(codes))
    log_weights = log_importance_weights(log_likelihood, codes, mean, log_variance)
    exact = stats.norm(0, math.sqrt(2)).logpdf(np.asarray(xs)[:, 0])
    np.testing.assert_allclose(log_weights, np.broadcast_to(exact, (6, 4)), rtol=1e-10)


def test_elbo_weighs_the_divergence():
    log_likelihood, kl = arrays(3, 3)
    np.testing.assert_allclose(elbo(log_likelihood, kl), log_likelihood - kl)
    np.testing.assert_allclose(elbo(log_likelihood, kl, 4.0), log_likelihood - 4 * kl)


# ---- the doubly reparameterized gradient: p(z) = N(0, 1), p(x|z) = N(x; w z, 1), q(z|x) = N(a x + b, exp(c))

PARAMETERS = {"w": 0.7, "a": 0.2, "b": 0.4, "c": -0.9}
X = 1.3
NUM_POINTS = 40


def bound(parameters, noise, doubly):
    """The bound of K = 2 samples ``[2, N, 1]`` for N equal examples, ``[N]``."""
    mean = jnp.full((noise.shape[1], 1), parameters["a"] * X + parameters["b"])
    log_variance = jnp.full(mean.shape, parameters["c"])

    def log_joint(codes):
        zeros = jnp.zeros_like(codes)
        prior = gaussian_log_prob(codes, zeros, zeros)
        return prior + gaussian_log_prob(jnp.full_like(codes, X), parameters["w"] * codes, zeros)

    if doubly:
        return generative.doubly_reparameterized_bound(log_joint, mean, log_variance, noise)
    codes = reparameterize(mean, log_variance, noise)
    return importance_weighted_bound(log_joint(codes) - gaussian_log_prob(codes, mean, log_variance))


def test_doubly_reparameterized_gradient_has_the_expectation_of_the_bound_gradient():
    points, masses = np.polynomial.hermite_e.hermegauss(NUM_POINTS)
    masses = masses / masses.sum()
    noise = jnp.asarray(np.stack(np.meshgrid(points, points), 0).reshape(2, -1, 1))
    probabilities = jnp.asarray(np.outer(masses, masses).reshape(-1))
    values = {}
    for doubly in (False, True):
        expected = lambda parameters, doubly=doubly: bound(parameters, noise, doubly) @ probabilities
        values[doubly] = jax.jit(jax.value_and_grad(expected))(PARAMETERS)
    assert float(values[True][0]) == pytest.approx(float(values[False][0]), rel=1e-12)
    for name, slope in values[False][1].items():
        assert abs(float(slope)) > 1e-2
        assert float(values[True][1][name]) == pytest.approx(float(slope), rel=1e-5), name


def test_doubly_reparameterized_gradient_of_one_sample_is_the_formula():
    (noise,) = arrays((3, 1, 1))
    slopes = jax.jit(jax.grad(lambda parameters: bound(parameters, noise, True)[0]))(PARAMETERS)
    mean, std, w = PARAMETERS["a"] * X + PARAMETERS["b"], math.exp(PARAMETERS["c"] / 2), PARAMETERS["w"]
    codes = mean + std * np.asarray(noise)[:, 0, 0]
    log_weights = -0.5 * codes**2 - 0.5 * (X - w * codes) ** 2 + 0.5 * (codes - mean) ** 2 / std**2
    normalized = np.exp(log_weights - log_weights.max())
    normalized /= normalized.sum()
    by_code = -codes + w * (X - w * codes) + (codes - mean) / std**2
    assert float(slopes["b"]) == pytest.approx((normalized**2 * by_code).sum(), rel=1e-10)
    assert float(slopes["c"]) == pytest.approx((normalized**2 * by_code * (codes - mean) / 2).sum(), rel=1e-10)
    assert float(slopes["w"]) == pytest.approx((normalized * codes * (X - w * codes)).sum(), rel=1e-10)


def test_doubly_reparameterized_gradient_vanishes_for_the_exact_posterior():
    exact = {"w": 1.0, "a": 0.5, "b": 0.0, "c": math.log(0.5)}
    (noise,) = arrays((4, 3, 1))
    slopes = jax.jit(jax.grad(lambda parameters: jnp.sum(bound(parameters, noise, True))))(exact)
    plain = jax.jit(jax.grad(lambda parameters: jnp.sum(bound(parameters, noise, False))))(exact)
    assert max(abs(float(slopes[name])) for name in "abc") < 1e-10 < abs(float(plain["b"]))


# ---- samples


def test_binarized_pixels_have_the_intensities_as_means():
    images = jnp.array([[0, 51], [204, 255]], jnp.uint8)
    keys = jax.random.split(jax.random.key(0), 4000)
    bits = jax.vmap(lambda key: generative.binarize(key, images))(keys)
    assert bits.dtype == jnp.float32 and set(np.unique(bits)) == {0, 1}
    np.testing.assert_allclose(bits.mean(0), [[0, 0.2], [0.8, 1]], atol=0.03)
    assert generative.binarize(keys[0], images.astype(jnp.float64) / 255).dtype == jnp.float64
    with pytest.raises(ValueError, match="`images` must be uint8, or floating point in .0, 1., got int32"):
        generative.binarize(keys[0], images.astype(jnp.int32))


# ---- vector quantization


def test_nearest_codes():
    xs, codebook = arrays((2, 5, 3), (7, 3))
    distances = ((np.asarray(xs)[..., None, :] - np.asarray(codebook)) ** 2).sum(-1)
    found = vector_quantize(xs, codebook)
    np.testing.assert_array_equal(found.indices, distances.argmin(-1))
    np.testing.assert_allclose(found.codes, codebook[found.indices], rtol=1e-12)
    np.testing.assert_allclose(found.codebook_loss, distances.min(-1), rtol=1e-12)
    np.testing.assert_allclose(found.commitment_loss, distances.min(-1), rtol=1e-12)
    assert not np.any(vector_quantize(xs, codebook[:1]).indices)


def test_gradient_passes_straight_through():
    xs, codebook, weights = arrays((5, 3), (7, 3), (5, 3))
    through = lambda xs, codebook: jnp.sum(weights * vector_quantize(xs, codebook).codes)
    slopes = jax.jit(jax.grad(through, (0, 1)))(xs, codebook)
    np.testing.assert_array_equal(slopes[0], weights)
    np.testing.assert_array_equal(slopes[1], np.zeros_like(codebook))


def test_each_loss_has_its_gradient():
    xs, codebook = arrays((5, 3), (7, 3))
    indices = np.asarray(vector_quantize(xs, codebook).indices)
    differences = np.asarray(xs) - np.asarray(codebook)[indices]
    loss = lambda name: lambda *pair: jnp.sum(getattr(vector_quantize(*pair), name))
    by_xs, by_codebook = jax.jit(jax.grad(loss("commitment_loss"), (0, 1)))(xs, codebook)
    np.testing.assert_allclose(by_xs, 2 * differences, rtol=1e-12)
    assert not np.any(by_codebook)
    by_xs, by_codebook = jax.jit(jax.grad(loss("codebook_loss"), (0, 1)))(xs, codebook)
    expected = np.zeros_like(codebook)
    np.add.at(expected, indices, -2 * differences)
    np.testing.assert_allclose(by_codebook, expected, rtol=1e-12)
    assert not np.any(by_xs)


def test_half_precision_codes_have_float32_losses():
    xs, codebook = arrays((5, 3), (7, 3))
    found = vector_quantize(xs.astype(jnp.bfloat16), codebook.astype(jnp.float32))
    assert (found.codes.dtype, found.codebook_loss.dtype, found.indices.dtype) == (jnp.bfloat16, jnp.float32, jnp.int32)


@pytest.mark.parametrize("shape", [(7, 2), (7,), (0, 3)])
def test_wrong_codebooks_are_errors(shape):
    with pytest.raises(ValueError, match=r"`codebook` must have the shape \[K, 3\], K at least 1"):
        vector_quantize(jnp.zeros((5, 3)), jnp.zeros(shape))
