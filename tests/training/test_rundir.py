"""Run folders: round trips of data descriptions, and checks before a run is resumed."""

import json

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.inputs import Columns, Images, Pixels, Rows
from jaxnets.training import build, restore, rundir
from jaxnets.training.config import defaults, differences, flatten, load
from jaxnets.training.errors import RunError, UsageError

SPECS = [
    data.Vocabulary(),
    data.Vocabulary("\n\"'aé日\U0001f600"),
    data.learn_pieces(["one\n", "öne two\n"], 260),
    data.Classes(("0", "été", "日")),
    data.Quantities(("sum",)),
    data.Quantities(("age", "höhe"), (40, 1.5), (0.25, -0.0625), (2.0, 1e-3)),
    data.Labels(("red", "été")),
    data.Unlabeled(7),
    data.Captions(("a", "été", "red"), 4),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_targets_survive_saving(tmp_path, spec):
    dataset = data.adding(length=5, batch_size=3)._replace(spec=spec)
    rundir.claim(tmp_path / "run", load("adding"), dataset)
    targets, batch = rundir.data(tmp_path / "run")
    assert targets == spec
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in batch.items()} == {
        "inputs": ((3, 5, 2), np.float32),
        "targets": ((3, 1), np.float32),
        "mask": ((3,), bool),
    }


def test_a_run_of_a_version_with_fewer_settings_can_be_resumed(tmp_path):
    dataset = data.adding(length=5, batch_size=3)
    rundir.claim(tmp_path, load("adding"), dataset)
    path = tmp_path / "config.json"
    before = json.loads(path.read_text())
    flat = flatten(load("adding"))
    for key in (key for key, value in defaults().items() if key != "seed" and flat[key] == value):
        section, _, name = key.rpartition(".")
        del before[section][name]
    before["model"]["cell"]["name"] = before["model"]["cell"].pop("factory")
    path.write_text(json.dumps({name: section for name, section in before.items() if section != {}}))
    rundir.claim(tmp_path, load("adding"), dataset)
    assert differences(rundir.load(tmp_path), load("adding")) == []


def test_a_run_with_another_config_is_rejected_with_the_differences(tmp_path, capsys):
    dataset = data.adding(length=5, batch_size=3)
    rundir.claim(tmp_path, load("adding"), dataset)
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    other = load("adding")
    other.seed = 1
    other.train.steps += 1  # may change
    other.model["dropout"] = 0.5
    other.model["pooling"] = "max"
    with pytest.raises(UsageError, match="contains a run with another config") as refused:
        rundir.claim(tmp_path, other, dataset)
    assert set(refused.value.details) == {
        "seed: 0 there, 1 here",
        "model.dropout: 0.0 there, 0.5 here",
        "model.pooling: 'last' there, 'max' here",
    }
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("left", ["", "4.orbax-checkpoint-tmp"])
def test_a_run_without_checkpoints_is_replaced(tmp_path, capsys, left):
    dataset = data.adding(length=5, batch_size=3)
    rundir.claim(tmp_path, load("adding"), dataset)
    (tmp_path / "checkpoints" / left).mkdir(parents=True)
    other = load("adding")
    other.seed = 1
    rundir.check(tmp_path, other, dataset)
    rundir.claim(tmp_path, other, dataset)
    assert capsys.readouterr().err == f"{tmp_path} contained another run without checkpoints; it is replaced\n"
    assert rundir.load(tmp_path).seed == 1
    rundir.claim(tmp_path, other, data.adding(length=6, batch_size=3))
    assert "it is replaced" in capsys.readouterr().err
    assert rundir.data(tmp_path)[1]["inputs"].shape == (3, 6, 2)
    rundir.claim(tmp_path, other, data.adding(length=6, batch_size=3))
    assert capsys.readouterr().err == ""
    (tmp_path / "damaged").mkdir()  # evidence of a checkpoint
    with pytest.raises(UsageError, match="contains a run with another config"):
        rundir.claim(tmp_path, load("adding"), dataset)


