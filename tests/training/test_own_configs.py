"""Configs that name a user's package, and runs that use the trained model of another run."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT
from in_process import ready, trained
from ml_collections import ConfigDict

from jaxnets import learning, recurrent
from jaxnets.training import build, config, restore, rundir
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.exporting import artifacts

OWN = """
import jax, jax.numpy as jnp, numpy as np, optax
from flax import linen as nn
from jaxnets import data, learning, recurrent, reports, tasks
from jaxnets.data.dataset import Dataset

def cell(hidden_size, scale=1.0):
    return recurrent.gru(hidden_size, reset="after")

class Net(nn.Module):
    num_classes: int
    cell: object
    activation: object
    @nn.compact
    def __call__(self, xs, train=False, **mask):
        ys = recurrent.RNN(self.cell(4))(xs)[1]
        return nn.Dense(self.num_classes)(self.activation(ys[:, -1]))

def points(batch_size: int = 4, seed: int = 0) -> Dataset:
    return data.digits(batch_size=batch_size, seed=seed)

def task(model, spec, make_learner, *, weight: float = 1.0) -> tasks.Task:
    built = tasks.classification(model, spec, make_learner)
    return built._replace(units={"loss": f"{weight} nats"})

def chain(steps: int, schedule, clip: float = 1.0) -> optax.GradientTransformation:
    return optax.chain(optax.clip(clip), optax.sgd(schedule))

def count_rows(predict, factor: int = 1) -> learning.Evaluator:
    def measure(variables, batch, key, carry):
        return {"rows": learning.Mean(factor * jnp.sum(batch["mask"], dtype=jnp.float32), jnp.float32(1))}, ()
    assert callable(predict)
    return learning.means(measure)

def report(variables, splits, key, model, title):
    return {"title": reports.Text(f"{title} of {type(model).__name__}")}
