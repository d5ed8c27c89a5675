"""Shardings of parameters, and equal results on any number of devices and processes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from task_parts import LearnerParts

from jaxnets import data, recurrent, tasks
from jaxnets.attention import Transformer, gpt2
from jaxnets.learning import partitioning
from jaxnets.training.distributed import sharding
from jaxnets.training.errors import UsageError

RUNS = {
    "character model": ("--config=char_lm", "--config.model.hidden_size=16", "--config.model.embed_dim=8"),
    "transformer": (
        "--config=decoder_lm",
        "--config.model.embed_dim=16",
        "--config.model.num_layers=2",
        "--config.model.num_heads=4",
        "--config.model.max_seq_len=8",
    ),
    "batch norm": (),
}
DIGITS = """
from jaxnets.training.config import load

def get_config():
    config = load("mnist1d:cnn")
    config.data = {"name": "data.digits", "read_as": "rows", "batch_size": 64, "validation_fraction": 0.15}
    # AdamW would amplify rounding errors, because it divides tiny gradients by their own size: with some flags of XLA,
    # losses that agree to 1e-7 at first agree only to 1e-5 at the fourth step and to 1e-3 at the twentieth.
    config.optimizer = {"name": "sgd", "learning_rate": 0.02, "warmup_steps": 0, "end_lr_factor": 1.0}
    return config
