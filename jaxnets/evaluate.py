"""Measures a trained run on its held-out data.

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

flags.DEFINE_string("workdir", "runs/char_lm", "Folder of the run.")
flags.DEFINE_string("step", "best", "Checkpoint: best (by the task's objective), last, or the number of a step.")
flags.DEFINE_list("split", ["validation"], "Parts of the data, with commas between them.")
flags.DEFINE_string("data", None, "A file of your own with targets, in place of a part of the run's data.")
flags.DEFINE_list("evaluators", None, "Those of the task that measure, with commas between them; default all.")
flags.DEFINE_bool("json", False, "Print a line of JSON for each part.")
flags.DEFINE_list("trust", [], "Packages outside jaxnets that the run's config may name.")


def main(overrides: program.Overrides) -> None:
    restore.no_overrides(overrides)
    run = restore.open_run(Path(FLAGS.workdir), FLAGS.step, tuple(FLAGS.trust))
    evaluators = list(run.task.evaluators)
    names = evaluators if FLAGS.evaluators is None else _chosen("evaluators", FLAGS.evaluators, evaluators)
    if FLAGS.data is None:
        dataset = run.dataset()
        splits = _chosen("split", FLAGS.split, list(dataset.held_out))
    elif FLAGS["split"].present:
        raise UsageError("--split must not be given with --data, a file that is no part of the run's data")
    else:
        dataset, splits = labeled.dataset(run, FLAGS.data), [labeled.SPLIT]
    with restore.built(run.workdir):
        found = compiled.evaluate_splits(run.task, run.variables, dataset, splits, names, run.config.seed)
    for split, measured in found.items():
        metrics = {name.removeprefix(f"{split}/"): value for name, value in measured.items()}
        if FLAGS.json:
            print(json.dumps({"workdir": FLAGS.workdir, "step": run.step, "split": split, **metrics}))
            continue
        print(f"{FLAGS.workdir}, step {run.step}, {split}; {dataset.description}")
        for name, value in metrics.items():
            print(f"{name:<20} {value:.4f} {run.task.units.get(name, '')}".rstrip())


def _chosen(flag: str, given: list[str], known: list[str]) -> list[str]:
    """The values of a flag, each once; a ``UsageError`` where one is not known, or there are none."""
    for name in given or ["none"]:
        if name not in known:
            raise UsageError(f"--{flag} must be one of {', '.join(known)}, got {name}{config.nearest(name, known)}")
    return list(dict.fromkeys(given))


if __name__ == "__main__":
    program.run(main)
