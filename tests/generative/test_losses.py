"""Losses of adversarial training, gradient penalty, spectral norm, packs and batch features."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxnets import generative

LOSSES = {
    "nonsaturating": (
        generative.nonsaturating_losses,
        lambda r, f: np.logaddexp(0, -r).mean() + np.logaddexp(0, f).mean(),
        lambda f: np.logaddexp(0, -f).mean(),
    ),
    "least_squares": (
        generative.least_squares_losses,
        lambda r, f: ((r - 1) ** 2).mean() + (f**2).mean(),
        lambda f: ((f - 1) ** 2).mean(),
    ),
    "hinge": (
        generative.hinge_losses,
        lambda r, f: np.maximum(1 - r, 0).mean() + np.maximum(1 + f, 0).mean(),
        lambda f: -f.mean(),
    ),
    "wasserstein": (generative.wasserstein_losses, lambda r, f: f.mean() - r.mean(), lambda f: -f.mean()),
}


# Compiled: operation by operation, the tests would take four times as long.
pack_examples, append_labels = (
    jax.jit(f, static_argnums=argument)
    for f, argument in ((generative.pack_examples, 1), (generative.append_labels, 2))
)
minibatch_std = jax.jit(generative.minibatch_std, static_argnames="group_size")
minibatch_closeness = jax.jit(generative.minibatch_closeness)
gradient_penalty = jax.jit(generative.gradient_penalty, static_argnums=0)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients(name):
    losses, discriminator, generator = LOSSES[name]
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=5) * 2, rng.normal(size=3) * 2
    found = jax.jit(losses)(real, fake)
    np.testing.assert_allclose(found, [discriminator(real, fake), generator(fake)], rtol=1e-12)
    check_grads(jax.jit(losses), (jnp.asarray(real), jnp.asarray(fake)), order=1, modes=["rev"], rtol=1e-6)


def test_gradient_penalty_of_a_quadratic():
    # |grad D(x)| of D(x) = |x|^2 / 2 is |x|.
    rng = np.random.default_rng(0)
    real, fake, weights = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 2)), rng.uniform(size=4)
    mixed = weights[:, None, None] * real + (1 - weights[:, None, None]) * fake
    expected = ((np.sqrt((mixed**2).sum((1, 2))) - 1) ** 2).mean()
    found = gradient_penalty(lambda xs: jnp.sum(xs**2, axis=(1, 2)) / 2, *map(jnp.asarray, (real, fake, weights)))
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_gradient_penalty_against_finite_differences():
    rng = np.random.default_rng(1)
    real, fake, weights = (
        jnp.asarray(a) for a in (rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.uniform(size=4))
    )

    def penalty(kernel, head):
        return gradient_penalty(lambda xs: jnp.tanh(xs @ kernel) @ head, real, fake, weights)

    check_grads(
        jax.jit(penalty),
        (jnp.asarray(rng.normal(size=(3, 5))), jnp.asarray(rng.normal(size=5))),
        order=1,
        modes=["rev"],
    )


def test_gradient_penalty_of_packs_is_that_of_the_packed_examples():
    rng = np.random.default_rng(2)
    real, fake, kernel = (jnp.asarray(rng.normal(size=size)) for size in ((6, 2), (6, 2), (4, 5)))
    weights = jnp.zeros(6)
    packed = lambda xs: jnp.sum(jnp.tanh(xs @ kernel), axis=1)
    found = gradient_penalty(lambda xs: packed(pack_examples(xs, 2)), real, fake, weights)
    pairs = fake.reshape(3, 4)
    norms = jnp.linalg.norm(jax.vmap(jax.grad(lambda x: packed(x[None])[0]))(pairs), axis=1)
    assert float(found) == pytest.approx(float(jnp.mean((norms - 1) ** 2)), rel=1e-12)


def test_gradient_penalty_is_finite_where_the_gradient_is_zero():
    def penalty(scale):
        zeros = jnp.zeros((2, 3))
        return gradient_penalty(lambda xs: scale * jnp.sum(xs**2, axis=1), zeros, zeros, jnp.zeros(2))

    assert jax.jit(jax.value_and_grad(penalty))(2.0) == (1.0, 0.0)


@pytest.mark.parametrize("shape", [(3, 3, 2, 5), (4, 1)])
def test_spectral_norm_converges_to_the_largest_singular_value(shape):
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=shape))
    left, values, right = np.linalg.svd(kernel.reshape(-1, shape[-1]), full_matrices=False)
    step, u = jax.jit(jax.value_and_grad(generative.spectral_norm, has_aux=True)), jnp.ones(shape[-1])
    for _ in range(100):
        (sigma, u), slope = step(kernel, u)
    assert float(sigma) == pytest.approx(values[0], rel=1e-10)
    np.testing.assert_allclose(slope, np.outer(left[:, 0], right[0]).reshape(shape), atol=1e-6)


def test_spectral_norm_continues_from_its_vector():
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)))
    step, vector = jax.jit(generative.spectral_norm, static_argnames="steps"), jnp.arange(4.0)
    for _ in range(3):
        _, vector = step(kernel, vector)
    np.testing.assert_allclose(vector, step(kernel, jnp.arange(4.0), steps=3)[1], rtol=1e-12)
    sigma, same = step(kernel, vector, steps=0)
    np.testing.assert_allclose(same, vector, rtol=1e-12)
    assert float(sigma) == pytest.approx(float(jnp.linalg.norm(kernel @ vector)))
    assert step(jnp.zeros((6, 4)), jnp.ones(4))[0] == 0


def test_spectral_norm_module_keeps_its_vector():
    module, kernel = generative.SpectralNorm(), jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)))
    variables = module.init(jax.random.key(0), kernel)
    assert variables["batch_stats"]["u"].dtype == jnp.float32
    step = jax.jit(lambda variables: module.apply(variables, kernel, True, mutable=["batch_stats"]))
    for _ in range(100):
        normalized, variables = step(variables)
    assert np.linalg.svd(normalized)[1][0] == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(module.apply(variables, kernel), normalized, rtol=1e-5)


def test_packs_are_concatenated_features_and_channels():
    points = np.arange(12.0).reshape(6, 2)
    np.testing.assert_array_equal(pack_examples(jnp.asarray(points), 3), points.reshape(2, 6))
    images = np.random.default_rng(0).normal(size=(4, 3, 2, 5))
    found = pack_examples(jnp.asarray(images), 2)
    np.testing.assert_array_equal(found[1], np.concatenate([images[2], images[3]], axis=-1))
    np.testing.assert_array_equal(pack_examples(jnp.asarray(images), 1), images)
    with pytest.raises(ValueError, match="`pack` must be a divisor of `B`, 4, got 3"):
        pack_examples(jnp.asarray(images), 3)


def test_minibatch_std():
    xs = np.random.default_rng(0).normal(size=(6, 2, 3, 5))
    found = np.asarray(minibatch_std(jnp.asarray(xs), group_size=3))
    np.testing.assert_array_equal(found[..., :5], xs)
    for example in range(6):  # groups {0, 2, 4} and {1, 3, 5}
        std = np.sqrt(xs[example % 2 :: 2].var(axis=0) + 1e-8).mean()
        np.testing.assert_allclose(found[example, ..., 5], std, rtol=1e-12)
    one = minibatch_std(jnp.ones((1, 4), jnp.bfloat16))
    assert one.dtype == jnp.bfloat16 and float(one[0, 4]) == pytest.approx(1e-4, rel=1e-2)
    with pytest.raises(ValueError, match="`group_size` must be a divisor of `B`, 6, got 4"):
        minibatch_std(jnp.asarray(xs))


def test_minibatch_std_has_a_gradient_for_equal_examples():
    gradient = jax.jit(jax.grad(lambda xs: jnp.sum(minibatch_std(xs))))(jnp.ones((4, 3)))
    chex.assert_tree_all_finite(gradient)


def test_minibatch_closeness():
    projected = np.random.default_rng(0).normal(size=(4, 2, 3))
    distances = abs(projected[:, None] - projected[None]).sum(-1)
    found = minibatch_closeness(jnp.asarray(projected))
    np.testing.assert_allclose(found, np.exp(-distances).sum(1), rtol=1e-12)
    np.testing.assert_array_equal(minibatch_closeness(jnp.asarray(projected[:1])), np.ones((1, 2)))


def test_labels_are_constant_channels():
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 1))
    found = append_labels(images, jnp.array([2, 0]), 3)
    np.testing.assert_array_equal(found[..., :1], images)
    np.testing.assert_array_equal(found[0, ..., 1:], np.broadcast_to([0, 0, 1], (3, 4, 3)))
    np.testing.assert_array_equal(found[1, ..., 1:], np.broadcast_to([1, 0, 0], (3, 4, 3)))
    assert generative.append_labels(images, None, 0) is images


@pytest.mark.parametrize(
    "labels, num_classes, message",
    [
        (None, 3, r"`labels` must be integers of shape \(2,\) in 0 ... 2, got None"),
        (np.zeros(3, int), 3, r"integers of shape \(2,\) in 0 ... 2, got shape \(3,\)"),
        (np.array([0, 3]), 3, "`labels` must be in 0 ... 2, got 3"),
        (np.array([0.0, 1.0]), 3, "`labels` must be an array of integers, got float64"),
        (np.zeros(2, int), 0, "`labels` must be None for a model with `num_classes=0`"),
    ],
)
def test_wrong_labels_are_errors(labels, num_classes, message):
    with pytest.raises(ValueError, match=message):
        generative.append_labels(jnp.zeros((2, 5)), labels, num_classes)
