"""Measures a trained run on its held-out data.

python -m jaxnets.evaluate --workdir=runs/char_lm
python -m jaxnets.evaluate --workdir=runs/digits --split=test
"""

from jaxnets import startup

if __name__ == "__main__":
    startup.prepare()

import json
from pathlib import Path

from absl import flags

from jaxnets import program
from jaxnets.training import compiled, restore
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", "runs/char_lm", "Folder of the run.")
flags.DEFINE_string("step", "best", "Checkpoint: best (by the task's objective), last, or the number of a step.")
flags.DEFINE_enum("split", "validation", ["validation", "test"], "Which part of the data.")
flags.DEFINE_bool("json", False, "Print one line of JSON.")
flags.DEFINE_list("trust", [], "Packages outside jaxnets that the run's config may name.")


def main(overrides: program.Overrides) -> None:
    restore.no_overrides(overrides)
    run = restore.open_run(Path(FLAGS.workdir), FLAGS.step, tuple(FLAGS.trust))
    dataset = run.dataset()
    if FLAGS.split not in dataset.held_out:
        held_out = ", ".join(dataset.held_out)
        raise UsageError(f"--split={FLAGS.split}: {run.config.data.name} has no such part; it has {held_out}")
    with restore.built(run.workdir):
        metrics = compiled.evaluate_run(run.task, run.variables, dataset, FLAGS.split, run.config.seed)
    metrics = {name.removeprefix(f"{FLAGS.split}/"): value for name, value in metrics.items()}
    if FLAGS.json:
        print(json.dumps({"workdir": FLAGS.workdir, "step": run.step, "split": FLAGS.split, **metrics}))
        return
    print(f"{FLAGS.workdir}, step {run.step}, {FLAGS.split}; {dataset.description}")
    for name, value in metrics.items():
        print(f"{name:<20} {value:.4f} {run.task.units.get(name, '')}".rstrip())


if __name__ == "__main__":
    program.run(main)
