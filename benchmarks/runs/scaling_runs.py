"""Training steps with several layouts: compilation from shapes, and timing in one process per number of devices.

benchmarks.runs.scaling starts these processes: ``python -m benchmarks.runs.scaling_runs --model=char_lm``.
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

LAYOUTS = {  # (fsdp, model_parallel)
    "data parallel": (False, 1),
    "fully sharded": (True, 1),
    "tensor parallel": (False, 2),
    "tensor parallel, fully sharded": (True, 2),
}
COUNTS = (1, 2, 4, 8)
SERIES = {  # (layout, batch size on n devices)
    "strong": ("data parallel", lambda n: 64),
    "strong, fully sharded": ("fully sharded", lambda n: 64),
    "weak": ("data parallel", lambda n: 8 * n),
}


def compiled_run(model: str, layout: str, rows: int) -> tuple[Compiled, Any, Any]:
    """Returns the jitted functions of a run, its model and a batch of zeros."""
    settings = config.load("decoder_lm" if model == "gpt2" else model)
    settings.devices.fsdp, settings.devices.model_parallel = LAYOUTS[layout]
    network: Any = attention.gpt2() if model == "gpt2" else tasks.complete(build.model(settings.model), Vocabulary())
    length = network.max_seq_len if model == "gpt2" else with_defaults(settings).data.seq_len
    tokens = np.zeros((rows, length), np.int32)
    batch = {"inputs": tokens, "targets": tokens, "mask": np.ones_like(tokens, bool), "start": np.ones(rows, bool)}
    examples = Dataset({"train": [batch], "validation": [batch]}, Vocabulary(), fingerprint="", description="")
    return compile_run(settings, examples, build.task(settings, network, Vocabulary())), network, batch


def compiled_step(run: Compiled, batch: Any) -> Any:
    """Compiles the training step from shapes."""
    place = lambda leaf, at: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=at)
    rows = jax.tree.map(place, batch, partitioning.row_shardings(run.mesh, batch))
    step: Any = run.step
    return step.lower(run.abstract, rows).compile()


def answer_turns(model: str) -> None:
    """Prints the step time of each series in milliseconds for every input line: the median over half a second."""
    programs = {}
    for name, (layout, rows) in SERIES.items():
        run, _, batch = compiled_run(model, layout, rows(jax.device_count()))
        # Concurrent programs on simulated devices can deadlock.
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
    program[1] = state  # the previous state was donated
    return 1e3 * statistics.median(durations[1:])


def times(model: str, rounds: int) -> dict[str, dict[int, float]]:
    """Measures step times in milliseconds by series and number of devices: medians over rounds."""
    command = [sys.executable, "-m", "benchmarks.runs.scaling_runs", f"--model={model}"]
    # With as many threads as cores, eight devices could deadlock.
    environments = {n: {**os.environ, "JAX_NUM_CPU_DEVICES": str(n), "NPROC": "16"} for n in COUNTS}
    started = {
        n: subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n, environment in environments.items()
    }
    found: dict[str, dict[int, list[float]]] = {name: {n: [] for n in COUNTS} for name in SERIES}
    for turn in range(rounds + 1):
        for n in random.Random(turn).sample(COUNTS, len(COUNTS)):
            for name, ms in _ask(started[n]).items():
                if turn:  # during the first turn other processes still compile
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
        raise RunError("a benchmark process ended early")
    return json.loads(answer)


def main(overrides: program.Overrides) -> None:
    answer_turns(FLAGS.model)


if __name__ == "__main__":
    flags.DEFINE_enum("model", "char_lm", ["char_lm", "decoder_lm"], "Config of the timed training step.")
    program.run(main)
