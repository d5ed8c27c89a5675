"""Curves against time: steps become minutes by the items that each task counts."""

import json

import pytest

from benchmarks.curves import curve
from jaxnets.training import build, config, rundir
from jaxnets.training.errors import UsageError

SPEED = 1000.0  # items per second, constant


def finished(folder, name, rows, *overrides):
    """A run's folder with these lines of metrics."""
    settings = config.load(name)
    config.override(settings, overrides)
    rundir.claim(folder, settings, build.dataset(settings))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


ROWS = [
    {"step": 50, "items_per_second": SPEED},
    {"step": 75, "validation/loss": 3.0},
    {"step": 100, "items_per_second": SPEED},
    {"step": 120, "event": "update skipped", "because": "train/loss is nan"},
    {"step": 150, "items_per_second": SPEED},
    {"step": 200, "validation/loss": 2.0},
]
TASKS = {  # name: config, overrides, items of a batch
    "examples": ("digits", [("data.batch", "40")], 40),
    "sets": ("set_maximum", [("data.batch", "40")], 40),
    "tokens": ("char_lm", [("data.batch", "4"), ("data.length", "8")], 32),
}


@pytest.mark.parametrize("name, overrides, items", TASKS.values(), ids=TASKS)
def test_minutes_are_items_divided_by_speed(tmp_path, small_text, name, overrides, items):
    if name == "char_lm":
        overrides = [*overrides, ("data.path", str(small_text))]
    minutes, losses = curve(finished(tmp_path / "run", name, ROWS, *overrides))
    assert list(minutes) == pytest.approx([75 * items / SPEED / 60, 200 * items / SPEED / 60])
    assert losses == [3.0, 2.0]


def test_a_run_without_speed_or_loss_is_refused(tmp_path):
    folder = finished(tmp_path / "run", "digits", ROWS[1:2])
    with pytest.raises(UsageError, match="no items_per_second in"):
        curve(folder)
    (folder / "metrics.jsonl").write_text(json.dumps(ROWS[0]))
    with pytest.raises(UsageError, match="no validation/loss in"):
        curve(folder)
