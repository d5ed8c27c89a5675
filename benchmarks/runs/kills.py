"""Training runs that are killed at random instants: whether they end as an undisturbed one does, and what it costs.

    python -m benchmarks.runs.kills --json=benchmarks/results/runs/kills.json

Every run of ``RUNS`` is trained once undisturbed, then again with a SIGKILL at a random time after its first
checkpoint, and started anew each time; of several processes a random one is killed, and the others end by themselves.
Half of the kills hit runs that go on while a checkpoint is written (``train.async_checkpointing``). In the end
parameters, statistics, optimizer, carry and validation must be the same bit for bit. Goodput is the part of all
computed steps that was needed.
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

flags.DEFINE_integer("kills", 5, "Of each run, with and without background saves.", lower_bound=1)
flags.DEFINE_list("runs", [], "Names of those to take; default all.")
flags.DEFINE_string("json", None, "Write the results here.")

SMALL_LSTM = ("model.hidden_size=64", "model.dropout=0.2", "data.batch_size=16", "data.seq_len=32")
RUNS = {
    "character model": (
        "char_lm",
        "model.hidden_size=64",
        "model.dropout=0.2",
        "data.batch_size=16",
        "data.seq_len=32",
    ),
    "transformer, windows": (
        "decoder_lm",
        "model.num_layers=1",
        "model.embed_dim=64",
        "data.batch_size=16",
        "train.grad_accum_steps=2",
    ),
    "LeNet": ("lenet", "train.steps=600"),
    "set statistics": ("set_statistics", "train.steps=600"),
    "two processes": ("char_lm", *SMALL_LSTM),
}
EVERY = ("train.log_every=1", "train.evaluate_every=40", "optimizer.warmup_steps=0")


class Result(NamedTuple):
    """Attributes:
    kills: Those that hit.
    steps: That were needed.
    computed: Steps in all, as far as they were noted: those between the last note and a kill are not.
    most_repeated: The largest number of steps between the checkpoint that a run went on from and the kill before.
    interval: Steps from one checkpoint to the next.
    """

    kills: int
    steps: int
    computed: int
    most_repeated: int
    interval: int


def start(workdir: Path, run: str, background: bool) -> list[subprocess.Popen]:
    """The processes of a run, each in a group of its own."""
    config, *changes = RUNS[run]
    steps = () if any(change.startswith("train.steps") for change in changes) else ("train.steps=300",)
    command = [sys.executable, "-m", "jaxnets.train", f"--config={config}", f"--workdir={workdir}"]
    command += [
        f"--config.{change}" for change in (*EVERY, *changes, *steps, f"train.async_checkpointing={background}")
    ]
    count = 2 if run == "two processes" else 1
    together: list[str] = []
    if count > 1:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            together = [f"--coordinator_address=localhost:{free.getsockname()[1]}", f"--num_processes={count}"]
    own = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
    return [
        subprocess.Popen(
            [*command, *together, *([f"--process_id={number}"] if together else [])],
            env=own,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


def finish(started: list[subprocess.Popen]) -> None:
    for process in started:
        told = process.communicate()[1]
        if process.returncode:
            raise RunError(f"a run ended with {process.returncode}: {told}")


def last_step(workdir: Path) -> int:
    return max((int(row["step"]) for row in read_metrics(workdir)), default=0)


def metrics_file(workdir: Path) -> int:
    """A number of the file that the run notes its steps in; 0 where there is none."""
    path = workdir / "metrics.jsonl"
    return path.stat().st_ino if path.exists() else 0


def last_checkpoint(workdir: Path) -> int:
    folder = workdir / "checkpoints"
    return max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=0)


def killed_run(run: str, background: bool, folder: Path, kills: int, dice: random.Random) -> Result:
    """Trains undisturbed, and again with kills; a ``RunError`` where the two differ."""
    whole, killed, runs = folder / "whole", folder / "killed-1", 1
    begin = time.monotonic()
    undisturbed = start(whole, run, background)
    while last_step(whole) < 1 and undisturbed[0].poll() is None:
        time.sleep(0.05)
    first = time.monotonic() - begin
    finish(undisturbed)
    stretch = (time.monotonic() - begin - first) / 3
    steps = last_checkpoint(whole)
    computed = most_repeated = hit = 0
    while hit < kills:
        before, noted = last_checkpoint(killed), metrics_file(killed)
        started = start(killed, run, background)
        fresh = before == 0
        while last_checkpoint(killed) == 0 and started[0].poll() is None:
            time.sleep(0.02)
        time.sleep(dice.uniform(0.0, stretch) if fresh else dice.uniform(0.2, first + stretch))
        if any(process.poll() is not None for process in started):  # done before the kill: another one begins
            finish(started)
            computed += steps - before
            check_equal(whole, killed)
            runs += 1
            killed = folder / f"killed-{runs}"
            continue
        dice.choice(started).send_signal(signal.SIGKILL)
        began = time.monotonic()
        for process in started:
            process.communicate()
        hit += 1
        kept = last_checkpoint(killed)
        reached = last_step(killed) if metrics_file(killed) != noted else before  # a start opens the file anew
        computed += reached - before
        most_repeated = max(most_repeated, reached - kept)
        took = time.monotonic() - began
        print(f"  killed at step {reached}, to go on from {kept}; all had ended {took:.0f} s later", flush=True)
    computed += steps - last_checkpoint(killed)
    finish(start(killed, run, background))
    check_equal(whole, killed)
    interval = next(int(change.partition("=")[2]) for change in EVERY if change.startswith("train.evaluate_every"))
    return Result(hit, runs * steps, computed, most_repeated, interval)


def check_equal(whole: Path, killed: Path) -> None:
    """A ``RunError`` where two runs did not end with the same bits."""
    name = "validation/loss"
    validation = lambda folder: [(row["step"], row[name]) for row in read_metrics(folder) if name in row]
    if validation(whole) != validation(killed):
        raise RunError("the validation losses differ")
    for which in ("last", "best"):
        one, other = (restore.open_run(folder, which) for folder in (whole, killed))
        if one.step != other.step:
            raise RunError(f"the {which} checkpoints are of steps {one.step} and {other.step}")
        for a, b in zip(jax.tree.leaves(one.variables), jax.tree.leaves(other.variables), strict=True):
            if np.asarray(a).tobytes() != np.asarray(b).tobytes():
                raise RunError(f"variables at step {one.step} differ")
        digests = [
            json.loads(next(digest_files(folder, one.step)).read_text())["digests"] for folder in (whole, killed)
        ]
        if digests[0] != digests[1]:
            raise RunError(f"states at step {one.step} differ")


def digest_files(folder: Path, step: int):
    """The file with the digests of a checkpoint: of the whole state, the optimizer and the carry too."""
    return (path for path in (folder / "checkpoints" / str(step) / "record").iterdir() if path.is_file())


def main(overrides: program.Overrides) -> None:
    dice, results = random.Random(0), {}
    for run, background in itertools.product(FLAGS.runs or RUNS, (False, True)):
        name = f"{run}, background saves" if background else run
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            results[name] = found = killed_run(run, background, Path(folder), FLAGS.kills, dice)
        print(
            f"{name}: {found.kills} kills, equal bit for bit; {found.computed} steps computed for {found.steps}: "
            f"goodput {found.steps / found.computed:.0%}; at most {found.most_repeated} repeated after a kill, "
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
