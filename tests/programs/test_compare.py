"""Comparison of runs: table and plot."""

import json

import pytest

from jaxnets.reports.comparison import plot_curves as draw
from jaxnets.training import build, config, rundir
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.reporting import comparison

LOSSES = [
    {"step": 50, "train/loss": 3.5, "seconds": 30.0},
    {"step": 75, "validation/loss": 3.0, "validation/accuracy": 0.25, "seconds": 45.0},
    {"step": 120, "event": "update skipped", "because": "train/loss is nan"},
    {"step": 150, "validation/loss": 2.0, "validation/accuracy": 0.5, "seconds": 90.0},
    {"step": 200, "validation/loss": 2.5, "validation/accuracy": 0.75, "seconds": 120.0},
]


def finished(folder, rows, *overrides, name="digits"):
    """Creates a run folder with rows of metrics."""
    settings = config.load(name)
    config.override(settings, overrides)
    rundir.claim(folder, settings, build.dataset(settings))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    first = finished(folder / "a", LOSSES)
    slower = [{**row, "seconds": 2 * row["seconds"]} for row in LOSSES[:2]]
    second = finished(folder / "b", slower, ("seed", "1"), ("model.hidden_size", "32"))
    return [comparison.open_for_comparison(path, path.name) for path in (first, second)]


def test_table_has_different_settings_and_metrics(runs):
    table = comparison.table(runs, "validation/loss")
    assert table.columns == (
        *("run", "model.hidden_size", "seed", "steps", "minutes", "parameters"),
        *("best step", "best validation/loss", "last validation/loss", "validation/accuracy"),
    )
    assert table.rows == [
        ("a", str(runs[0].settings["model.hidden_size"]), "0", 200, 2.0, None, 150, 2.0, 2.5, 0.5),
        ("b", "32", "1", 75, 1.5, None, 75, 3.0, 3.0, 0.25),
    ]
    by_accuracy = comparison.table(runs, "validation/accuracy")
    assert by_accuracy.columns[-3:] == ("best validation/accuracy", "last validation/accuracy", "validation/loss")
    assert by_accuracy.rows[0][-3:] == (0.5, 0.75, 2.0)  # at the best step of the objective


def test_curves_are_plotted_by_step_and_by_time(runs):
    curves = [comparison.curve(run, "validation/loss") for run in runs]
    assert curves[0].steps == [75, 150, 200] and curves[0].seconds == [45, 90, 120] and curves[0].values == [3, 2, 2.5]
    figure = draw(curves, "loss")
    by_step, by_time = figure.axes
    assert [list(line.get_xdata()) for line in by_step.lines] == [[75, 150, 200], [75]]
    assert [list(line.get_xdata()) for line in by_time.lines] == [[0.75, 1.5, 2.0], [1.5]]
    assert by_time.get_xlabel() == "training time (minutes)"


def test_run_without_seconds_is_not_plotted_by_time(tmp_path, runs):
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in LOSSES]
    run = comparison.open_for_comparison(finished(tmp_path / "old", rows), "old")
    assert comparison.table([run], "validation/loss").rows[0][2] is None  # minutes
    old = comparison.curve(run, "validation/loss")
    figure = draw([old, comparison.curve(runs[0], "validation/loss")], "loss")
    assert [len(axes.lines) for axes in figure.axes] == [2, 1]


def test_runs_of_different_tasks_can_be_compared(tmp_path, runs):
    modes = [{"step": n, "validation/high_quality": high, "seconds": 1.0} for n, high in ((1, 0.1), (2, 0.3), (3, 0.2))]
    ring = comparison.open_for_comparison(finished(tmp_path / "ring", modes, name="gan"), "ring")
    assert ring.best_step() == 2
    both = [runs[0], ring]
    assert comparison.main_metric(both, None) == "validation/loss"
    table = comparison.table(both, "validation/loss")
    row = dict(zip(table.columns, table.rows[1], strict=True))
    assert row["best validation/loss"] is None
    assert row["validation/high_quality"] == 0.3
    assert row["task.name"] == "tasks.adversarial"
    assert comparison.curve(ring, "validation/loss") is None


def test_wrong_metric_and_missing_runs_are_rejected(tmp_path, runs):
    with pytest.raises(UsageError, match="got validation/los; the nearest is validation/loss"):
        comparison.main_metric(runs, "validation/los")
    with pytest.raises(RunError, match="no run in"):
        comparison.open_for_comparison(tmp_path, "x")
    with pytest.raises(RunError, match="no metrics in"):
        comparison.open_for_comparison(finished(tmp_path / "empty", []), "x")


def test_table_text_is_aligned_or_transposed(runs):
    table = comparison.table(runs, "validation/loss")
    wide = comparison.as_text(table, 1000).splitlines()
    assert len(wide) == 3 and wide[0].startswith("run  model.hidden_size  seed")
    transposed = comparison.as_text(table, 40).splitlines()
    assert len(transposed) == len(table.columns) and transposed[0].split() == ["run", "a", "b"]
    markdown = comparison.as_markdown(table._replace(columns=("a|b", "\x1b[2J", *table.columns[2:]))).splitlines()
    assert markdown[0].startswith("| a\\|b | ") and "\x1b" not in markdown[0]
    assert len(markdown) == 4


def test_wrong_number_of_labels_is_rejected(run_program):
    done = run_program("compare", "--runs=a", "--labels=one,two")
    assert done.returncode == 2
    assert done.stderr == "compare: --labels must have one label for each of the 1 runs, got 2\n"