"""
STEPS = 20
EVERY = (
    f"--config.train.steps={STEPS}",
    "--config.train.evaluate_every=10",
    "--config.train.log_every=1",
    "--config.optimizer.end_lr_factor=1.0",  # constant, so that the learning rate does not depend on the steps
    "--config.optimizer.warmup_steps=0",
)


def specs(tree, fsdp=False, data=1, model=1):
    sizes = {"data": data, "copies": 1, "model": model}
    mesh = jax.sharding.AbstractMesh(tuple(sizes.values()), tuple(sizes))
    shardings = partitioning.parameter_shardings(mesh, RULES, tree, fsdp)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.spec)
        for path, leaf in jax.tree_util.tree_leaves_with_path(shardings)
    }


MODEL = gpt2(vocab_size=64, embed_dim=32, num_layers=2, num_heads=4, max_seq_len=16)
RULES = tasks.language_model(MODEL, data.Vocabulary("ab"), make_learner=LearnerParts).partition_rules
DECODER = jax.eval_shape(lambda: MODEL.init(jax.random.key(0), jnp.zeros((1, 8), jnp.int32)))


def test_model_parallelism_splits_heads_and_hidden_units():
    found = specs(DECODER, model=2)
    assert found["params/blocks/attention/query/kernel"] == (None, None, "model", None)
    assert found["params/blocks/attention/query/bias"] == (None, "model", None)
    assert found["params/blocks/attention/out/kernel"] == (None, "model", None, None)
    assert found["params/blocks/inner/kernel"] == (None, None, "model")
    assert found["params/blocks/outer/kernel"] == (None, "model", None)
    assert found["params/embed/embedding"] == ("model", None)
    assert found["params/blocks/outer/bias"] == (None, None)


def test_transformers_have_partition_rules_and_recurrent_models_the_default():
    assert Transformer(64).partition_rules == RULES
    model = recurrent.CharRNN(64, hidden_size=6)
    rules = tasks.language_model(model, data.Vocabulary("ab"), make_learner=LearnerParts).partition_rules
    assert rules == partitioning.HEAD_RULES and set(rules) < set(RULES)


def test_arrays_that_do_not_divide_evenly_are_replicated():
    found = specs(DECODER, model=3)
    assert set(found.values()) == {(None,) * n for n in (1, 2, 3, 4)}


def test_fsdp_splits_the_largest_remaining_axis():
    found = specs(DECODER, fsdp=True, data=4, model=2)
    assert found["params/blocks/attention/query/kernel"] == (None, "data", "model", None)
    assert found["params/blocks/inner/kernel"] == (None, "data", "model")
    assert found["params/norm/bias"] == ("data",)
    assert found["params/blocks/inner/bias"] == (None, "model")


@pytest.mark.parametrize("model", [0, 2])
def test_model_parallel_must_divide_the_number_of_devices(model):
    with pytest.raises(
        UsageError, match=rf"--config.devices.model_parallel must divide the number of devices, 1, got {model}"
    ):
        sharding.make_mesh(ConfigDict({"model_parallel": model}), 8)


@pytest.fixture
def train(run_program, start_processes, small_text, tmp_path):
    """``train(name, folder, devices)`` trains one of ``RUNS`` and returns its training losses and validation loss.

    With ``processes=n``, each of n processes has ``devices`` devices.
    """
    (tmp_path / "digits.py").write_text(DIGITS)
    text_flags = (f"--config.data.path={small_text}", "--config.data.seq_len=8", "--config.data.batch_size=16")
    data_flags = {"batch norm": (f"--config={tmp_path / 'digits.py'}",)}

    def run(name, folder, devices, *more, processes=1):
        flags = (f"--workdir={tmp_path / folder}", *RUNS[name], *EVERY, *data_flags.get(name, text_flags), *more)
        if processes == 1:
            done = run_program("train", *flags, devices=devices)
            codes, stderr = [done.returncode], done.stderr
        else:
            started = start_processes(processes, devices, *flags)
            stderr = "".join(process.communicate(timeout=300)[1] for process in started)
            codes = [process.returncode for process in started]
        assert not any(codes), stderr
        assert f"{processes * devices} x cpu" in stderr
        rows = [json.loads(line) for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()]
        losses = [row["train/loss"] for row in rows if "train/loss" in row]
        return [*losses, next(row["validation/loss"] for row in rows[::-1] if "validation/loss" in row)]

    return run


def one_slow(slow):
    """Returns all ``RUNS``, with one slow test and the others as long ones."""
    return [
        pytest.param(name, marks=pytest.mark.slow(seconds=60) if name == slow else pytest.mark.long) for name in RUNS
    ]


@pytest.mark.parametrize("name", one_slow("transformer"))
def test_losses_do_not_depend_on_the_number_of_devices(name, train):
    one = train(name, "one", 1)
    assert len(one) == STEPS + 1
    np.testing.assert_allclose(train(name, "eight", 8), one, rtol=1e-5)
    np.testing.assert_allclose(train(name, "fsdp", 4, "--config.devices.fsdp=True"), one, rtol=1e-5)
    if name == "transformer":
        both = ("--config.devices.model_parallel=2", "--config.devices.fsdp=True")
        np.testing.assert_allclose(train(name, "both", 8, *both), one, rtol=1e-5)


@pytest.mark.parametrize("name", one_slow("batch norm"))
def test_losses_do_not_depend_on_the_number_of_processes(name, train):
    one = train(name, "one", 1)
    np.testing.assert_allclose(train(name, "two", 2, processes=2), one, rtol=1e-5)
    np.testing.assert_allclose(train(name, "four", 2, processes=4), one, rtol=1e-5)


@pytest.mark.slow(seconds=60)
def test_rows_that_do_not_divide_evenly_are_replicated(train):
    one, four = (train("character model", str(count), count, "--config.data.batch_size=6") for count in (1, 4))
    np.testing.assert_allclose(four, one, rtol=1e-5)


@pytest.mark.slow(seconds=60)
def test_a_run_can_be_resumed_on_another_number_of_devices(train):
    sharded = "--config.devices.fsdp=True"
    train("transformer", "moved", 8, sharded, "--config.train.steps=6")
    train("transformer", "moved", 1, "--config.train.steps=13")
    train("transformer", "moved", 2, sharded, "--config.train.steps=17", processes=2)
    moved = train("transformer", "moved", 4, sharded, "--config.devices.model_parallel=2")
    np.testing.assert_allclose(moved, train("transformer", "single", 1), rtol=1e-5)
