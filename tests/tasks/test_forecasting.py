"""Forecasting: metrics, ridge regression in closed form, likelihoods, predictions and figures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets import data, learning, series, tasks

HORIZON, CONTEXT = 4, 12


@pytest.fixture(scope="module")
def dataset():
    return data.mackey_glass(HORIZON, CONTEXT, length=600, batch_size=32)


def evaluated(task, variables, batches):
    evaluator = task.evaluators["metrics"].evaluator
    measure, sums = jax.jit(evaluator.measure), None
    for i in range(len(batches)):
        sums = evaluator.add(sums, measure(variables, batches[i], jax.random.key(0), ())[0])
    return {name.removeprefix("test/"): value for name, value in evaluator.compute({"test": sums}).items()}


def windows_of(batches):
    collected = [batches[i] for i in range(len(batches))]
    joined = {name: np.concatenate([batch[name] for batch in collected]) for name in collected[0]}
    return {name: array[joined["mask"].any((1, 2))] for name, array in joined.items()}


def trained(task, dataset, steps):
    state = task.learner.init(jax.random.key(0), dataset.train[0])
    update = jax.jit(task.learner.update)
    for step in range(steps):
        state, metrics = update(state, dataset.train[step], jax.random.fold_in(jax.random.key(1), step), step)
    return task.learner.variables(state), metrics


def test_ridge_equals_numpy_and_has_lower_errors_than_the_naive_forecast(dataset):
    train = 420 - HORIZON - CONTEXT + 1
    whole = data.mackey_glass(HORIZON, CONTEXT, length=600, batch_size=train)
    task = tasks.ridge_forecasting(series.NLinear, dataset.spec, None, strength=0.01)
    variables, _ = trained(task, whole, 1)
    rows = whole.train[0]
    last = rows["inputs"][:, -1:].astype(np.float64)
    xs, ys = ((rows[name] - last)[..., 0] for name in ("inputs", "targets"))
    kernel = np.linalg.solve(xs.T @ xs + 0.01 * train * np.eye(CONTEXT), xs.T @ ys)
    np.testing.assert_allclose(variables["params"]["linear"]["kernel"], kernel, atol=1e-4)
    found = evaluated(task, variables, dataset.splits["test"])
    test = windows_of(dataset.splits["test"])
    forecast = (test["inputs"] - test["inputs"][:, -1:])[..., 0] @ kernel + test["inputs"][:, -1]
    errors = np.abs(forecast - test["targets"][..., 0])
    naive = np.abs(test["inputs"][:, -1:] - test["targets"])
    expected = {"mse": (errors**2).mean(), "mae": errors.mean(), "mase": errors.mean() / dataset.spec.naive_error[0]}
    expected |= {"loss": expected["mse"], "naive_mse": (naive**2).mean(), "naive_mae": naive.mean()}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3)
    assert found["mse"] < 0.5 * found["naive_mse"]
    model = functools.partial(series.NLinear, use_bias=False)
    without, _ = trained(tasks.ridge_forecasting(model, dataset.spec, None, strength=0.01), whole, 1)
    assert without["params"]["linear"].keys() == {"kernel"}
    np.testing.assert_array_equal(without["params"]["linear"]["kernel"], variables["params"]["linear"]["kernel"])


LIKELIHOODS = {
    "point": None,
    "quantiles": series.quantiles(),
    "gaussian": series.gaussian(),
    "student_t": series.student_t(),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_models_learn_with_every_likelihood(name, dataset):
    make_learner = learning.Gradient(optax.adam(1e-2))
    task = tasks.forecasting(series.WindowMLP, dataset.spec, make_learner, likelihood=LIKELIHOODS[name])
    variables, metrics = trained(task, dataset, 120)
    found = evaluated(task, variables, dataset.splits["test"])
    assert metrics["finite"] and found["mse"] < 0.4 * found["naive_mse"]
    assert ("crps" in found) == (name != "point")
    if name != "point":
        assert found["crps"] < found["mae"] and 0.7 < found["coverage_90"] <= 1
    outputs = task.endpoints["predict"].function(variables, dataset.splits["test"][0])
    assert outputs.keys() == ({"forecast"} if name == "point" else {"forecast", "lower", "upper"})
    truth = windows_of(dataset.splits["test"])["targets"][:32]
    scale = dataset.spec.statistics.std[0]
    mean = (dataset.spec.statistics.origin + dataset.spec.statistics.offset)[0]
    error = np.abs(outputs["forecast"] - (truth * scale + mean)).mean() / scale
    assert error < 2 * found["mae"]
    table = task.endpoints["predict"].present(outputs)["forecasts"]
    assert table.columns == (("row", "step", "x") if name == "point" else ("row", "step", "x", "x 5 %", "x 95 %"))
    assert len(table.rows) == 32 * HORIZON


def test_density_is_that_of_the_values_and_not_of_the_normalized_window(dataset):
    """The loss of a shifted and scaled density integrates to the same total probability."""
    task = tasks.forecasting(
        lambda horizon, num_outputs: series.NLinear(horizon, num_outputs, normalization="standardize"),
        dataset.spec,
        learning.Gradient(optax.sgd(0.0)),
        likelihood=series.gaussian(),
    )
    batch = {name: jnp.asarray(array[:1]) for name, array in dataset.train[0].items()}
    state = task.learner.init(jax.random.key(0), batch)
    grid = np.linspace(-8, 8, 4001, dtype=np.float32)
    first = jnp.zeros((1, HORIZON, 1), bool).at[0, 0].set(True)

    def loss(value):
        given = {**batch, "targets": jnp.full((1, HORIZON, 1), value), "mask": first}
        return task.learner.update(state, given, jax.random.key(0), jnp.int32(0))[1]["loss"]

    density = np.exp(-np.asarray(jax.jit(jax.vmap(loss))(grid), np.float64))
    np.testing.assert_allclose(np.trapezoid(density, grid), 1, rtol=1e-3)


def test_missing_targets_do_not_count(dataset):
    task = tasks.forecasting(series.NLinear, dataset.spec, learning.Gradient(optax.adam(1e-3)))
    batch = dict(dataset.train[0])
    state = task.learner.init(jax.random.key(0), batch)
    mask = np.random.default_rng(0).random(batch["mask"].shape) < 0.7
    losses = []
    for fill in (0.0, 1e6, np.nan):
        given = {**batch, "mask": mask, "targets": np.where(mask, batch["targets"], np.float32(fill))}
        updated, metrics = task.learner.update(state, given, jax.random.key(0), jnp.int32(0))
        losses.append(
            (float(metrics["loss"]), *jax.tree.leaves(jax.tree.map(lambda a: float(a.sum()), updated.variables)))
        )
    assert losses[0] == losses[1] == losses[2] and np.isfinite(losses[0]).all()


def test_figures_show_windows_errors_and_autocorrelation(dataset):
    task = tasks.forecasting(
        series.NLinear, dataset.spec, learning.Gradient(optax.adam(1e-3)), likelihood=series.quantiles()
    )
    variables, _ = trained(task, dataset, 1)
    figures = task.reports["figures"](variables, {"validation": dataset.splits["validation"]}, jax.random.key(0))
    assert set(figures) == {"forecasts", "error_by_step", "autocorrelation"}
    assert len(figures["forecasts"].axes) == 2  # of two batches
    assert figures["error_by_step"].axes[0].lines[0].get_xdata().tolist() == [1, 2, 3, 4]


def test_autocorrelation_equals_numpy():
    from jaxnets.reports.series_figures import autocorrelation

    values = np.random.default_rng(0).normal(size=50).cumsum()
    centered = values - values.mean()
    expected = [(centered[k:] @ centered[:-k]) / (centered @ centered) for k in (1, 2, 3)]
    np.testing.assert_allclose(autocorrelation(values, 3), expected)
    assert len(autocorrelation(values[:2], 9)) == 1


def test_wrong_combinations_are_rejected(dataset):
    make_learner = learning.Gradient(optax.adam(1e-3))
    for call, message in (
        (lambda: tasks.forecasting(series.NLinear, data.Classes(("a",)), make_learner), "must have horizon"),
        (
            lambda: tasks.forecasting(
                series.NLinear, dataset.spec, make_learner, likelihood=series.negative_binomial()
            ),
            "`standardize` must be none for a likelihood of counts",
        ),
        (
            lambda: tasks.forecasting(
                lambda horizon: series.NLinear(horizon), dataset.spec, make_learner, likelihood=series.gaussian()
            ),
            "`model` must have the argument `num_outputs` for quantiles and distributions",
        ),
        (
            lambda: tasks.ridge_forecasting(series.NLinear, dataset.spec, None, strength=-1),
            "`strength` must be a positive number, got -1",
        ),
        (
            lambda: tasks.ridge_forecasting(series.DLinear, dataset.spec, None),
            "`model` must be series.NLinear with the normalization last",
        ),
        (
            lambda: tasks.forecasting(
                functools.partial(series.RevIN, model=series.DLinear),
                dataset.spec,
                make_learner,
                likelihood=series.gaussian(),
            ),
            "`likelihood` must be of points or quantiles for series.RevIN, got a distribution",
        ),
        (
            lambda: tasks.forecasting(series.NLinear(3), dataset.spec, make_learner),
            "`horizon` of the model must be 4, got 3",
        ),
        (
            lambda: tasks.forecasting(series.NLinear(4), dataset.spec, make_learner, likelihood=series.gaussian()),
            "`num_outputs` of the model must be 2, got 1",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_naive_errors_use_known_values_only(dataset):
    task = tasks.forecasting(series.NLinear, dataset.spec, learning.Gradient(optax.adam(1e-3)))
    batch = dict(dataset.train[0])
    variables = task.learner.variables(task.learner.init(jax.random.key(0), batch))
    observed = np.ones(batch["inputs"].shape, bool)
    observed[::2, -1] = False
    measure = lambda given: evaluated(task, variables, [given])["naive_mae"]
    broken = {**batch, "inputs": np.where(observed, batch["inputs"], np.float32(0)), "observed": observed}
    known = np.abs(batch["inputs"][1::2, -1:] - batch["targets"][1::2]).mean()
    np.testing.assert_allclose(measure(broken), known, rtol=1e-5)


def test_figures_of_one_step(tmp_path):
    dataset = data.mackey_glass(1, 12, length=300, batch_size=32)
    task = tasks.forecasting(
        series.NLinear, dataset.spec, learning.Gradient(optax.adam(1e-3)), likelihood=series.gaussian()
    )
    variables, _ = trained(task, dataset, 1)
    figures = task.reports["figures"](variables, {"validation": dataset.splits["validation"]}, jax.random.key(0))
    lines = [line for axes in figures["forecasts"].axes for line in axes.lines if len(line.get_xdata()) == 1]
    assert lines and all(line.get_marker() == "." for line in lines if line.get_label() in ("truth", "forecast"))


def test_counts_are_forecast_by_a_negative_binomial(tmp_path):
    random = np.random.default_rng(0)
    rates = 5 + 4 * np.sin(np.arange(500) * 2 * np.pi / 12)
    np.savez(tmp_path / "counts.npz", x=random.poisson(rates).astype(np.float64))
    dataset = data.forecasting(str(tmp_path / "counts.npz"), 4, 24, season=12, standardize="none", batch_size=32)
    model = lambda **sizes: series.WindowMLP(**sizes, normalization="none")
    task = tasks.forecasting(
        model, dataset.spec, learning.Gradient(optax.adam(1e-2)), likelihood=series.negative_binomial()
    )
    variables, _ = trained(task, dataset, 150)
    found = evaluated(task, variables, dataset.splits["test"])
    assert found["mse"] < found["naive_mse"] and found["loss"] < 2.6
    with pytest.raises(ValueError, match="`normalization` must be none for a likelihood of counts, got 'last'"):
        tasks.forecasting(
            series.NLinear, dataset.spec, learning.Gradient(optax.adam(1e-2)), likelihood=series.negative_binomial()
        )
