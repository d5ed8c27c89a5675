"""Intervals from validation errors: coverage and CRPS of errors with a known distribution, missing values."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets import data, learning, series, tasks
from jaxnets.tasks.series.forecasting import CRPS_LEVELS, INTERVAL
from jaxnets.tasks.series.residual_intervals import residual_intervals

RANDOM = np.random.default_rng(0)
STD = np.float32([[1.0, 3.0], [2.0, 0.5]])  # of each step and channel
EVALUATOR = residual_intervals(lambda variables, batch: (batch["errors"], batch["mask"]), CRPS_LEVELS, INTERVAL)


def metrics(splits):
    sums = {}
    for name, (errors, mask) in splits.items():
        for rows in np.array_split(np.arange(len(errors)), 3):
            batch = {"errors": jnp.asarray(errors[rows]), "mask": jnp.asarray(mask[rows])}
            sums[name] = EVALUATOR.add(sums.get(name), EVALUATOR.measure({}, batch, None, ())[0])
    return EVALUATOR.compute(sums)


def errors_of(rows):
    return np.float32(STD * RANDOM.normal(size=(rows, 2, 2)) + 1), np.ones((rows, 2, 2), bool)


def test_metrics_of_normal_errors():
    found = metrics({"validation": errors_of(20_000), "test": errors_of(20_000)})
    assert found["test/residual_coverage_90"] == pytest.approx(0.9, abs=0.005)
    # The expected CRPS of a normal forecast with the true distribution is std / sqrt(pi).
    assert found["test/residual_crps"] == pytest.approx(np.mean(STD) / np.sqrt(np.pi), rel=0.01)


def test_missing_values_do_not_count():
    validation, test = errors_of(500), errors_of(500)
    expected = metrics({"validation": validation, "test": test})
    double = lambda errors, mask: (
        np.concatenate([errors, np.full_like(errors, np.nan)]),
        np.concatenate([mask, np.zeros_like(mask)]),
    )
    assert metrics({"validation": double(*validation), "test": double(*test)}) == pytest.approx(expected)
    unseen = (validation[0], validation[1] & np.array([[True, False], [True, True]]))
    hidden = (test[0], test[1] & np.array([[True, False], [True, True]]))
    assert metrics({"validation": unseen, "test": test}) == pytest.approx(
        metrics({"validation": validation, "test": hidden})
    )


def test_the_validation_split_is_needed():
    assert metrics({"test": errors_of(10)}) == {}


def test_point_forecasts_have_the_evaluator():
    spec = data.mackey_glass(4, 12, length=300).spec
    make = lambda likelihood: tasks.forecasting(
        series.NLinear, spec, learning.Gradient(optax.sgd(0.1)), likelihood=likelihood
    )
    assert make(None).evaluators["intervals"].splits == ("validation", "test")
    assert "intervals" not in make(series.gaussian()).evaluators
