"""Startup benchmark: time to the first training step with a cold and a warm compilation cache.

python -m benchmarks.runs.start
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from jaxnets import program
from jaxnets.training.errors import RunError
from jaxnets.training.reporting.metrics import read_metrics

FLAGS = flags.FLAGS

flags.DEFINE_string("config", "char_lm", "Path of a config file, or the name of a shipped config.")
flags.DEFINE_integer("rounds", 3, "Number of starts of each kind.", lower_bound=1)


def main(overrides: program.Overrides) -> None:
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(FLAGS.rounds):
        with tempfile.TemporaryDirectory() as cache:
            for kind in ("cold", "warm"):
                seconds[kind].append(_first_step(cache, overrides))
                print(f"{kind} compilation cache: first step after {seconds[kind][-1]:.1f} s", flush=True)
    for kind, times in seconds.items():
        print(f"median, {kind}: {statistics.median(times):.1f} s")


def _first_step(cache: str, overrides: program.Overrides) -> float:
    with tempfile.TemporaryDirectory() as folder:
        changes = [*overrides, ("train.log_every", "1"), ("train.evaluate_every", "1000000")]
        command = [sys.executable, "-m", "jaxnets.train", f"--config={FLAGS.config}", f"--workdir={folder}/run"]
        command += [f"--config.{key}={value}" for key, value in changes]
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
        begin = time.perf_counter()
        started = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while not read_metrics(Path(folder) / "run"):
            if started.poll() is not None:
                raise RunError(
                    f"the program ended before its first step: {started.stderr.read() if started.stderr else ''}"
                )
            time.sleep(0.01)
        elapsed = time.perf_counter() - begin
        started.kill()
        started.communicate()
        return elapsed


if __name__ == "__main__":
    program.run(main)
