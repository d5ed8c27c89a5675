"""Runs on a table: training, evaluation, prediction and export in the units of the table."""

import numpy as np
import pytest
from in_process import ready
from sklearn.datasets import load_diabetes

from jaxnets import data, exported
from jaxnets.training import loop, restore, rundir
from jaxnets.training.exporting import artifacts, export_folder
from jaxnets.training.reporting.metrics import read_metrics


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of ten numeric columns and a category, with a target of mean 10,000 and standard deviation 770."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    y = 8500 + 10 * y
    rows = [
        [*map(repr, row.tolist()), "old" if row[0] > 50 else "young", repr(float(target))]
        for row, target in zip(x, y, strict=True)
    ]
    path = tmp_path_factory.mktemp("table") / "a.csv"
    header = [*(f"f{i}" for i in range(10)), "age", "cost"]
    path.write_text("\n".join(";".join(row) for row in [header, *rows]))
    return path, y


def test_regression_learns_and_predicts_in_the_units_of_the_table(table, tmp_path):
    path, y = table
    flags = {
        "data.path": path,
        "data.target": "cost",
        "data.target_type": "quantities",
        "task": "tasks.regression",
        "model.hidden_sizes": "(32,)",
        "train.steps": 150,
        "train.evaluate_every": 50,
        "train.report_every": 0,
    }
    workdir = tmp_path / "run"
    settings, made, task, compiled = ready(*(f"--config.{name}={value}" for name, value in flags.items()), name="table")
    rundir.claim(workdir, settings, made)
    loop.train(settings, workdir, made, task, compiled)
    run = restore.open_run(workdir, "last")
    last = read_metrics(workdir)[-1]
    assert 300 < last["validation/mean_absolute_error"] < 600  # 660 for constant predictions of the mean
    assert last["validation/loss"] < 0.7
    raw = data.read_inputs(str(path), rundir.read_inputs(workdir))
    batch = data.preprocess(run.inputs(), raw)
    outputs = run.task.endpoints["predict"].function(run.variables, batch)
    assert np.abs(np.asarray(outputs)[:, 0] - y).mean() < 500
    export_folder.write(tmp_path / "export", run, artifacts.of_run(run))
    model = exported.load(tmp_path / "export")
    np.testing.assert_allclose(model(raw["inputs"]), outputs, rtol=1e-5)
