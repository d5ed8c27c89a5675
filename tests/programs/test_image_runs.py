"""Image runs: resumption with batch statistics, EMA and gradient accumulation; file names in any encoding."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jaxnets.training import restore

RANDOM = np.random.default_rng(0)


@pytest.mark.slow
def test_resumed_run_with_batch_statistics_equals_uninterrupted_run(tmp_path, run_program):
    x, y = RANDOM.integers(0, 256, (60, 8, 8, 3), np.uint8), np.arange(60) % 10
    np.savez(tmp_path / "images.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    flags = (
        "--config=cifar10",
        "--config.data.name=data.image_arrays",
        f"--config.data.path={tmp_path / 'images.npz'}",
        "--config.data.batch_size=8",
        "--config.optimizer.ema_decay=0.9",
        "--config.optimizer.warmup_steps=2",
        "--config.train.grad_accum_steps=2",
        "--config.train.evaluate_every=3",
    )
    runs = []
    for name, stops in (("whole", (6,)), ("stopped", (3, 6))):
        for steps in stops:
            # A constant learning rate, because the schedule depends on the number of steps.
            own = (
                f"--workdir={tmp_path / name}",
                f"--config.train.steps={steps}",
                "--config.optimizer.end_lr_factor=1.0",
            )
            done = run_program("train", *flags, *own)
            assert done.returncode == 0, done.stderr
        runs.append(restore.open_run(tmp_path / name, "last"))
    whole, stopped = runs
    assert set(whole.variables) == {"params", "batch_stats"}
    jax.tree.map(np.testing.assert_array_equal, whole.variables, stopped.variables)
    assert np.any(whole.variables["batch_stats"]["stem"]["norm"]["mean"] != 0)
    done = run_program("evaluate", f"--workdir={tmp_path / 'whole'}", "--split=test")
    assert done.returncode == 0, done.stderr
    assert "top_5_accuracy" in done.stdout


@pytest.mark.slow
def test_image_folder_with_names_that_are_not_utf_8(tmp_path, run_program):
    names = (b"caf\xe9", b"$a$ b\n")
    root = os.fsencode(tmp_path) + b"/\xe9"
    for index, name in enumerate(names):
        os.makedirs(os.path.join(root, name))
        for i in range(6):
            Image.fromarray(np.full((28, 28), 100 * index + i, np.uint8)).save(
                Path(os.fsdecode(os.path.join(root, name, b"%d\xff.png" % i)))
            )
    workdir = tmp_path / "run"
    own = ("--config.data.size=28", "--config.data.channels=1", "--config.data.batch_size=2", "--config.train.steps=1")
    model = ("--config.model.name=convolution.lenet5", "--config.task.mean=(0.5,)", "--config.task.std=(0.5,)")
    path = f"--config.data.path={os.fsdecode(root)}"
    done = run_program("train", "--config=images", f"--workdir={workdir}", path, *own, *model)
    assert done.returncode == 0, done.stderr
    assert "Glyph" not in done.stderr
    saved = json.loads((workdir / "data.json").read_text("utf-8"))
    assert saved["targets"]["names"] == ["$a$ b\n", r"caf\xe9"]
    assert {file.stem for file in (workdir / "figures").iterdir()} >= {"confusion", "mistakes"}
    assert "--config.data.path=" in done.stdout and r"\udce9" in done.stdout
