"""Overhead of the training loop: its steps per second, compared with the jitted step alone.

    python -m benchmarks.runs.train_loop --config.data.path=some/text

Both run alternately in one process: steps of the program, which include reading data and writing metrics, and the same
number of calls of the compiled step on a fixed batch. Without overhead the ratio of their speeds is 1.
"""

import importlib.metadata
import json
import statistics
import tempfile
import time
from pathlib import Path

import jax
from absl import flags

from jaxnets import program
from jaxnets.training import build, config, loop, rundir
from jaxnets.training.compiled import compile_run
from jaxnets.training.reporting.metrics import read_metrics

FLAGS = flags.FLAGS

flags.DEFINE_string("config", "char_lm", "Path of a config file, or the name of a shipped config.")
flags.DEFINE_integer("rounds", 7, "Number of rounds.", lower_bound=1)
flags.DEFINE_integer("steps", 60, "Number of steps of each kind in a round.", lower_bound=20)
flags.DEFINE_string("json", None, "Output JSON file of the result.")


def main(overrides: program.Overrides) -> None:
    settings = config.load(FLAGS.config)
    config.override(settings, overrides)
    settings.train.log_every = FLAGS.steps // 4
    settings.train.evaluate_every = 10**9
    dataset = build.dataset(settings)
    dataset = dataset._replace(splits={**dataset.splits, "validation": dataset.splits["validation"][:1]})
    model = build.model(settings.model, trusted=None)
    task = build.task(settings, model, dataset.spec)
    compiled = compile_run(settings, dataset, task)
    batch = dataset.train[0]
    bare_state, _ = compiled.step(compiled.create(), batch)  # compiles

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        rundir.claim(workdir, settings, dataset)
        for turn in range(1, FLAGS.rounds + 1):
            settings.train.steps = turn * FLAGS.steps
            loop.train(settings, workdir, dataset, task, compiled)
            # The first of four intervals of a round includes opening the checkpoint, so it is ignored.
            speeds = [row["items_per_second"] for row in read_metrics(workdir) if "items_per_second" in row][-3:]
            program_speed = statistics.mean(speeds) / task.items.number(batch)
            begin = time.perf_counter()
            for _ in range(FLAGS.steps):
                bare_state, metrics = compiled.step(bare_state, batch)
            jax.block_until_ready(metrics)
            step_speed = FLAGS.steps / (time.perf_counter() - begin)
            rows.append((program_speed, step_speed, program_speed / step_speed))
            print("program {:8.2f} steps/s   bare step {:8.2f} steps/s   ratio {:.3f}".format(*rows[-1]), flush=True)
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    print("median  {:8.2f} steps/s             {:8.2f} steps/s   ratio {:.3f}".format(*medians))
    if FLAGS.json:
        result = {
            "device": f"{jax.devices()[0].device_kind}",
            "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "grain", "jaxnets")},
            "config": FLAGS.config,
            "program_steps_per_second": medians[0],
            "bare_steps_per_second": medians[1],
            "ratio": medians[2],
            "rounds": [row[2] for row in rows],
        }
        Path(FLAGS.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    program.run(main)