QUANTITIES = {"kind": "Quantities", "names": ["a"]}
DAMAGES = [
    {"targets": {"kind": "Nonsense"}},
    {"targets": {**QUANTITIES, "origin": [0], "offset": [0], "std": [0]}},
    {"targets": {**QUANTITIES, "origin": [0], "offset": [0], "std": [1, 1]}},
    {"targets": {**QUANTITIES, "origin": [0], "std": [1]}},
    {"targets": {**QUANTITIES, "origin": 0, "offset": 0, "std": 1}},
    {"targets": {"kind": "Unlabeled", "features": "many"}},
    {"targets": {"kind": "Labels", "names": []}},
    {"targets": {"kind": "Captions", "words": ["a"]}},
    {"targets": {"kind": "Captions", "words": ["a", "a"], "max_seq_len": 3}},
    {"batch": 3},
    {"batch": {"x": [[1], "f99"]}},
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_invalid_descriptions_are_rejected(tmp_path, damage):
    rundir.claim(tmp_path / "run", load("adding"), data.adding(length=5, batch_size=3))
    path = tmp_path / "run" / "data.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(RunError, match="data.json cannot be read"):
        rundir.data(tmp_path / "run")


INPUTS = [
    None,
    Rows(),
    Rows((2**63, -(2**62)), (0.1 + 0.2, 1e-300), (1e20, 1 / 3)),
    Rows((0.1,), (-0.0,), (5e-324,)),
    Pixels(255.0, 28, True),
    Images(2, 3, 4),
    Columns(("age", "été"), ((), ("a", "日")), ("y",)),
    Columns(("age", "été"), ((), ("a", "日")), (), (40, 0, 0), (0.5, 0.0, 0.0), (2.0, 1.0, 1.0)),
]


@pytest.mark.parametrize("inputs", INPUTS, ids=str)
def test_inputs_survive_saving(tmp_path, inputs):
    dataset = data.adding(length=5, batch_size=3)._replace(inputs=inputs)
    rundir.claim(tmp_path / "run", load("adding"), dataset)
    assert rundir.read_inputs(tmp_path / "run") == inputs


@pytest.mark.parametrize(
    "damage",
    [
        3,
        {"kind": "Nonsense"},
        {},
        {"kind": "Rows", "std": [1]},
        {"kind": "Pixels", "divisor": 0},
        {"kind": "Columns", "names": ["a"], "categories": []},
        {"kind": "Columns", "names": ["a", "a"], "categories": [[], []]},
        {"kind": "Columns", "names": ["a"], "categories": [[3]]},
        {"kind": "Columns", "names": ["a"], "categories": [["b", "c"]], "origin": [0], "offset": [0], "std": [1]},
        {"kind": "Columns", "names": 3, "categories": 4},
    ],
)
def test_invalid_inputs_are_rejected(tmp_path, damage):
    rundir.claim(tmp_path / "run", load("adding"), data.adding(length=5, batch_size=3))
    path = tmp_path / "run" / "data.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "inputs": damage}))
    with pytest.raises(RunError, match="data.json cannot be read"):
        rundir.read_inputs(tmp_path / "run")


def remove_inputs(workdir, **changes):
    """Removes ``inputs``, which earlier versions did not write, from ``data.json``."""
    before = json.loads((workdir / "data.json").read_text())
    del before["inputs"]
    (workdir / "data.json").write_text(json.dumps({**before, **changes}))


def create_run(workdir, settings):
    dataset = build.dataset(settings)
    rundir.claim(workdir, settings, dataset)
    return dataset, restore.Run(workdir, settings, dataset.spec, None, None, 0, None)


def test_inputs_that_an_earlier_version_did_not_save_are_computed_again(tmp_path):
    dataset, run = create_run(tmp_path, load("digits"))
    remove_inputs(tmp_path)
    assert run.inputs() == dataset.inputs == Pixels(16.0, None, True)
    rundir.claim(tmp_path, load("digits"), dataset)
    assert rundir.read_inputs(tmp_path) == dataset.inputs


def test_runs_standardized_in_float32_are_rejected(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(40) % 2, x_test=x, y_test=np.arange(40) % 2)
    settings = load("series")
    settings.data.path = str(tmp_path / "a.npz")
    dataset, run = create_run(tmp_path / "run", settings)
    assert run.inputs() == dataset.inputs
    (tmp_path / "run" / "checkpoints" / "4").mkdir(parents=True)
    remove_inputs(tmp_path / "run", fingerprint="of other numbers")
    for use in (run.inputs, lambda: rundir.claim(tmp_path / "run", settings, dataset)):
        with pytest.raises(RunError, match="earlier version, which standardized the data in float32 .* train it again"):
            use()
