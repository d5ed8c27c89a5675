"""Mistakes in config files and settings: one sentence that names what is wrong, exit code 2."""

import json

import numpy as np
import pytest
from in_process import ready

from jaxnets.training import build, config, loop, restore, rundir
from jaxnets.training.errors import RunError, UsageError

GOOD = {
    "task": "tasks.classification",
    "data": {"name": "data.digits", "batch_size": 16},
    "model": {"name": "recurrent.SequenceModel", "hidden_size": 4},
}


def changed(**sections):
    """The good config with sections replaced; None removes one."""
    return {name: value for name, value in {**GOOD, **sections}.items() if value is not None}


def optimizer(**settings):
    return changed(optimizer=settings)


def model(**settings):
    return changed(model={"name": "recurrent.SequenceModel", **settings})


# name: (the config, what the sentence must say)
CONFIGS = {
    "no task": (changed(task=None), "task.name is missing"),
    "no data": (changed(data=None), "data.name is missing"),
    "no model": (changed(model=None), "model.name is missing"),
    "a number as data": (changed(data=3), "data must be a dict of settings, got 3"),
    "a typo in a section": (changed(trian={"steps": 3}), "nothing reads trian.steps; the nearest is train.steps"),
    "a typo in a setting": (changed(train={"step": 3}), "nothing reads train.step; the nearest is train.steps"),
    "a text as a number": (changed(train={"steps": "3"}), "train.steps: int expected; given '3'"),
    "a fraction of a step": (changed(train={"steps": 3.5}), "train.steps: int expected; given 3.5"),
    "NaN": (optimizer(learning_rate=float("nan")), "optimizer.learning_rate must be a finite number"),
    "no such task": (changed(task="tasks.clasification"), "the nearest is tasks.classification"),
    "no such reader": (changed(data={"name": "data.digit"}), "the nearest is data.digits"),
    "no such model": (model() | {"model": {"name": "recurrent.SequenceModl"}}, "nearest is recurrent.SequenceModel"),
    "no such optimizer": (optimizer(name="optax.adm"), "the nearest is optax.adam"),
    "a package that is not there": (changed(model={"name": "no_such_package.Net"}), "cannot import no_such_package"),
    "a name without its place": (changed(data={"name": "digits"}), "expected where it lives"),
    "an argument of a model": (model(hiden=4), "has no argument 'hiden'; the nearest is hidden"),
    "an argument of a reader": (
        changed(data={"name": "data.digits", "bach": 4}),
        "no argument 'bach'; the nearest is batch",
    ),
    "an argument of a task": (changed(task={"name": "tasks.classification", "eror": 1}), "no argument 'eror'"),
    "an argument of an optimizer": (optimizer(name="optax.sgd", warmup=3, learning_rate=0.1), "no argument 'warmup'"),
    "a missing argument": (optimizer(name="optax.sgd"), "optax.sgd needs learning_rate"),
    "a type": (model(hidden="many"), "hidden must be int, got 'many'"),
    "an optimizer as a task": (changed(task="optax.adam"), "optax.adam does not make a task"),
    "a task as data": (changed(data={"name": "tasks.classification"}), "tasks.classification does not make a dataset"),
    "a function as a model": (changed(model={"name": "recurrent.lstm"}), "recurrent.lstm does not make a Linen module"),
    "a cell that is called": (model(cell={"name": "recurrent.gru"}), '{"factory": "recurrent.gru", ...}'),
    "a cell with a typo": (model(cell={"factory": "recurrent.gru", "rest": "after"}), "no argument 'rest'"),
    "a schedule of another kind": (
        optimizer(name="optax.sgd", learning_rate={"name": "optax.cosine_schedule", "decay_steps": 3}),
        "no cosine_schedule in optax",
    ),
    "a report of nothing": (changed(reports={"a": "reports.histogram"}), "the nearest is reports.histograms"),
    "an evaluator that is a model": (
        changed(evaluators={"a": "recurrent.SequenceModel"}),
        "does not make an evaluator",
    ),
    "a run that is not there": (model(cell={"run": "no/such/folder"}), "no run in no/such/folder"),
    "data for another task": (
        changed(task="tasks.regression"),
        "must have quantities, got data with classes",
    ),
    "frozen nothing": (optimizer(frozen="no_such_layer"), "is found in none of the paths"),
    "no regular expression": (optimizer(frozen="("), "not a regular expression"),
}


def built(path):
    settings, dataset, task, compiled = ready(name=str(path))
    return settings, dataset, task, compiled


@pytest.mark.parametrize("given, sentence", CONFIGS.values(), ids=list(CONFIGS))
def test_a_mistake_is_one_sentence(tmp_path, given, sentence):
    path = tmp_path / "mine.py"
    path.write_text(f"nan = float('nan')\n\n\ndef get_config():\n    return {given!r}\n")
    with pytest.raises(UsageError) as error:  # programs end with exit code 2
        built(path)
    assert sentence in error.value.message
    assert "\n" not in error.value.message


def test_the_good_config_is_built(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"def get_config():\n    return {GOOD!r}\n")
    assert built(path)[2].units == {"loss": "nats per label"}


def test_runs_that_use_each_other_are_told(tmp_path):
    settings, dataset, task, compiled = ready("--config.train.steps=1", "--config.data.batch_size=16", name="digits")
    for name, other in (("a", "b"), ("b", "a")):
        folder = tmp_path / name
        rundir.claim(folder, settings, dataset)
        loop.train(settings, folder, dataset, task, compiled)
        noted = json.loads((folder / "config.json").read_text())
        noted["task"]["teacher"] = {"run": str(tmp_path / other), "step": "last"}
        (folder / "config.json").write_text(json.dumps(noted))
    with pytest.raises(UsageError, match="runs that use each other: .*/a -> .*/b -> .*/a"):
        restore.open_run(tmp_path / "a")


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("get_config = 3", "a function get_config() that returns a dict of settings is needed"),
        ("def get_config():\n    return 3", "get_config() must return a dict or an ml_collections.ConfigDict"),
        ("def get_config(:", "cannot be run: SyntaxError"),
        ("import no_such_module", "cannot be run: ModuleNotFoundError"),
        ("def get_config():\n    return {'a.b': 1}", "config"),
    ],
)
def test_a_file_that_is_no_config_is_told(tmp_path, content, sentence):
    (tmp_path / "mine.py").write_text(content)
    with pytest.raises(UsageError) as error:
        config.load(str(tmp_path / "mine.py"))
    assert sentence in error.value.message


def test_a_config_that_holds_an_array_is_told(tmp_path):
    settings, dataset, *_ = ready("--config.data.batch_size=16", name="digits")
    settings.model["shift"] = np.ones(3)
    with pytest.raises(UsageError, match="a config must contain only numbers, strings, booleans and tuples"):
        rundir.claim(tmp_path / "run", settings, dataset)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match="no run in"):
        build.open_run(tmp_path / "run", "best")
