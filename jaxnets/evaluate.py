"""Measures a trained run on its held-out data.

python -m jaxnets.evaluate --workdir=runs/char_lm
python -m jaxnets.evaluate --workdir=runs/digits --split=test
"""

from jaxnets import startup

if __name__ == "__main__":
    startup.prepare()

import json
from pathlib import Path

import jax
from absl import flags

from jaxnets import program
from jaxnets.training import loop, restore
from jaxnets.training.distributed import sharding
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", "runs/char_lm", "Folder of the run.")
flags.DEFINE_string("step", "best", "Checkpoint: best (smallest validation loss), last, or the number of a step.")
flags.DEFINE_enum("split", "validation", ["validation", "test"], "Which part of the data.")
flags.DEFINE_bool("json", False, "Print one line of JSON.")
flags.DEFINE_list("trust", [], "Packages outside jaxnets that the run's config may name.")


def main(overrides: program.Overrides) -> None:
    restore.no_overrides(overrides)
    run = restore.open_run(Path(FLAGS.workdir), FLAGS.step, tuple(FLAGS.trust))
    dataset = run.dataset()
    batches = {"validation": dataset.validation, "test": dataset.test}[FLAGS.split]
    if batches is None:
        raise UsageError(f"--split=test: {run.config.data.name} has no test part")
    examples = ""
    with restore.built(run.workdir):
        metrics = loop.evaluate(run.task, jax.jit(run.task.evaluate), run.variables, sharding.on_one_device(batches))
        if run.task.score is not None:
            scores, examples = run.task.score(run.variables, batches)
            metrics |= scores
    if FLAGS.json:
        print(json.dumps({"workdir": FLAGS.workdir, "step": run.step, "split": FLAGS.split, **metrics}))
        return
    print(f"{FLAGS.workdir}, step {run.step}, {FLAGS.split}; {dataset.description}")
    for name, value in metrics.items():
        print(f"{name:<20} {value:.4f}{f' {run.task.measure}' if name == 'loss' else ''}")
    if examples:
        print(f"\n{examples}")


if __name__ == "__main__":
    program.run(main)
