"""Evaluation of a trained run on its held-out data.

python -m jaxnets.evaluate --workdir=runs/char_lm
python -m jaxnets.evaluate --workdir=runs/digits --split=validation,test
python -m jaxnets.evaluate --workdir=runs/digits --data=my.npz
python -m jaxnets.evaluate --workdir=runs/translation --split=test --evaluators=bleu
"""

from jaxnets import startup

startup.prepare(__name__)

import json
from pathlib import Path

from absl import flags

from jaxnets import program
from jaxnets.training import compiled, config, restore
from jaxnets.training.errors import UsageError
from jaxnets.training.prediction import labeled

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", "runs/char_lm", "Run folder.")
flags.DEFINE_string("step", "best", "Checkpoint: best (by the task's objective), last, or a step.")
flags.DEFINE_list("split", ["validation"], "Splits of the data, separated by commas.")
flags.DEFINE_string("data", None, "Your own file with targets, used instead of a split of the run's data.")
flags.DEFINE_list("evaluators", None, "Evaluators of the task to run, separated by commas; the default is all.")
flags.DEFINE_bool("json", False, "Print one line of JSON per split.")
flags.DEFINE_list("trust", [], "Packages outside jaxnets that the run's config may import.")


def main(overrides: program.Overrides) -> None:
    restore.reject_overrides(overrides)
    run = restore.open_run(Path(FLAGS.workdir), FLAGS.step, tuple(FLAGS.trust))
    evaluators = list(run.task.evaluators)
    names = evaluators if FLAGS.evaluators is None else _chosen("evaluators", FLAGS.evaluators, evaluators)
    if FLAGS.data is None:
        dataset = run.dataset()
        splits = _chosen("split", FLAGS.split, list(dataset.held_out))
    elif FLAGS["split"].present:
        raise UsageError("--split must not be used with --data, because a file has no splits")
    else:
        dataset, splits = labeled.dataset(run, FLAGS.data), [labeled.SPLIT]
    with restore.run_errors(run.workdir):
        found = compiled.evaluate_splits(run.task, run.variables, dataset, splits, names, run.config.seed)
    for split, measured in found.items():
        metrics = {name.removeprefix(f"{split}/"): value for name, value in measured.items()}
        if FLAGS.json:
            print(json.dumps({"workdir": FLAGS.workdir, "step": run.step, "split": split, **metrics}))
            continue
        print(f"{FLAGS.workdir}, step {run.step}, {split}; {dataset.description}")
        for name, value in metrics.items():
            print(f"{name:<20} {value:.4f} {run.task.units.get(name, '')}".rstrip())


def _chosen(flag: str, values: list[str], known: list[str]) -> list[str]:
    """Returns the values of a flag without duplicates, or raises a ``UsageError`` for unknown or missing values."""
    for name in values or ["none"]:
        if name not in known:
            raise UsageError(f"--{flag} must be one of {', '.join(known)}, got {name}{config.nearest(name, known)}")
    return list(dict.fromkeys(values))


if __name__ == "__main__":
    program.run(main)
