"""Kill benchmark: equality of killed and uninterrupted runs, and goodput.

    python -m benchmarks.runs.kills --json=benchmarks/results/runs/kills.json

Every run of ``RUNS`` is trained once without interruption, and once with SIGKILLs at random times after its first
checkpoint. The run is resumed after each kill. With several processes, a random process is killed and the others end by
themselves. Half of the runs use ``train.async_checkpointing``. Finally parameters, statistics, optimizer state, carry
and validation metrics must be bit-equal. Goodput is the fraction of computed steps that were needed.
"""

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from benchmarks import harness
from jaxnets import program
from jaxnets.training import restore
from jaxnets.training.errors import RunError
from jaxnets.training.reporting.metrics import read_metrics

FLAGS = flags.FLAGS

flags.DEFINE_integer(
    "kills", 5, "Number of kills of each run, with and without asynchronous checkpointing.", lower_bound=1
)
flags.DEFINE_list("runs", [], "Names of runs. The default is all.")
flags.DEFINE_string("json", None, "Output JSON file of the results.")

CHAR_LM = ("model.hidden_size=64", "model.dropout=0.2", "data.batch_size=16", "data.seq_len=32")
RUNS = {
    "character model": ("char_lm", *CHAR_LM),
    "transformer, windows": (
        *("decoder_lm", "model.num_layers=1", "model.embed_dim=64"),
        *("data.batch_size=16", "train.grad_accum_steps=2"),
    ),
    "LeNet": ("lenet", "train.steps=600"),
    "set statistics": ("set_statistics", "train.steps=600"),
    "two processes": ("char_lm", *CHAR_LM),
}
EVERY = ("train.log_every=1", "train.evaluate_every=40", "optimizer.warmup_steps=0")


class Result(NamedTuple):
    """The result of a killed run.

    Attributes:
        kills: Number of kills that hit a running process.
        steps: Number of needed steps.
        computed: Number of logged steps, which excludes steps between the last log line and a kill.
        most_repeated: Maximum number of steps between a kill and the checkpoint from which the run resumed.
        interval: Number of steps between checkpoints.
    """

    kills: int
    steps: int
    computed: int
    most_repeated: int
    interval: int


