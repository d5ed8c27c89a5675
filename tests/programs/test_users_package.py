"""All programs with a user's package: its own cell, module, task, dataset and learning-rate schedule."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

PACKAGE = '''
"""Series whose class is the sign of their mean, learned by a leaky cell."""

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxnets import data, learning, recurrent, tasks


def leaky(hidden_size: int, decay: float = 0.5) -> recurrent.Cell:
    """h = decay h + (1 - decay) tanh(W x + U h)."""

    def init(key, features):
        first, second = jax.random.split(key)
        normal = jax.nn.initializers.lecun_normal()
        sizes = {"input": (first, features), "recurrent": (second, hidden_size)}
        return {name: {"kernel": normal(key, (size, hidden_size))} for name, (key, size) in sizes.items()}

    def step(params, h, u, dot):
        h = decay * h + (1 - decay) * jnp.tanh(u + dot("kernel", h))
        return h, h

    return recurrent.Cell(
        init=init,
        carry=lambda params, x: jnp.zeros((*x.shape[:-1], hidden_size)),
        project=lambda params, xs: recurrent.matmul(params["kernel"], xs),
        step=step,
    )


class Net(nn.Module):
    num_outputs: int
    cell: object = leaky
    hidden_size: int = 8

    @nn.compact
    def __call__(self, xs, *, train: bool = False):
        _, hs = recurrent.RNN(self.cell(self.hidden_size))(xs)
        return nn.Dense(self.num_outputs)(hs.mean(1))


def signs(count: int = 96, length: int = 6, batch_size: int = 16, seed: int = 0) -> data.Dataset:
    random = np.random.default_rng(0)
    xs = random.normal(size=(count, length, 1)).astype(np.float32)
    arrays = {"inputs": xs, "targets": (xs.mean((1, 2)) > 0).astype(np.int32), "mask": np.ones(count, bool)}
    rows = np.arange(count)

    def read(part):
        splits = {
            "train": data.shuffled(arrays, batch_size, seed, rows[: 2 * count // 3], part),
            "validation": data.in_order(arrays, batch_size, rows[2 * count // 3 :], part),
        }
        return data.Dataset(splits, data.Classes(("below", "above")), "signs 1", "signs of means", read_part=read)

    return read(np.arange)


def halves(model, spec, make_learner, scale: float = 1.0) -> tasks.Task:
    """Classification whose loss is scaled."""
    task = tasks.classification(model, spec, lambda init, loss: make_learner(init, scaled(loss, scale)))
    return task._replace(units={"loss": "scaled nats"})


def scaled(loss, scale):
    def scaled_loss(variables, batch, context):
        value, aux = loss(variables, batch, context)
        return scale * value, aux

    return scaled_loss


def rate(peak: float) -> optax.Schedule:
    return optax.exponential_decay(peak, 50, 0.9)
'''

CONFIG = """
def get_config():
    return {
        "task": {"name": "signs_package.halves", "scale": 0.5},
        "data": {"name": "signs_package.signs", "length": 5},
        "model": {"name": "signs_package.Net", "cell": {"factory": "signs_package.leaky", "decay": 0.25}},
        "optimizer": {
            "name": "optax.chain",
            "args": [
                {"name": "optax.clip_by_global_norm", "max_norm": 1.0},
                {"name": "optax.adam", "learning_rate": {"name": "signs_package.rate", "peak": 0.01}},
            ],
        },
        "train": {"steps": 60, "evaluate_every": 20, "log_every": 20},
    }
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    (folder / "signs_package.py").write_text(PACKAGE)
    (folder / "signs.py").write_text(CONFIG)
    random = np.random.default_rng(1)
    np.savez(folder / "new.npz", inputs=random.normal(size=(10, 5, 1)).astype(np.float32))
    return folder


@pytest.fixture
def with_package(package, monkeypatch, environment):
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setitem(environment, "PYTHONPATH", path)
    return package


