"""Settings of models that are fitted in closed form: batches of all rows, no settings of gradient descent."""

import numpy as np
import pytest
from in_process import ready

from jaxnets.data.sources.parts import Split, assemble
from jaxnets.training.errors import UsageError

GRADIENT_SETTINGS = [
    ("optimizer.ema_decay=0.9", "0.9"),
    ("optimizer.frozen=kernel", "'kernel'"),
    ("optimizer.plateau_factor=0.5", "0.5"),
    ("train.grad_accum_steps=2", "2"),
]


@pytest.fixture
def path(tmp_path):
    steps, rows = np.arange(40), np.arange(30)
    xs = np.sin(steps * np.where(rows % 2, 0.5, 0.7)[:, None] + rows[:, None])
    np.savez(tmp_path / "a.npz", x_train=xs, y_train=rows % 2, x_test=xs, y_test=rows % 2)
    return f"--config.data.path={tmp_path / 'a.npz'}"


def flags_of(name, path):
    return {
        "ucr:rocket": (path, "--config.model.num_kernels=10"),
        "series_anomaly:pca": (path, "--config.data.normal=0", "--config.model.num_components=2"),
        "series_anomaly:neighbor": (path, "--config.data.normal=0"),
        "forecast:ridge": (),
    }[name]


@pytest.mark.parametrize(("setting", "value"), GRADIENT_SETTINGS, ids=[each[0] for each in GRADIENT_SETTINGS])
@pytest.mark.parametrize("name", ["ucr:rocket", "series_anomaly:pca", "series_anomaly:neighbor", "forecast:ridge"])
def test_settings_of_gradient_descent_are_refused(path, name, setting, value):
    key = setting.partition("=")[0]
    with pytest.raises(UsageError, match=rf"--config.{key} must be left out: series.* is fitted in .*, got {value}$"):
        ready(*flags_of(name, path), f"--config.{setting}", name=name)


@pytest.mark.parametrize("name", ["ucr:rocket", "series_anomaly:pca", "series_anomaly:neighbor"])
def test_a_batch_must_hold_all_training_rows(path, name):
    _, dataset, *_ = ready(*flags_of(name, path), name=name)
    rows = len(dataset.train[0]["mask"])
    assert dataset.train_rows == rows
    match = f"is fitted to all {rows} training rows at once: use --config.data.batch_size=0, got batches of 8"
    with pytest.raises(UsageError, match=match):
        ready(*flags_of(name, path), "--config.data.batch_size=8", name=name)
    ready(*flags_of(name, path), f"--config.data.batch_size={rows}", name=name)


def test_the_rows_of_a_part_are_those_of_the_whole():
    arrays = {"inputs": np.zeros((12, 2), np.float32), "mask": np.ones(12, bool)}
    common = {"batch_size": 4, "seed": 0, "spec": None, "fingerprint": "", "description": ""}
    dataset = assemble({"train": Split(arrays)}, **common)
    assert dataset.part(lambda count: np.arange(count // 2)).train_rows == 12
