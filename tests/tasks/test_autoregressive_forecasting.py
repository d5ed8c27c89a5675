"""Autoregressive forecasting: the loss in NumPy, metrics, missing values, counts, predictions and wrong models."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from task_parts import LearnerParts, loss_of

from jaxnets import data, learning, series, tasks

HORIZON, CONTEXT = 3, 12
ADAM = learning.Gradient(optax.adam(1e-2))
small = lambda **sizes: series.DeepAR(**sizes, hidden_size=12, num_layers=1, dropout=0.0)


@pytest.fixture(scope="module")
def dataset():
    return data.mackey_glass(HORIZON, CONTEXT, length=600, batch_size=32)


@pytest.fixture(scope="module")
def trained(dataset):
    """A task after 150 steps, its variables, the losses, and its jitted measure."""
    task = tasks.autoregressive_forecasting(small, dataset.spec, ADAM, num_samples=50)
    return task, *fit(task, dataset, 150), jax.jit(task.evaluators["metrics"].evaluator.measure)


def fit(task, dataset, steps):
    state, losses = task.learner.init(jax.random.key(0), dataset.train[0]), []
    update = jax.jit(task.learner.update)
    for step in range(steps):
        state, metrics = update(state, dataset.train[step], jax.random.fold_in(jax.random.key(1), step), step)
        losses.append(float(metrics["loss"]))
    return task.learner.variables(state), losses


def with_gaps(batch):
    random = np.random.default_rng(0)
    observed, mask = (random.random(batch[name].shape) < 0.7 for name in ("inputs", "targets"))
    return {**batch, "observed": observed, "mask": mask}


def filled(batch, value):
    hide = lambda array, known: np.where(known, array, np.float32(value))
    inputs, targets = hide(batch["inputs"], batch["observed"]), hide(batch["targets"], batch["mask"])
    return {**batch, "inputs": inputs, "targets": targets}


def softplus(x):
    return np.logaddexp(0, np.asarray(x, np.float64))


@pytest.mark.parametrize("name", ["student_t", "negative_binomial"])
def test_loss_equals_numpy(name, dataset):
    """Training: all known values after the first; evaluation: those of the horizon."""
    likelihood, counts = getattr(series, name)(), name == "negative_binomial"
    spec = data.Horizon(("x",), HORIZON, CONTEXT, 1, (1.0,)) if counts else dataset.spec
    task = tasks.autoregressive_forecasting(small, spec, LearnerParts, likelihood=likelihood)
    batch = with_gaps({name: np.asarray(array[:4]) for name, array in dataset.train[0].items()})
    if counts:
        batch |= {name: np.round(np.exp(batch[name] + 3)) for name in ("inputs", "targets")}
    batch = jax.tree.map(jnp.asarray, filled(batch, 0))
    variables = jax.jit(task.learner.init)(jax.random.key(0), batch)
    model = small(horizon=HORIZON, num_outputs=likelihood.num_outputs)
    keywords = {"observed": batch["observed"], "known": batch["mask"]}
    outputs, scale = jax.jit(functools.partial(model.apply, counts=counts))(
        variables, batch["inputs"], batch["targets"], **keywords
    )
    values = np.concatenate([batch["inputs"], batch["targets"]], 1)[:, 1:].astype(np.float64)
    known = np.concatenate([batch["observed"], batch["mask"]], 1)[:, 1:]
    first, spread, scale = outputs[..., 0], softplus(outputs[..., 1]), np.asarray(scale, np.float64)
    if name == "student_t":
        log_prob = stats.t.logpdf(values, 2 + softplus(outputs[..., 2]), scale * first, scale * (spread + 1e-3))
    else:
        mean, dispersion = scale * softplus(first) + 1e-3, spread / np.sqrt(scale) + 1e-3
        log_prob = stats.nbinom.logpmf(values, 1 / dispersion, 1 / (1 + dispersion * mean))
    loss = jax.jit(lambda variables: loss_of(task, variables, batch)[0])(variables)
    np.testing.assert_allclose(loss, -log_prob[known].mean(), rtol=1e-5)
    measured = jax.jit(lambda variables: means_of(task, variables, batch)["loss"])(variables)
    expected = -log_prob[:, -HORIZON:][known[:, -HORIZON:]]
    np.testing.assert_allclose(measured.total / measured.count, expected.mean(), rtol=1e-5)


def test_model_learns_and_its_forecasts_are_better_than_the_naive_ones(trained, dataset):
    _, variables, losses, measure = trained
    assert losses[-1] < losses[0] - 1.5
    found = measure(variables, dataset.splits["test"][0], jax.random.key(0), ())[0]
    found = {name: float(total / count) for name, (total, count) in found.items()}
    assert found["mse"] < 0.5 * found["naive_mse"] and found["mae"] < 0.7 * found["naive_mae"]
    assert found["crps"] < found["mae"] and 0.75 < found["coverage_90"] <= 1
    assert found.keys() == {*("loss", "mse", "mae", "mase", "crps", "coverage_90", "naive_mse", "naive_mae")}


def means_of(task, variables, batch):
    return task.evaluators["metrics"].evaluator.measure(variables, batch, jax.random.key(0), ())[0]


def test_missing_values_do_not_count(dataset):
    task = tasks.autoregressive_forecasting(small, dataset.spec, ADAM, num_samples=3)
    batch = with_gaps(dataset.train[0])
    state = task.learner.init(jax.random.key(0), filled(batch, 0))
    update = jax.jit(task.learner.update)
    measure = jax.jit(lambda batch: means_of(task, task.learner.variables(state), batch))
    found = []
    for fill in (0.0, 1e6, np.nan):
        given = filled(batch, fill)
        updated, metrics = update(state, given, jax.random.key(0), jnp.int32(0))
        metrics |= {f"validation/{name}": mean for name, mean in measure(given).items() if "naive" not in name}
        found.append((metrics, updated.variables))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found[0]))
    jax.tree.map(np.testing.assert_array_equal, found[1], found[0])
    jax.tree.map(np.testing.assert_array_equal, found[2], found[0])


@pytest.mark.slow
def test_counts_are_forecast_by_a_negative_binomial(tmp_path):
    random = np.random.default_rng(0)
    rates = 50 + 40 * np.sin(np.arange(500) * 2 * np.pi / 12)
    np.savez(tmp_path / "counts.npz", x=random.poisson(rates).astype(np.float64))
    dataset = data.forecasting(str(tmp_path / "counts.npz"), 4, 24, season=12, standardize="none", batch_size=32)
    options = {"likelihood": series.negative_binomial(), "num_samples": 40}
    task = tasks.autoregressive_forecasting(small, dataset.spec, ADAM, **options)
    variables, losses = fit(task, dataset, 150)
    found = jax.jit(lambda batch: means_of(task, variables, batch))(dataset.splits["test"][0])
    found = {name: float(total / count) for name, (total, count) in found.items()}
    assert found["loss"] < 3.8 < losses[0] - 1  # 3.26 for the true rates, 4.57 for their distribution
    assert found["mse"] < 0.25 * np.var(rates)
    assert 0.75 < found["coverage_90"] <= 1
    outputs = jax.jit(task.endpoints["predict"].function)(variables, dataset.splits["test"][0])
    assert np.all(outputs["lower"] >= 0) and np.all(outputs["lower"] <= outputs["upper"])


def test_predictions_are_deterministic_in_any_batch(trained, dataset):
    task, variables, *_ = trained
    endpoint, batch = task.endpoints["predict"], dataset.splits["test"][0]
    predict = jax.jit(endpoint.function)
    outputs = predict(variables, batch)
    assert outputs.keys() == {"forecast", "lower", "upper"}
    order = np.random.default_rng(0).permutation(32)
    permuted = predict(variables, {name: array[order] for name, array in batch.items()})
    single = predict(variables, {name: array[5:6] for name, array in batch.items()})
    for name, array in outputs.items():
        np.testing.assert_allclose(permuted[name], np.asarray(array)[order], rtol=1e-4)
        np.testing.assert_allclose(single[name], array[5:6], rtol=1e-4)
    table = endpoint.present(outputs)["forecasts"]
    assert table.columns == ("row", "step", "x", "x 5 %", "x 95 %") and len(table.rows) == 32 * HORIZON


def test_evaluation_uses_its_key(trained, dataset):
    _, variables, _, measure = trained
    batch, (first, second) = dataset.splits["test"][0], jax.random.split(jax.random.key(0))
    found = [measure(variables, batch, key, ())[0] for key in (first, first, second)]
    jax.tree.map(np.testing.assert_array_equal, found[0], found[1])
    assert float(found[0]["mse"].total) != float(found[2]["mse"].total)
    assert float(found[0]["loss"].total) == float(found[2]["loss"].total)


def test_wrong_combinations_are_rejected(dataset):
    spec, counts = dataset.spec, series.negative_binomial()
    task = tasks.autoregressive_forecasting
    for call, message in (
        (lambda: task(small, data.Classes(("a",)), ADAM), "must have horizon"),
        (lambda: task(small, spec, ADAM, likelihood=counts), "`standardize` must be none for a likelihood of counts"),
        (lambda: task(small, spec, ADAM, likelihood=series.quantiles()), "`likelihood` must be a distribution"),
        (
            lambda: task(small, spec, ADAM, likelihood=series.gaussian),
            "such as series.gaussian\\(\\), got gaussian; in",
        ),
        (lambda: task(small, spec, ADAM, num_samples=0), "`num_samples` must be an integer of at least 1, got 0"),
        (
            lambda: task(series.RecurrentForecaster, spec, ADAM),
            "must be series.DeepAR, got RecurrentForecaster, a model of tasks.forecasting",
        ),
        (
            lambda: tasks.forecasting(series.DeepAR, spec, ADAM, likelihood=series.gaussian()),
            "`task` must be tasks.autoregressive_forecasting for series.DeepAR, got tasks.forecasting",
        ),
        (lambda: tasks.forecasting(series.DeepAR, spec, ADAM), "`task` must be tasks.autoregressive_forecasting"),
        (lambda: task(series.DeepAR(2), spec, ADAM), "`horizon` of the model must be 3, got 2"),
        (
            lambda: task(lambda horizon: series.DeepAR(horizon), spec, ADAM),
            "`model` must have the argument `num_outputs` for quantiles and distributions",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
