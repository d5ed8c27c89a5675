"""Training time and learning rate in the metrics of a run."""

import json
import time

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from in_process import ready, trained

from jaxnets.learning.optimizers import adamw, reduce_on_plateau
from jaxnets.training import loop
from jaxnets.training.reporting.metrics import read_metrics, training_metric
from jaxnets.training.reporting.progress import Clock

WARM = ("--config.optimizer.warmup_steps=3", "--config.train.log_every=1", "--config.train.evaluate_every=4")


def column(workdir, name):
    return [row[name] for row in read_metrics(workdir) if name in row]


def test_a_clock_does_not_count_pauses_and_resumes():
    clock = Clock(100.0)
    with clock.paused():
        seconds = clock.seconds()
        time.sleep(0.05)
        assert clock.seconds() == seconds
    assert 100 <= seconds <= clock.seconds() < seconds + 0.04


def test_seconds_and_learning_rates_continue_when_a_run_is_resumed(tmp_path, small_flags, monkeypatch):
    evaluate = loop.evaluate

    def slow(*arguments):
        time.sleep(1.0)
        return evaluate(*arguments)

    monkeypatch.setattr(loop, "evaluate", slow)
    settings, dataset, task, compiled = ready(*small_flags, *WARM, "--config.train.steps=8")
    schedule = optax.warmup_cosine_decay_schedule(0.0, 4e-3, 3, 8, 4e-3 * 0.01)
    tmp_path = tmp_path / "run"
    tmp_path.mkdir()
    settings.train.steps = 4
    loop.train(settings, tmp_path, dataset, task, compiled)
    first_seconds = column(tmp_path, "seconds")
    settings.train.steps = 8
    loop.train(settings, tmp_path, dataset, task, compiled)
    seconds = column(tmp_path, "seconds")
    assert seconds[: len(first_seconds)] == first_seconds and seconds == sorted(seconds) and seconds[0] > 0
    validated = [row["seconds"] for row in read_metrics(tmp_path) if "validation/loss" in row]
    assert len(validated) == 2 and validated[1] - first_seconds[-1] < 1  # evaluations took two seconds
    rates = column(tmp_path, "train/learning_rate")
    np.testing.assert_allclose(rates, [schedule(step) for step in range(8)], rtol=1e-6)


def test_a_resumed_run_of_an_earlier_version_has_no_seconds(tmp_path, small_flags):
    settings, dataset, task, compiled = ready(*small_flags, "--config.train.steps=5")
    loop.train(settings, tmp_path, dataset, task, compiled)
    path = tmp_path / "metrics.jsonl"
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in read_metrics(tmp_path)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings.train.steps = 10
    loop.train(settings, tmp_path, dataset, task, compiled)
    assert column(tmp_path, "step")[-1] == 10
    assert column(tmp_path, "seconds") == []


def test_learning_rate_uses_the_update_count_of_the_state():
    params = {"a": jnp.ones(1)}
    optimizer = adamw(10, 1.0, warmup_steps=2, clip_norm=1.0)
    state, rates = optimizer.init(params), []
    for _ in range(3):
        rates.append(float(optimizer.learning_rate(state)))
        _, state = optimizer.update(params, state, params)
    assert rates == [0.0, 0.5, 1.0]
    reduced, observe = reduce_on_plateau(optimizer, 0.25, 1, "validation/loss")
    state = reduced.init(params)
    _, state = reduced.update(params, state, params)
    for _ in range(2):
        state, _ = observe(state, {"validation/loss": jnp.float32(1)})
    assert reduced.learning_rate(state) == 0.5 * 0.25


def test_learning_rates_of_players_are_logged(tmp_path):
    flags = ("--config.data.batch_size=10", "--config.train.steps=2", "--config.train.evaluate_every=2")
    trained(tmp_path, *flags, "--config.train.log_every=1", name="gan")
    names = [name for row in read_metrics(tmp_path) for name in row]
    assert {"train/generator_learning_rate", "train/discriminator_learning_rate"} <= set(names)
    assert training_metric("validation/high_quality", dict.fromkeys(names)) == "train/discriminator_loss"
    assert (tmp_path / "figures" / "curves.png").exists()


@pytest.mark.parametrize(
    "objective, names, expected",
    [
        ("validation/loss", ["train/accuracy", "train/loss"], "train/loss"),
        ("validation/accuracy", ["train/loss", "train/accuracy"], "train/accuracy"),
        ("validation/auroc", ["step", "train/loss", "train/gradient_norm"], "train/loss"),
        ("validation/modes", ["train/critic_gradient", "train/critic_loss"], "train/critic_loss"),
        (None, ["train/error"], "train/error"),
        ("validation/loss", ["validation/loss"], None),
    ],
)
def test_training_metric_prefers_the_objective(objective, names, expected):
    assert training_metric(objective, names) == expected