def leaves(run_folder, step):
    import jax
    import orbax.checkpoint as ocp

    tree = ocp.PyTreeCheckpointer().restore(run_folder / "checkpoints" / str(step) / "state")
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.slow
def test_package_is_trained_resumed_evaluated_and_exported(with_package, run_program, environment, tmp_path):
    config = f"--config={with_package / 'signs.py'}"
    whole = run_program("train", config, f"--workdir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr

    command = [sys.executable, "-m", "jaxnets.train", config, f"--workdir={tmp_path / 'run'}"]
    started = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "checkpoints" / "20").exists():
        assert started.poll() is None, started.stderr.read()
        time.sleep(0.01)
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=120)
    assert started.returncode in (0, 128 + signal.SIGTERM)  # 0 if the run had already ended
    done = run_program("train", config, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert leaves(tmp_path / "run", 60) == leaves(tmp_path / "whole", 60)

    workdir = f"--workdir={tmp_path / 'run'}"
    refused = run_program("evaluate", workdir)
    assert refused.returncode == 2
    assert re.search(r"--trust=signs_package to import signs_package\n", refused.stderr), refused.stderr
    evaluated = run_program("evaluate", workdir, "--trust=signs_package", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["accuracy"] > 0.5

    flags = (f"--input={with_package / 'new.npz'}", "--trust=signs_package")
    done = run_program("predict", workdir, *flags, f"--output={tmp_path / 'a.csv'}")
    assert done.returncode == 0, done.stderr
    exported = run_program("export", workdir, "--trust=signs_package", f"--output={tmp_path / 'export'}")
    assert exported.returncode == 0, exported.stderr
    done = run_program("predict", f"--workdir={tmp_path / 'export'}", *flags, f"--output={tmp_path / 'b.csv'}")
    assert done.returncode == 0, done.stderr
    of_run, of_export = (list(csv.reader((tmp_path / name).open(newline=""))) for name in ("a.csv", "b.csv"))
    assert of_run[0] == of_export[0] == ["row", "class", "p(below)", "p(above)"]
    assert len(of_run) == 11
    for row, like in zip(of_run[1:], of_export[1:], strict=True):
        assert row[:2] == like[:2]
        np.testing.assert_allclose(np.array(row[2:], float), np.array(like[2:], float), atol=1e-6)


@pytest.mark.slow
def test_package_is_trained_and_resumed_in_two_processes(with_package, start_processes, run_program, tmp_path):
    def start(name):
        flags = (f"--config={with_package / 'signs.py'}", f"--workdir={tmp_path / name}")
        return start_processes(2, 1, *flags)

    def finish(started, codes=(0,)):
        for process in started:
            _, errors = process.communicate(timeout=240)
            assert process.returncode in codes, errors

    finish(start("whole"))
    started = start("run")
    while not (tmp_path / "run" / "checkpoints" / "20").exists():
        assert all(process.poll() is None for process in started)
        time.sleep(0.01)
    started[0].send_signal(signal.SIGTERM)
    finish(started, (0, 128 + signal.SIGTERM))  # 0 if the run had already ended
    finish(start("run"))

    weights = []
    for name in ("whole", "run"):
        out = tmp_path / f"{name}_export"
        flags = (f"--workdir={tmp_path / name}", "--trust=signs_package", "--step=last", f"--output={out}")
        exported = run_program("export", *flags)
        assert exported.returncode == 0, exported.stderr
        weights.append((out / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]

    workdir = f"--workdir={tmp_path / 'run'}"
    evaluated = run_program("evaluate", workdir, "--trust=signs_package", "--json")
    assert json.loads(evaluated.stdout)["accuracy"] > 0.5
    flags = (f"--input={with_package / 'new.npz'}", "--trust=signs_package", f"--output={tmp_path / 'a.csv'}")
    done = run_program("predict", workdir, *flags)
    assert done.returncode == 0, done.stderr