"""
CONFIG = {
    "task": {"name": "own_package.task", "weight": 2.0},
    "data": {"name": "own_package.points"},
    "model": {
        "name": "own_package.Net",
        "cell": {"factory": "own_package.cell", "scale": 0.5},
        "activation": "jax.nn.relu",
    },
    "optimizer": {
        "name": "own_package.chain",
        "schedule": {"name": "optax.linear_schedule", "init_value": 0.1, "end_value": 0.0, "transition_steps": 3},
    },
    "evaluators": {
        "rows": {"name": "own_package.count_rows", "factor": 2, "splits": ("validation", "test"), "every": 3}
    },
    "reports": {"title": {"factory": "own_package.report", "title": "A picture"}},
    "train": {"steps": 3, "evaluate_every": 3},
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The path of a config that names only a user's package."""
    (tmp_path / "own_package.py").write_text(OWN)
    (tmp_path / "own.py").write_text(f"def get_config():\n    return {CONFIG!r}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return str(tmp_path / "own.py")


def test_run_of_a_user_package_is_trained_and_opened_if_trusted(own, tmp_path):
    settings, dataset, task, _ = ready(name=own)
    workdir = tmp_path / "run"
    rundir.claim(workdir, settings, dataset)
    trained(workdir, name=own)
    assert task.units == {"loss": "2.0 nats"}
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert (rows[-1]["validation/rows"], rows[-1]["test/rows"]) == (
        2 * 4,
        pytest.approx(2 * 4, abs=1),
    )  # mean over batches
    assert (workdir / "samples" / "title.txt").read_text().strip() == "A picture of Net"
    opened = restore.open_run(workdir, trusted=("own_package",))
    assert (opened.model.num_classes, opened.step) == (10, 3)
    with pytest.raises(UsageError, match="use --trust=own_package to import own_package"):
        restore.open_run(workdir)


QUANTILES = """
import jax.numpy as jnp
from jaxnets import learning, reports, tasks

def quantiles(model, spec, make_learner, *, count: int = 3) -> tasks.Task:
    network = model(num_outputs=count)
    def loss(variables, batch, context):
        return jnp.mean((network.apply(variables, batch["inputs"]) - batch["targets"]) ** 2), learning.Aux()
    def predict(variables, batch):
        return {"quantiles": network.apply(variables, batch["inputs"])}
    built = tasks.regression(network, spec, make_learner)
    learner = make_learner(lambda key, batch: network.init(key, batch["inputs"]), loss)
    return built._replace(
        learner=learner, evaluators={}, objective=None, reports={},
        endpoints={"predict": tasks.Endpoint(predict, {"inputs": ("batch",)})},
    )

def report(variables, splits, key, model):
    return {"outputs": reports.Text(str(model.num_outputs))}
"""


def test_run_of_a_task_with_another_number_of_outputs_is_opened(tmp_path, monkeypatch):
    """A task may predict several numbers, such as quantiles, for each quantity of the data."""
    (tmp_path / "own_quantiles.py").write_text(QUANTILES)
    table = tmp_path / "table.csv"
    table.write_text("x,y\n" + "".join(f"{n},{n % 7}\n" for n in range(100)))
    settings = {
        "task": "own_quantiles.quantiles",
        "data": {"name": "data.table", "path": str(table), "target": "y", "target_type": "quantities", "batch_size": 8},
        "model": {"name": "modules.MLP", "hidden_sizes": (3,)},
        "reports": {"outputs": "own_quantiles.report"},
        "train": {"steps": 2},
    }
    (tmp_path / "own.py").write_text(f"def get_config():\n    return {settings!r}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ready_settings, dataset, *_ = ready(name=str(tmp_path / "own.py"))
    workdir = tmp_path / "run"
    rundir.claim(workdir, ready_settings, dataset)
    trained(workdir, name=str(tmp_path / "own.py"))
    assert (workdir / "samples" / "outputs.txt").read_text().strip() == "3"
    opened = restore.open_run(workdir, trusted=("own_quantiles",))
    assert opened.model.num_outputs == 3
    inputs = {"inputs": np.zeros((5, 1), np.float32)}
    assert opened.task.endpoints["predict"].function(opened.variables, inputs)["quantiles"].shape == (5, 3)
    assert artifacts.of_run(opened).functions["forward"].out_avals[0].shape[1:] == (3,)


@pytest.fixture
def teacher(tmp_path):
    """The folder of a trained run."""
    settings, dataset, *_ = ready(*SMALL, name="digits")
    rundir.claim(tmp_path / "teacher", settings, dataset)
    trained(tmp_path / "teacher", *SMALL, name="digits")
    return tmp_path / "teacher"


SMALL = (
    "--config.model.hidden_size=3",
    "--config.data.batch_size=8",
    "--config.train.steps=2",
    "--config.train.evaluate_every=2",
)
DISTILLED = """
from jaxnets import tasks
def distilled(model, spec, make_learner, *, teacher: tasks.TrainedModel) -> tasks.Task:
    assert set(teacher.variables) == {"params"}
    return tasks.classification(model, spec, make_learner)._replace(units={"loss": type(teacher.model).__name__})
"""


def using(settings, folder, **more):
    settings.task = {"name": "distilling.distilled", "teacher": {"run": str(folder), **more}}
    return settings


def test_run_uses_the_model_of_another_run(teacher, tmp_path, monkeypatch):
    (tmp_path / "distilling.py").write_text(DISTILLED)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = using(config.load("digits"), teacher)
    dataset = build.dataset(settings)
    made = build.task(settings, build.model(settings.model), dataset.spec, trusted=None)
    assert made.units == {"loss": "SequenceModel"}
    rundir.claim(tmp_path / "run", settings, dataset)
    (tmp_path / "run" / "checkpoints" / "2").mkdir(parents=True)
    rundir.check(tmp_path / "run", settings, dataset)
    trained(teacher, *SMALL, "--config.train.steps=4", name="digits")
    (teacher / "checkpoints" / "2").rename(teacher / "moved")
    with pytest.raises(RunError, match="uses runs that have changed: .*teacher:best"):
        rundir.check(tmp_path / "run", settings, dataset)
    for wrong, message in (
        ({"step": "9"}, "the step of a run in the config must be best, last or one of 4, got 9"),
        ({"at": 3}, "must be {'run': folder, 'step'"),
    ):
        with pytest.raises(UsageError, match=message):
            build.task(using(settings, teacher, **wrong), build.model(settings.model), dataset.spec, trusted=None)
    with pytest.raises(UsageError, match="no run in nowhere: the folder does not exist"):
        build.task(using(settings, "nowhere"), build.model(settings.model), dataset.spec, trusted=None)


PULLED = """
import jax
from jaxnets import tasks
def pulled(model, spec, make_learner, *, teacher: tasks.TrainedModel) -> tasks.Task:
    def learn_near_teacher(init, loss):
        def with_teacher(variables, batch, context):
            value, aux = loss(variables, batch, context)
            logits = teacher.model.apply(teacher.variables, batch["inputs"])
            return value + (logits ** 2).mean() * (variables["params"]["head"]["bias"] ** 2).sum(), aux
        return make_learner(init, with_teacher)
    return tasks.classification(model, spec, learn_near_teacher)
"""


@pytest.mark.slow
def test_two_processes_use_another_run_like_one_process(teacher, tmp_path, monkeypatch, start_processes):
    (tmp_path / "pulling.py").write_text(PULLED)
    task = {"name": "pulling.pulled", "teacher": {"run": str(teacher)}}
    lines = ["from jaxnets.training.config import load", "def get_config():", "    settings = load('digits').to_dict()"]
    lines += [f"    return {{**settings, 'task': {task!r}}}"]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    flags = (f"--config={tmp_path / 'mine.py'}", *SMALL, "--config.train.log_every=1", "--config.train.steps=3")
    losses = []
    for count in (1, 2):
        workdir = tmp_path / f"run-{count}"
        for process in start_processes(count, 1, f"--workdir={workdir}", *flags):
            errors = process.communicate(timeout=200)[1]
            assert process.returncode == 0, errors
        rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        losses.append([row["train/loss"] for row in rows if "train/loss" in row])
        assert json.loads((workdir / "data.json").read_text())["runs"].keys() == {f"{teacher}:best"}
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_run_that_uses_itself_is_rejected(teacher, tmp_path, monkeypatch):
    (tmp_path / "distilling.py").write_text(DISTILLED)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = teacher / "config.json"
    path.write_text(json.dumps(using(ConfigDict(json.loads(path.read_text())), teacher).to_dict()))
    with pytest.raises(UsageError, match="runs use each other: .*teacher -> .*teacher$"):
        restore.open_run(teacher, trusted=("distilling",))


def test_schedule_keeps_the_length_of_the_first_start(tmp_path):
    first = lambda *flags: ready(*SMALL, *flags, name="digits")[:2]
    settings, dataset = first()
    rundir.set_schedule_steps(tmp_path, settings)
    assert settings.train.schedule_steps == 2
    rundir.claim(tmp_path, settings, dataset)
    longer, _ = first("--config.train.steps=9")
    rundir.set_schedule_steps(tmp_path, longer)
    assert longer.train.schedule_steps == 9  # without a checkpoint, the length is not fixed
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    longer, _ = first("--config.train.steps=9")
    rundir.set_schedule_steps(tmp_path, longer)
    rundir.check(tmp_path, longer, dataset)
    assert longer.train.schedule_steps == 2
    own, _ = first("--config.train.steps=9", "--config.train.schedule_steps=7")
    rundir.set_schedule_steps(tmp_path, own)
    rundir.check(tmp_path, own, dataset)
    assert own.train.schedule_steps == 7
    rates = [optax.tree.norm(_update(build.optimizer(each))) for each in (settings, longer, own)]
    assert float(rates[0]) == float(rates[1]) != float(rates[2])


def _update(optimizer):
    """Returns the second update, which depends on the schedule."""
    params = {"w": jnp.ones((2, 2))}
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = learning.optimizers.with_standard_promotion(optimizer).update(params, state, params)
    return updates


def test_config_names_a_cell_with_wrappers():
    cell = {
        "factory": "recurrent.wrap",
        "cell": {"factory": "recurrent.gru", "reset": "after"},
        "wrappers": ["recurrent.residual", {"factory": "recurrent.zoneout", "rate": 0.25}],
    }
    made = build.model({"name": "recurrent.CharRNN", "hidden_size": 5, "embed_dim": 5, "cell": cell})(vocab_size=7)
    direct = lambda hidden_size: recurrent.zoneout(recurrent.residual(recurrent.gru(hidden_size, reset="after")), 0.25)
    expected = recurrent.CharRNN(7, direct, hidden_size=5, embed_dim=5)
    tokens = jnp.array([[1, 2, 6, 0]])
    variables = expected.init(jax.random.key(0), tokens)
    np.testing.assert_array_equal(made.apply(variables, tokens)[1], expected.apply(variables, tokens)[1])
