"""Training with several processes: the rows of each process, joining and shutdown."""

import io
import os
import re
import signal
import socket
import time

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from jaxnets.data import image_files, text
from jaxnets.data.sources import examples
from jaxnets.data.sources.problems import memory
from jaxnets.training.distributed import processes, sharding
from jaxnets.training.errors import UsageError
from jaxnets.training.reporting.metrics import read_metrics

ENDLESS = ("--config.train.steps=1000000", "--config.train.evaluate_every=20", "--config.train.log_every=1")


def first_half(count):
    """Returns the indices of the first half of a batch, which the first of two processes reads."""
    return np.arange(count // 2)


@pytest.mark.parametrize(
    "make_dataset",
    [
        lambda: text(__file__, batch_size=4, seq_len=16),
        lambda: memory.adding(batch_size=4, length=10),
        lambda: ten_images(),
    ],
    ids=["text", "generated", "images"],
)
def test_part_reads_the_requested_rows(make_dataset):
    dataset = make_dataset()
    local = dataset.part(first_half)
    for name in ("train", "validation"):
        for step in (0, 1, 5):
            if step >= len(dataset.splits[name]):
                continue
            full, half = dataset.splits[name][step], local.splits[name][step]
            assert full.keys() == half.keys()
            for key, array in full.items():
                np.testing.assert_array_equal(half[key], array[first_half(len(array))])


def ten_images(read=lambda i: None):
    def content(i):
        read(i)
        return encoded[i]

    encoded = []
    for value in range(10):
        file = io.BytesIO()
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(file, "png")
        encoded.append(file.getvalue())
    images = image_files.EncodedImages(10, str, content, size=4, channels=1)
    found = examples.Examples(images, np.arange(10) % 2)
    return examples.from_examples(
        found, None, batch_size=4, validation=0.4, seed=0, source="ten images", fingerprint="known"
    )


def test_images_of_other_processes_are_not_decoded():
    read = []
    data = ten_images(read.append)
    read.clear()
    _ = data.part(first_half).train[0]
    assert len(read) == 2


def test_a_single_process_reads_all_rows():
    mesh = sharding.single_device(text(__file__, batch_size=4, seq_len=16).train).mesh
    np.testing.assert_array_equal(sharding.local_rows(mesh, 6), np.arange(6))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("localhost:1", None, None), "--num_processes is missing"),
        ((None, 2, 0), "--coordinator_address is missing"),
        (("localhost:1", 2, 2), "--process_id must be from 0 to 1 (--num_processes=2), got 2"),
        (("localhost", 2, 1), "--coordinator_address must be HOST:PORT, got localhost"),
    ],
)
def test_invalid_arguments_of_join_are_rejected(given, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        processes.join(*given)


def test_a_single_process_does_not_join(monkeypatch):
    for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes.jax.distributed, "initialize", lambda *given, **more: pytest.fail("joined"))
    processes.join(None, None, None)
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "localhost")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    processes.join(None, None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("SLURM_STEP_NUM_TASKS", "2"), ("OMPI_COMM_WORLD_SIZE", "4"), ("TPU_WORKER_HOSTNAMES", "10.0.0.1,10.0.0.2")],
)
def test_several_processes_in_the_environment_are_joined(monkeypatch, name, value):
    joined = []
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes.jax.distributed, "initialize", lambda *given, **more: joined.append(given))
    processes.join(None, None, None, brief=False)
    assert joined == [(None, None, None)]


def steps_of(workdir):
    return [row["step"] for row in read_metrics(workdir) if "train/loss" in row]


def wait_for_steps(workdir, steps, started):
    """Waits until a run has completed some steps."""
    deadline = time.monotonic() + 200
    while not (logged := steps_of(workdir)) or logged[-1] < steps:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in started), [p.communicate()[1] for p in started]
        time.sleep(0.2)


def test_a_signal_to_one_process_saves_and_ends_all(start_processes, small_flags, tmp_path):
    started = start_processes(2, 1, f"--workdir={tmp_path}", *small_flags, *ENDLESS)
    wait_for_steps(tmp_path, 25, started)
    started[1].send_signal(signal.SIGTERM)
    stderr = [process.communicate(timeout=100)[1] for process in started]
    assert [process.returncode for process in started] == [128 + signal.SIGTERM] * 2, stderr
    last = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert f"saved step {last} in {tmp_path}" in stderr[0]
    assert last % 20 or last == steps_of(tmp_path)[-1]


