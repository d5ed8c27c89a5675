"""Wrong config files and settings: errors of one sentence that names the wrong setting."""

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
    """Returns the good config with replaced sections; None removes a section."""
    return {name: value for name, value in {**GOOD, **sections}.items() if value is not None}


def optimizer(**settings):
    return changed(optimizer=settings)


def model(**settings):
    return changed(model={"name": "recurrent.SequenceModel", **settings})


# name: (config, part of the message)
CONFIGS = {
    "missing task": (changed(task=None), "task.name is missing"),
    "missing data": (changed(data=None), "data.name is missing"),
    "missing model": (changed(model=None), "model.name is missing"),
    "number as data": (changed(data=3), "data must be a dict of settings, got 3"),
    "mistyped section": (changed(trian={"steps": 3}), "unknown setting trian.steps; the nearest is train.steps"),
    "mistyped setting": (changed(train={"step": 3}), "unknown setting train.step; the nearest is train.steps"),
    "text for int": (changed(train={"steps": "3"}), "train.steps must be int, got '3'"),
    "float for int": (changed(train={"steps": 3.5}), "train.steps must be int, got 3.5"),
    "NaN": (optimizer(learning_rate=float("nan")), "optimizer.learning_rate must be finite"),
    "mistyped task": (changed(task="tasks.clasification"), "the nearest is tasks.classification"),
    "mistyped reader": (changed(data={"name": "data.digit"}), "the nearest is data.digits"),
    "mistyped model": (model() | {"model": {"name": "recurrent.SequenceModl"}}, "nearest is recurrent.SequenceModel"),
    "mistyped optimizer": (optimizer(name="optax.adm"), "the nearest is optax.adam"),
    "missing package": (changed(model={"name": "no_such_package.Net"}), "cannot import no_such_package"),
    "name without module": (changed(data={"name": "digits"}), "a name must include its module"),
    "argument of a model": (model(hiden_size=4), "has no argument 'hiden_size'; the nearest is hidden_size"),
    "argument of a reader": (
        changed(data={"name": "data.digits", "bach_size": 4}),
        "no argument 'bach_size'; the nearest is batch_size",
    ),
    "argument of a task": (changed(task={"name": "tasks.classification", "eror": 1}), "no argument 'eror'"),
    "argument of an optimizer": (optimizer(name="optax.sgd", warmup=3, learning_rate=0.1), "no argument 'warmup'"),
    "missing argument": (optimizer(name="optax.sgd"), "optax.sgd needs learning_rate"),
    "wrong type": (model(hidden_size="many"), "hidden_size must be int, got 'many'"),
    "optimizer as task": (changed(task="optax.adam"), "optax.adam must return a task"),
    "task as data": (changed(data={"name": "tasks.classification"}), "tasks.classification must return a dataset"),
    "cell as model": (changed(model={"name": "recurrent.lstm"}), "recurrent.lstm must return a Linen module"),
    "cell without factory": (model(cell={"name": "recurrent.gru"}), '{"factory": "recurrent.gru", ...}'),
    "mistyped argument of a cell": (model(cell={"factory": "recurrent.gru", "rest": "after"}), "no argument 'rest'"),
    "mistyped schedule": (
        optimizer(name="optax.sgd", learning_rate={"name": "optax.cosine_schedule", "decay_steps": 3}),
        "no cosine_schedule in optax",
    ),
    "mistyped report": (changed(reports={"a": "reports.histogram"}), "the nearest is reports.histograms"),
    "model as evaluator": (
        changed(evaluators={"a": "recurrent.SequenceModel"}),
        "must return an evaluator",
    ),
    "missing run": (model(cell={"run": "no/such/folder"}), "no run in no/such/folder"),
    "data of another task": (
        changed(task="tasks.regression"),
        "must have quantities, got data with classes",
    ),
    "frozen without a match": (optimizer(frozen="no_such_layer"), "no_such_layer, which matches none of"),
    "invalid regular expression": (optimizer(frozen="("), "must be a regular expression, got ("),
}


def built(path):
    settings, dataset, task, compiled = ready(name=str(path))
    return settings, dataset, task, compiled


@pytest.mark.parametrize("given, sentence", CONFIGS.values(), ids=list(CONFIGS))
def test_wrong_config_gives_one_sentence(tmp_path, given, sentence):
    path = tmp_path / "mine.py"
    path.write_text(f"nan = float('nan')\n\n\ndef get_config():\n    return {given!r}\n")
    with pytest.raises(UsageError) as error:  # exit code 2 of programs
        built(path)
    assert sentence in error.value.message
    assert "\n" not in error.value.message


def test_good_config_is_built(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"def get_config():\n    return {GOOD!r}\n")
    assert built(path)[2].units == {"loss": "nats per label"}


def test_runs_that_use_each_other_are_rejected(tmp_path):
    settings, dataset, task, compiled = ready("--config.train.steps=1", "--config.data.batch_size=16", name="digits")
    for name, other in (("a", "b"), ("b", "a")):
        folder = tmp_path / name
        rundir.claim(folder, settings, dataset)
        loop.train(settings, folder, dataset, task, compiled)
        saved = json.loads((folder / "config.json").read_text())
        saved["task"]["teacher"] = {"run": str(tmp_path / other), "step": "last"}
        (folder / "config.json").write_text(json.dumps(saved))
    with pytest.raises(UsageError, match="runs use each other: .*/a -> .*/b -> .*/a"):
        restore.open_run(tmp_path / "a")


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("get_config = 3", "must define a function get_config() that returns a dict of settings"),
        ("def get_config():\n    return 3", "get_config() must return a dict or a ConfigDict, got int"),
        ("def get_config(:", "cannot be run: SyntaxError"),
        ("import no_such_module", "cannot be run: ModuleNotFoundError"),
        ("def get_config():\n    return {'a.b': 1}", "config"),
    ],
)
def test_file_without_a_config_is_rejected(tmp_path, content, sentence):
    (tmp_path / "mine.py").write_text(content)
    with pytest.raises(UsageError) as error:
        config.load(str(tmp_path / "mine.py"))
    assert sentence in error.value.message


def test_config_with_an_array_is_rejected(tmp_path):
    settings, dataset, *_ = ready("--config.data.batch_size=16", name="digits")
    settings.model["shift"] = np.ones(3)
    with pytest.raises(UsageError, match="a config must contain only numbers, strings, booleans and tuples"):
        rundir.claim(tmp_path / "run", settings, dataset)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match="no run in"):
        build.open_run(tmp_path / "run", "best")
