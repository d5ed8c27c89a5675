"""A run's folder gives back what it was told of the data."""

import json

import numpy as np
import pytest

from jaxnets import data
from jaxnets.training import rundir
from jaxnets.training.config import DEFAULTS, load
from jaxnets.training.errors import RunError, UsageError

TARGETS = [
    data.Vocabulary(),
    data.Vocabulary("\n\"'aé日\U0001f600"),
    data.learn_pieces(["one\n", "öne two\n"], 260),
    data.Classes(("0", "été", "日")),
    data.Quantities(("sum",)),
]


@pytest.mark.parametrize("targets", TARGETS, ids=lambda targets: type(targets).__name__)
def test_what_the_targets_mean_survives_saving(tmp_path, targets):
    made = data.adding(length=5, batch=3)._replace(targets=targets)
    rundir.claim(tmp_path / "run", load("adding"), made)
    found, batch = rundir.data(tmp_path / "run")
    assert found == targets
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in batch.items()} == {
        "inputs": ((3, 5, 2), np.float32),
        "targets": ((3, 1), np.float32),
        "mask": ((3,), bool),
    }


def test_a_run_of_a_version_with_fewer_settings_goes_on(tmp_path):
    made = data.adding(length=5, batch=3)
    rundir.claim(tmp_path, load("adding"), made)
    path = tmp_path / "config.json"
    before = json.loads(path.read_text())
    for key in DEFAULTS:
        section, _, name = key.rpartition(".")
        del before[section][name]
    path.write_text(json.dumps({name: section for name, section in before.items() if section != {}}))
    rundir.claim(tmp_path, load("adding"), made)
    assert rundir.load(tmp_path).to_dict() == load("adding").to_dict()
    other = load("adding")
    other.seed = 1
    with pytest.raises(UsageError, match="seed: 0 there, 1 here"):
        rundir.claim(tmp_path, other, made)


@pytest.mark.parametrize("damage", [{"targets": {"kind": "Nonsense"}}, {"batch": 3}, {"batch": {"x": [[1], "f99"]}}])
def test_damaged_descriptions_are_told(tmp_path, damage):
    rundir.claim(tmp_path / "run", load("adding"), data.adding(length=5, batch=3))
    path = tmp_path / "run" / "data.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(RunError, match="data.json cannot be read"):
        rundir.data(tmp_path / "run")