def test_a_signal_before_training_ends_the_program(start_processes, small_flags, tmp_path, monkeypatch):
    """The signal arrives after the processes have joined, during the import of the model."""
    (tmp_path / "signaled.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    flags = (f"--workdir={tmp_path / 'run'}", *small_flags, "--config.model.name=signaled.Net")
    (started,) = start_processes(1, 1, *flags)
    stderr = started.communicate(timeout=100)[1]
    assert (started.returncode, stderr) == (128 + signal.SIGTERM, "train: stopped by SIGTERM\n")


def test_a_process_that_waits_for_others_can_be_interrupted(start_processes, small_flags, tmp_path):
    (started,) = start_processes(1, 1, f"--workdir={tmp_path / 'run'}", *small_flags, "--num_processes=2")
    port = int(next(flag for flag in started.args if "--coordinator_address" in flag).rpartition(":")[2])
    deadline = time.monotonic() + 60
    while socket.socket().connect_ex(("localhost", port)):
        assert time.monotonic() < deadline and started.poll() is None
        time.sleep(0.1)
    time.sleep(0.5)
    started.send_signal(signal.SIGINT)
    assert started.wait(timeout=20) == -signal.SIGINT


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_the_death_of_a_process_ends_all_with_one_sentence(killed, start_processes, small_flags, tmp_path):
    started = start_processes(2, 2, f"--workdir={tmp_path}", *small_flags, *ENDLESS)
    wait_for_steps(tmp_path, 25, started)
    started[killed].kill()
    since = time.monotonic()
    stderr = started[1 - killed].communicate(timeout=100)[1]
    assert time.monotonic() - since < 60
    assert started[1 - killed].returncode != 0
    sentences = [line for line in stderr.splitlines() if "process" in line and "x cpu" not in line]
    assert [line.removeprefix("train: ") for line in sentences] == [processes.PROCESS_ENDED], stderr
    assert stderr.splitlines()[-1] == sentences[0]

    goal = steps_of(tmp_path)[-1] + 10
    again = start_processes(2, 2, f"--workdir={tmp_path}", *small_flags, *ENDLESS, f"--config.train.steps={goal}")
    stderr = [process.communicate(timeout=200)[1] for process in again]
    assert [process.returncode for process in again] == [0, 0], stderr
    assert steps_of(tmp_path) == list(range(1, goal + 1))


@pytest.mark.slow
def test_an_error_in_all_processes_is_not_reported_as_the_end_of_another_process(
    start_processes, small_flags, tmp_path
):
    started = start_processes(2, 1, f"--workdir={tmp_path}", *small_flags, "--config.model.hidden_size=3000000")
    stderr = [process.communicate(timeout=100)[1] for process in started]
    assert [process.returncode for process in started] == [1, 1], stderr
    assert any("not enough memory to train" in text.splitlines()[-1] for text in stderr), stderr


def test_processes_with_different_configs_are_rejected(start_processes, small_flags, tmp_path):
    flags = (f"--workdir={tmp_path / 'run'}", *small_flags)
    started = start_processes(2, 1, *flags, own=lambda number: (f"--config.train.steps={5 + number}",))
    for stderr in [process.communicate(timeout=100)[1] for process in started]:
        assert "process 1 must have the config and the data of process 0, got different ones" in stderr
        assert "Traceback" not in stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "damage", [pytest.param("cut", marks=pytest.mark.long), pytest.param("flip", marks=pytest.mark.slow)]
)
def test_several_processes_restore_the_same_valid_checkpoint(damage, start_processes, small_flags, tmp_path):
    def run(steps):
        started = start_processes(2, 1, f"--workdir={tmp_path}", *small_flags, f"--config.train.steps={steps}")
        stderr = [process.communicate(timeout=200)[1] for process in started]
        assert [process.returncode for process in started] == [0, 0], stderr
        return stderr

    run(20)
    files = [path for path in (tmp_path / "checkpoints" / "20" / "state").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    stderr = run(25)
    assert "checkpoint of step 20" in stderr[0] and "step 15 is used" in stderr[0]
    assert (tmp_path / "damaged" / "20").is_dir()
    assert steps_of(tmp_path) == [5, 10, 15, 20, 25]
