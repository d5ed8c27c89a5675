"""Training runs whose layout is given: compiled from shapes alone, and timed in a process for each number of devices.

benchmarks.runs.scaling starts such processes, ``python -m benchmarks.runs.scaling_runs --model=char_lm``.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
from absl import flags

from jaxnets import attention, program, tasks
from jaxnets.data import Dataset, Vocabulary
from jaxnets.learning import partitioning
from jaxnets.training import build, config
from jaxnets.training.compiled import Compiled, compile_run
from jaxnets.training.errors import RunError
from jaxnets.training.settings.shown import with_defaults

FLAGS = flags.FLAGS

LAYOUTS = {  # fully sharded, devices over which heads and hidden units are split
    "data parallel": (False, 1),
    "fully sharded": (True, 1),
    "tensor parallel": (False, 2),
    "tensor parallel, fully sharded": (True, 2),
}
COUNTS = (1, 2, 4, 8)
SERIES = {  # layout, and rows on n devices
    "strong": ("data parallel", lambda n: 64),
    "strong, fully sharded": ("fully sharded", lambda n: 64),
    "weak": ("data parallel", lambda n: 8 * n),
}


def compiled_run(model: str, layout: str, rows: int) -> tuple[Compiled, Any, Any]:
    """What a run computes with, its model, and a batch of zeros."""
    settings = config.load("decoder_lm" if model == "gpt2" else model)
    settings.devices.fsdp, settings.devices.model_parallel = LAYOUTS[layout]
    network: Any = attention.gpt2() if model == "gpt2" else tasks.complete(build.model(settings.model), Vocabulary())
    length = network.context if model == "gpt2" else with_defaults(settings).data.length
    tokens = np.zeros((rows, length), np.int32)
    batch = {"inputs": tokens, "targets": tokens, "mask": np.ones_like(tokens, bool), "start": np.ones(rows, bool)}
    examples = Dataset({"train": [batch], "validation": [batch]}, Vocabulary(), fingerprint="", description="")
    return compile_run(settings, examples, build.task(settings, network, Vocabulary())), network, batch


def compiled_step(run: Compiled, batch: Any) -> Any:
    """The training step, from shapes alone."""
    place = lambda leaf, at: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=at)
    rows = jax.tree.map(place, batch, partitioning.row_shardings(run.mesh, batch))
    step: Any = run.step
    return step.lower(run.abstract, rows).compile()


def answer_turns(model: str) -> None:
    """For every line on standard input: milliseconds of a step by series, the median of half a second each."""
    programs = {}
    for name, (layout, rows) in SERIES.items():
        run, _, batch = compiled_run(model, layout, rows(jax.device_count()))
        # One at a time: devices that share threads and wait for each other in two programs may wait for ever.
        programs[name] = [compiled_step(run, batch), *jax.block_until_ready((run.create(), run.train.put(batch)))]
    for _ in sys.stdin:
        print(json.dumps({name: _turn(program) for name, program in programs.items()}), flush=True)


def _turn(program: list[Any]) -> float:
    step, state, batch = program
    durations: list[float] = []
    while sum(durations) < 0.5 or len(durations) < 4:
        begin = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        durations.append(time.perf_counter() - begin)
    program[1] = state  # the one before was donated
    return 1e3 * statistics.median(durations[1:])


def times(model: str, rounds: int) -> dict[str, dict[int, float]]:
    """Milliseconds of a step by series and number of devices, medians of the rounds."""
    command = [sys.executable, "-m", "benchmarks.runs.scaling_runs", f"--model={model}"]
    # With as many threads as cores, eight devices that wait for each other may wait for ever.
    environments = {n: {**os.environ, "JAX_NUM_CPU_DEVICES": str(n), "NPROC": "16"} for n in COUNTS}
    started = {
        n: subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n, environment in environments.items()
    }
    found: dict[str, dict[int, list[float]]] = {name: {n: [] for n in COUNTS} for name in SERIES}
    for turn in range(rounds + 1):
        for n in random.Random(turn).sample(COUNTS, len(COUNTS)):
            for name, ms in _ask(started[n]).items():
                if turn:  # in the first one others still compile
                    found[name][n].append(ms)
    for process in started.values():
        process.communicate()
    medians = {name: {n: statistics.median(ms) for n, ms in by_count.items()} for name, by_count in found.items()}
    for name, by_count in medians.items():
        print(f"{model:<12}{name:<32}" + "".join(f"{n} x {ms:,.1f} ms  " for n, ms in by_count.items()), flush=True)
    return medians


def _ask(process: subprocess.Popen) -> dict[str, float]:
    assert process.stdin and process.stdout
    print(file=process.stdin, flush=True)
    answer = process.stdout.readline()
    if not answer:
        raise RunError("a process that was to be timed ended before its turn")
    return json.loads(answer)


def main(overrides: program.Overrides) -> None:
    answer_turns(FLAGS.model)


if __name__ == "__main__":
    flags.DEFINE_enum("model", "char_lm", ["char_lm", "decoder_lm"], "The config whose step is timed.")
    program.run(main)