def start(workdir: Path, run: str, asynchronous: bool) -> list[subprocess.Popen]:
    """Starts the processes of a run."""
    config, *changes = RUNS[run]
    steps = () if any(change.startswith("train.steps") for change in changes) else ("train.steps=300",)
    command = [sys.executable, "-m", "jaxnets.train", f"--config={config}", f"--workdir={workdir}"]
    changes = [*EVERY, *changes, *steps, f"train.async_checkpointing={asynchronous}"]
    command += [f"--config.{change}" for change in changes]
    count = 2 if run == "two processes" else 1
    distributed_flags: list[str] = []
    if count > 1:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            distributed_flags = [f"--coordinator_address=localhost:{free.getsockname()[1]}", f"--num_processes={count}"]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
    return [
        subprocess.Popen(
            [*command, *distributed_flags, *([f"--process_id={number}"] if distributed_flags else [])],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


def finish(started: list[subprocess.Popen]) -> None:
    for process in started:
        stderr = process.communicate()[1]
        if process.returncode:
            raise RunError(f"a run ended with exit code {process.returncode}: {stderr}")


def last_step(workdir: Path) -> int:
    return max((int(row["step"]) for row in read_metrics(workdir)), default=0)


def metrics_file(workdir: Path) -> int:
    """Returns the inode of ``metrics.jsonl``, or 0 if it does not exist."""
    path = workdir / "metrics.jsonl"
    return path.stat().st_ino if path.exists() else 0


def last_checkpoint(workdir: Path) -> int:
    folder = workdir / "checkpoints"
    return max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=0)


def killed_run(run: str, asynchronous: bool, folder: Path, kills: int, random_generator: random.Random) -> Result:
    """Trains with and without kills. Raises a ``RunError`` if the results differ."""
    uninterrupted, killed, runs = folder / "uninterrupted", folder / "killed-1", 1
    begin = time.monotonic()
    processes = start(uninterrupted, run, asynchronous)
    while last_step(uninterrupted) < 1 and processes[0].poll() is None:
        time.sleep(0.05)
    first = time.monotonic() - begin
    finish(processes)
    stretch = (time.monotonic() - begin - first) / 3
    steps = last_checkpoint(uninterrupted)
    computed = most_repeated = hit = 0
    while hit < kills:
        before, inode = last_checkpoint(killed), metrics_file(killed)
        started = start(killed, run, asynchronous)
        fresh = before == 0
        while last_checkpoint(killed) == 0 and started[0].poll() is None:
            time.sleep(0.02)
        time.sleep(random_generator.uniform(0.0, stretch) if fresh else random_generator.uniform(0.2, first + stretch))
        if any(process.poll() is not None for process in started):  # completed before the kill: start another run
            finish(started)
            computed += steps - before
            check_equal(uninterrupted, killed)
            runs += 1
            killed = folder / f"killed-{runs}"
            continue
        random_generator.choice(started).send_signal(signal.SIGKILL)
        killed_at = time.monotonic()
        for process in started:
            process.communicate()
        hit += 1
        checkpoint = last_checkpoint(killed)
        reached = last_step(killed) if metrics_file(killed) != inode else before  # each start replaces the file
        computed += reached - before
        most_repeated = max(most_repeated, reached - checkpoint)
        took = time.monotonic() - killed_at
        print(
            f"  killed at step {reached}, resumes at {checkpoint}; all processes ended after {took:.0f} s", flush=True
        )
    computed += steps - last_checkpoint(killed)
    finish(start(killed, run, asynchronous))
    check_equal(uninterrupted, killed)
    interval = next(int(change.partition("=")[2]) for change in EVERY if change.startswith("train.evaluate_every"))
    return Result(hit, runs * steps, computed, most_repeated, interval)


def check_equal(uninterrupted: Path, killed: Path) -> None:
    """Raises a ``RunError`` if two runs do not end with bit-equal states."""
    name = "validation/loss"
    validation = lambda folder: [(row["step"], row[name]) for row in read_metrics(folder) if name in row]
    if validation(uninterrupted) != validation(killed):
        raise RunError("the validation losses differ")
    for which in ("last", "best"):
        expected, resumed = (restore.open_run(folder, which) for folder in (uninterrupted, killed))
        if expected.step != resumed.step:
            raise RunError(f"the {which} checkpoints are of steps {expected.step} and {resumed.step}")
        for a, b in zip(jax.tree.leaves(expected.variables), jax.tree.leaves(resumed.variables), strict=True):
            if np.asarray(a).tobytes() != np.asarray(b).tobytes():
                raise RunError(f"variables at step {expected.step} differ")
        digests = [
            json.loads(next(digest_files(folder, expected.step)).read_text())["digests"]
            for folder in (uninterrupted, killed)
        ]
        if digests[0] != digests[1]:
            raise RunError(f"states at step {expected.step} differ")


def digest_files(folder: Path, step: int):
    """Returns the files of a checkpoint that contain the digests of the full state."""
    return (path for path in (folder / "checkpoints" / str(step) / "record").iterdir() if path.is_file())


def main(overrides: program.Overrides) -> None:
    random_generator, results = random.Random(0), {}
    for run, asynchronous in itertools.product(FLAGS.runs or RUNS, (False, True)):
        name = f"{run}, background saves" if asynchronous else run
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            results[name] = found = killed_run(run, asynchronous, Path(folder), FLAGS.kills, random_generator)
        print(
            f"{name}: {found.kills} kills, bit-equal; {found.computed} computed steps for {found.steps}: "
            f"goodput {found.steps / found.computed:.0%}; at most {found.most_repeated} steps repeated after a kill, "
            f"{found.interval} between checkpoints",
            flush=True,
        )
    kills, steps, computed = (
        sum(getattr(r, name) for r in results.values()) for name in ("kills", "steps", "computed")
    )
    print(f"{kills} kills; goodput {steps / computed:.0%}")
    if FLAGS.json:
        rows = {name: found._asdict() for name, found in results.items()}
        result = {"command": harness.command(), **harness.machine(), "kills": kills, "goodput": steps / computed}
        harness.write(FLAGS.json, {**result, "runs": rows})


if __name__ == "__main__":
    program.run(main)
