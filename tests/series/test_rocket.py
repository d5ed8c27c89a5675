"""ROCKET: features against loops in NumPy, shapes of the random kernels, padding, and a fitted classifier."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets import data, learning, series, tasks
from jaxnets.series.rocket import SIZES, _groups

RANDOM = np.random.default_rng(0)


def looped(x, kernels, groups):
    """The features of one series ``[T, D]`` in float64, kernel by kernel, output by output."""
    features = []
    for group in groups:
        positives, maxima = [], []
        for i in range(group.begin, group.end):
            size, padded = group.sizes[i - group.begin], group.padded[i - group.begin]
            weights = kernels.weights[i][(11 - size) // 2 : (11 + size) // 2]
            outputs = []
            for t in range(len(x)):
                steps = [t + group.dilation * (j - size // 2) for j in range(size)]
                if not padded and (steps[0] < 0 or steps[-1] >= len(x)):
                    continue
                taps = [(w, x[s]) for w, s in zip(weights, steps, strict=True) if 0 <= s < len(x)]
                outputs.append(kernels.biases[i] + sum(w @ v for w, v in taps))
            positives.append(np.mean(np.array(outputs) > 0) if outputs else 0)
            maxima.append(max(outputs, default=0))
        features += [positives, maxima]
    return np.concatenate(features)


@pytest.mark.parametrize(("length", "channels"), [(30, 1), (23, 3), (5, 1), (1, 2)])
def test_features_equal_loops(length, channels):
    xs = RANDOM.normal(size=(3, length, channels)).astype(np.float32)
    kernels = series.random_kernels(jax.random.key(0), 25, length, channels)
    found = series.rocket_features(jnp.asarray(xs), kernels)
    exact = series.Kernels(*(np.asarray(each, np.float64) for each in kernels))
    expected = [looped(x, exact, _groups(25, length)) for x in xs.astype(np.float64)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_padding_does_not_change_features():
    xs = RANDOM.normal(size=(3, 30, 2)).astype(np.float32)
    lengths = np.int32([30, 17, 0])
    kernels = series.random_kernels(jax.random.key(1), 40, 30, 2)
    masked = np.where(np.arange(30)[:, None] < lengths[:, None, None], xs, 0)
    found = series.rocket_features(jnp.asarray(masked), kernels, lengths)
    exact = series.Kernels(*(np.asarray(each, np.float64) for each in kernels))
    expected = [looped(x[:n], exact, _groups(40, 30)) for x, n in zip(xs.astype(np.float64), lengths, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    model = series.Rocket(2, num_kernels=40)
    variables = model.init(jax.random.key(0), xs)
    variables["params"]["kernel"] += RANDOM.normal(size=(80, 2)).astype(np.float32)
    outputs = [model.apply(variables, np.where(masked == 0, fill, xs), lengths=lengths) for fill in (0, np.nan)]
    np.testing.assert_array_equal(*outputs)


def test_kernels_are_drawn_as_in_the_paper():
    count, length = 6000, 140
    groups = _groups(count, length)
    sizes = np.concatenate([group.sizes for group in groups])
    padded = np.concatenate([group.padded for group in groups])
    dilations = np.concatenate([[group.dilation] * len(group.sizes) for group in groups])
    for size in SIZES:
        assert np.sum(sizes == size) == count // 3 and np.mean(padded[sizes == size]) == 0.5
        of_size = dilations[sizes == size]
        limit = np.log2((length - 1) / (size - 1))
        assert of_size.max() == int(2**limit) and of_size.min() == 1
        expected = np.floor(2 ** RANDOM.uniform(0, limit, 100_000))  # the paper draws them
        np.testing.assert_allclose(np.mean(of_size <= 3), np.mean(expected <= 3), atol=0.01)
    kernels = series.random_kernels(jax.random.key(0), count, length, 4)
    weights = np.asarray(kernels.weights)
    np.testing.assert_array_equal((weights != 0).any(2).sum(1), sizes)
    np.testing.assert_allclose(weights.sum(1), 0, atol=1e-5)
    used = (weights != 0).any(1).sum(1)
    shares = np.bincount(used, minlength=5) / count
    limit = np.log2(5)  # of min(4, size) + 1
    np.testing.assert_allclose(shares, np.diff(np.log2([1, 1, 2, 3, 4, 5])) / limit, atol=0.02)
    biases = np.asarray(kernels.biases)
    assert abs(biases).max() <= 1 and abs(biases.mean()) < 0.03


@pytest.mark.slow(20)
@pytest.mark.parametrize("steps", [12, 20, 45])
def test_dilations_are_those_of_the_training_series(steps):
    model = series.Rocket(2, num_kernels=60)
    xs = RANDOM.normal(size=(20, 30, 2)).astype(np.float32)
    batch = {"inputs": xs, "targets": np.arange(20) % 2, "mask": np.ones(20, bool)}
    variables = jax.jit(model.fit)(model.init(jax.random.key(0), xs), batch)
    new = RANDOM.normal(size=(4, steps, 2)).astype(np.float32)
    padded = np.pad(new, ((0, 0), (0, 50 - steps), (0, 0)))
    outputs = model.apply(variables, new)
    np.testing.assert_allclose(model.apply(variables, padded, lengths=np.full(4, steps)), outputs, rtol=1e-4, atol=1e-5)
    kernels = series.Kernels(**variables["params"]["kernels"])
    found = series.rocket_features(jnp.asarray(new), kernels, training_length=30)
    exact = series.Kernels(*(np.asarray(each, np.float64) for each in kernels))
    expected = [looped(x, exact, _groups(60, 30)) for x in new.astype(np.float64)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_constant_channels_are_not_amplified():
    xs = RANDOM.normal(size=(20, 30, 2)).astype(np.float32)
    xs[..., 1] = 3.1
    model = series.Rocket(2, num_kernels=60)
    batch = {"inputs": xs, "targets": np.arange(20) % 2, "mask": np.ones(20, bool)}
    variables = jax.jit(model.fit)(model.init(jax.random.key(0), xs), batch)
    assert np.min(variables["params"]["scale"]) > 1e-4
    xs[..., 1] += 0.1 * RANDOM.normal(size=(20, 30))  # it varies later
    assert np.max(np.abs(model.apply(variables, xs))) < 10


@pytest.mark.slow
def test_learns_two_frequencies(tmp_path):
    def waves(rows):
        labels = np.arange(rows) % 2
        phases = RANDOM.uniform(0, 6, (rows, 1))
        return np.sin(np.arange(40) * np.where(labels, 0.5, 0.6)[:, None] + phases), labels

    (x_train, y_train), (x_test, y_test) = waves(60), waves(60)
    x_train, x_test = (xs + 0.3 * RANDOM.normal(size=xs.shape) for xs in (x_train, x_test))
    np.savez(tmp_path / "a.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    dataset = data.series(str(tmp_path / "a.npz"), batch_size=0, validation_fraction=0.1)
    assert len(dataset.train[0]["inputs"]) == 54  # all training rows
    task = tasks.classification(series.Rocket(2, 300), dataset.spec, learning.Gradient(optax.adam(1e-3)))
    state = task.learner.init(jax.random.key(0), dataset.train[0])
    update = jax.jit(task.learner.update)
    fitted, metrics = update(state, dataset.train[0], jax.random.key(1), jnp.int32(0))
    assert bool(metrics["finite"])
    again, _ = update(fitted, dataset.train[0], jax.random.key(2), jnp.int32(1))
    jax.tree.map(np.testing.assert_array_equal, again, fitted)
    predict = task.endpoints["predict"].function
    logits = predict(task.learner.variables(fitted), {"inputs": np.float32(x_test)[..., None]})
    assert np.mean(np.argmax(logits, 1) == y_test) > 0.9


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`num_kernels` must be an integer of at least 1, got 0"):
        series.Rocket(2, 0).init(jax.random.key(0), jnp.zeros((1, 5, 1)))
    with pytest.raises(ValueError, match=r"`xs` must be .*\[B, T, D\]"):
        series.rocket_features(jnp.zeros((2, 5)), series.random_kernels(jax.random.key(0), 4, 5, 1))
