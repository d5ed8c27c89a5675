"""Fine-tuning: a run begins with what another has learned, and parameters that are frozen stay."""

import functools
import json
import re
import shutil

import chex
import jax
import numpy as np
import optax
import pytest
from conftest import ROOT
from flax.traverse_util import flatten_dict
from in_process import ready, trained
from task_parts import Parts, loss_of

from jaxnets import convolution, data, tasks, weights
from jaxnets.learning import gradient
from jaxnets.learning.optimizers import adamw
from jaxnets.training import loop, restore, rundir
from jaxnets.training.checkpointing import init_from
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.state import create, make_step

SMALL = (
    "--config.model.hidden_size=4",
    "--config.train.steps=6",
    "--config.train.evaluate_every=3",
    "--config.data.batch_size=8",
)
HEAD = "--config.train.init_exclude=params/head"


def flat(tree):
    return flatten_dict(tree, sep="/")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A trained classifier of 10 classes."""
    folder = tmp_path_factory.mktemp("source") / "run"
    settings, dataset, task, compiled = ready(*SMALL, name="digits")
    rundir.claim(folder, settings, dataset)
    loop.train(settings, folder, dataset, task, compiled)
    return folder


def begun(*flags, name="digits"):
    """The variables before the first step, with the average, where one is kept."""
    settings, _, task, compiled = ready(*SMALL, *flags, name=name)
    used = lambda state: task.learner.variables(state.learner)
    init_from.check(settings.train, used(compiled.abstract))
    state = compiled.create(None)
    if settings.train.init_from:
        state = compiled.create(init_from.begin(settings.train, used(compiled.abstract), used(state)))
    return flat(jax.device_get(state.learner.variables))


@pytest.mark.parametrize("step", ["best", "last", "3"])
def test_a_run_begins_with_the_variables_of_another(source, step):
    found = begun(f"--config.train.init_from={source}", f"--config.train.init_step={step}")
    chex.assert_trees_all_equal(found, flat(jax.device_get(restore.open_run(source, step).variables)))


def test_a_file_of_weights_is_a_beginning_too(source, tmp_path):
    learned = jax.device_get(restore.open_run(source).variables)
    weights.write(tmp_path / "weights.safetensors", learned)
    found = begun(f"--config.train.init_from={tmp_path / 'weights.safetensors'}")
    chex.assert_trees_all_equal(found, flat(learned))


def test_what_is_left_out_begins_afresh(source):
    found = begun(f"--config.train.init_from={source}", HEAD, "--config.seed=5")
    learned, fresh = flat(restore.open_run(source).variables), begun("--config.seed=5")
    assert {path for path in found if "head" in path} == {"params/head/bias", "params/head/kernel"}
    for path, leaf in found.items():
        np.testing.assert_array_equal(leaf, (fresh if "head" in path else learned)[path])
    assert not np.array_equal(found["params/head/kernel"], learned["params/head/kernel"])


def test_an_average_is_what_is_taken_and_begins_anew(tmp_path):
    average = "--config.optimizer.ema_decay=0.9"
    kept = trained(tmp_path / "source", *SMALL, average, name="digits")
    found = begun(f"--config.train.init_from={tmp_path / 'source'}", "--config.train.init_step=last")
    chex.assert_trees_all_equal(found, flat(kept))
    both = begun(f"--config.train.init_from={tmp_path / 'source'}", "--config.train.init_step=last", average)
    assert set(both) == {*found, *(f"ema/{path}" for path in found)}
    for path, leaf in found.items():
        np.testing.assert_array_equal(both[path], leaf)
        np.testing.assert_array_equal(both[f"ema/{path}"], leaf)


def test_what_does_not_fit_is_told_all_at_once(source, tmp_path):
    with pytest.raises(UsageError) as told:
        begun(f"--config.train.init_from={source}", "--config.model.hidden_size=5", "--config.model.num_layers=2")
    for path in ("rnn/layer_0/cell/input/kernel", "rnn/layer_0/cell/recurrent/gates", "head/kernel"):
        assert f"params/{path} has shape" in str(told.value)
    assert "missing params/rnn/layer_1/cell/input/bias (15,)" in str(told.value)
    assert "--config.train.init_exclude=EXPRESSION leaves out" in str(told.value)
    learned = restore.open_run(source).variables
    weights.write(tmp_path / "more.safetensors", {**learned, "batch_stats": {"mean": np.zeros(3)}})
    with pytest.raises(UsageError, match=r"more.safetensors: extra batch_stats/mean \(3,\)\. "):
        begun(f"--config.train.init_from={tmp_path / 'more.safetensors'}")


WRONG = {
    "no folder": ("nowhere", (), UsageError, "must be a run with checkpoints or a safetensors file, got nowhere"),
    "no weights": (str(ROOT / "README.md"), (), RunError, "cannot be read as safetensors"),
    "step": (
        "",
        ("--config.train.init_step=4",),
        UsageError,
        "--config.train.init_step must be best, last or one of 3, 6, got 4",
    ),
    "expression": (
        "",
        ("--config.train.init_exclude=he(ad",),
        UsageError,
        "must be a regular expression, got he(ad: mis",
    ),
    "no match": (
        "",
        ("--config.train.init_exclude=tail",),
        UsageError,
        "matches none of params/head/bias",
    ),
    "frozen nothing": ("", ("--config.optimizer.frozen=tail",), UsageError, "got tail, which matches none of"),
    "frozen all": ("", ("--config.optimizer.frozen=^params/",), UsageError, "which matches all of params/head/b"),
}


@pytest.mark.parametrize("path, flags, error, sentence", WRONG.values(), ids=WRONG)
def test_wrong_beginnings_are_told(source, path, flags, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        begun(f"--config.train.init_from={path or source}", *flags)


def test_what_is_to_be_left_out_of_nothing_is_told():
    with pytest.raises(UsageError, match="init_exclude=head: --config.train.init_from is missing"):
        begun("--config.train.init_exclude=head")


def test_damage_to_what_is_begun_from_is_told(source, tmp_path, capsys):
    copied = shutil.copytree(source, tmp_path / "copied")
    files = (copied / "checkpoints" / "6" / "state").rglob("*")
    largest = max(files, key=lambda path: path.is_file() and path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) * 2 // 3] ^= 16
    largest.write_bytes(content)
    flags = (f"--config.train.init_from={copied}", "--config.train.init_step=last")
    chex.assert_trees_all_equal(begun(*flags), flat(jax.device_get(restore.open_run(source, "3").variables)))
    assert "checkpoint of step 6 in" in capsys.readouterr().err
    with pytest.raises(RunError, match="checkpoint of step 6 .* cannot be read"):
        begun(*flags, "--config.train.init_step=6")


def test_frozen_parameters_stay_bit_for_bit_and_the_others_learn(source, tmp_path):
    flags = (*SMALL, f"--config.train.init_from={source}", HEAD, "--config.optimizer.frozen=params/rnn")
    flags = (*flags, "--config.optimizer.weight_decay=0.5", "--config.optimizer.ema_decay=0.5", "--config.seed=5")
    trained(tmp_path / "run", *flags, "--config.train.steps=3", name="digits")
    moved = tmp_path / "moved"
    source.rename(moved)  # a run that has begun needs it no more
    try:
        end = flat(trained(tmp_path / "run", *flags, name="digits"))
    finally:
        moved.rename(source)
    began = flat(restore.open_run(source).variables)
    for path, leaf in end.items():
        assert np.array_equal(leaf, began[path]) == path.startswith("params/rnn")


def test_only_what_is_trained_has_a_state_and_counts_in_the_norm():
    task = tasks.classification(convolution.SeriesCNN(2, (4, 4), (3, 3)), data.Classes(("a", "b")), learn=Parts)
    inputs = np.random.default_rng(0).normal(size=(4, 12, 1)).astype(np.float32)
    batch = {"inputs": inputs, "targets": np.arange(4) % 2, "mask": np.ones(4, bool)}
    learn = functools.partial(gradient, *task.learner, adamw(10, 0.1, weight_decay=0.1, clip_norm=1e-3))
    part = functools.partial(learn, trainable=lambda path: "block_" not in path)
    whole = create(learn(), batch, 0).learner.variables
    state = create(part(), batch, 0)
    trained_only = whole["params"]["head"]
    shapes = lambda tree: sorted(leaf.shape for leaf in jax.tree.leaves(tree))
    assert shapes(state.learner.optimizer) == sorted([(), (), *shapes(trained_only), *shapes(trained_only)])
    loss = lambda head: loss_of(task, {**whole, "params": {**whole["params"], "head": head}}, batch)[0]
    expected = optax.tree.norm(jax.grad(loss)(trained_only))
    for accumulate in (1, 2):
        after, metrics = jax.jit(make_step(part(grad_accum_steps=accumulate), 0))(state, batch)
        if accumulate == 1:
            np.testing.assert_allclose(metrics["gradient_norm"], expected, rtol=1e-5)
        before, after = flat(state.learner.variables), flat(after.learner.variables)
        for path in before:
            assert np.array_equal(before[path], after[path]) == path.startswith("params/block_"), path


def test_a_wrong_beginning_leaves_no_folder(run_program, source, tmp_path):
    flags = ("--config=digits", f"--workdir={tmp_path / 'new'}", f"--config.train.init_from={source}", *SMALL)
    refused = run_program("train", *flags, "--config.model.hidden_size=5")
    assert refused.returncode == 2
    assert "params/head/kernel has shape (4, 10), (5, 10) expected" in refused.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_several_processes_and_devices_begin_alike(run_program, start_processes, source, tmp_path):
    own = ("--config=digits", *SMALL, f"--config.train.init_from={source}", HEAD, "--config.optimizer.frozen=rnn")
    losses = []
    for folder, devices in (("one", 1), ("four", 4), ("two", 1)):
        flags = (*own, f"--workdir={tmp_path / folder}", "--config.devices.fsdp=True")
        if folder == "two":
            told = [(p.communicate(timeout=200)[1], p.returncode) for p in start_processes(2, devices, *flags)]
            assert [code for _, code in told] == [0, 0], told
        else:
            done = run_program("train", *flags, devices=devices)
            assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in (tmp_path / folder / "metrics.jsonl").open()]
        losses.append([row["validation/loss"] for row in rows if "validation/loss" in row])
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-5)
