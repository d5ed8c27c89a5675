"""Accuracy of trained models on sums of more digits than in training, as a function of the number of digits.

    python -m benchmarks.models.digit_sum --runs=runs/digit_sum,runs/digit_sum_rnn,runs/digit_sum_gru \\
        --plot=docs/pictures/digit_sum.png

A prediction is correct if it rounds to the sum (Zaheer et al. 2017, section 4.1.2). The digits are from the test
split of ``data.digit_sum``. All sets of one evaluation have the same size.
"""

import copy
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from absl import flags
from matplotlib.figure import Figure

from benchmarks import harness
from jaxnets import program
from jaxnets.learning import Mean
from jaxnets.learning.evaluators import ScheduledEvaluator, means
from jaxnets.training import build, restore
from jaxnets.training.compiled import evaluate_run
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

flags.DEFINE_list("runs", None, "Folders of finished runs on data.digit_sum.", required=True)
flags.DEFINE_list("labels", [], "Labels of the runs; by default, the names of their folders.")
flags.DEFINE_list("lengths", ["5", *map(str, range(10, 100, 5))], "Set sizes: numbers of digits.")
flags.DEFINE_string("json", None, "Output file of the result.")
flags.DEFINE_string("plot", None, "Output file of the plot.")


def accuracies(run: restore.Run, lengths: list[int]) -> list[float]:
    """Returns the accuracy for each number of digits."""

    def accuracy(variables: Any, batch: Any, key: Any, carry: Any):
        masks = {name: batch[name] for name in ("lengths", "valid") if name in batch}
        predictions = run.model.apply(variables, batch["inputs"], **masks)
        correct = (abs(predictions - batch["targets"]) < 0.5).sum()
        return {"accuracy": Mean(correct, jnp.asarray(len(predictions)))}, ()

    task, values = run.task._replace(evaluators={"accuracy": ScheduledEvaluator(means(accuracy))}), []
    for length in lengths:
        config = copy.deepcopy(run.config)
        config.data.min_size = config.data.max_size = length
        values.append(evaluate_run(task, run.variables, build.dataset(config), "test", config.seed)["test/accuracy"])
    return values


def main(overrides: program.Overrides) -> None:
    lengths, labels = [int(n) for n in FLAGS.lengths], FLAGS.labels or [Path(run).name for run in FLAGS.runs]
    if len(labels) != len(FLAGS.runs) or len(set(labels)) != len(labels):
        raise UsageError(f"--labels must be {len(FLAGS.runs)} different names, one for each run, got {labels}")
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), "digits": lengths, "accuracy": {}}
    training_ranges: set[tuple[int, int]] = set()
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for folder, label in zip(FLAGS.runs, labels, strict=True):
        run = restore.open_run(Path(folder))
        if run.config.data.name != "data.digit_sum":
            raise UsageError(f"--runs must be runs on data.digit_sum, got {folder} on {run.config.data.name}")
        values = result["accuracy"][label] = accuracies(run, lengths)
        axes.plot(lengths, values, "o-", ms=3, label=label)
        print(f"{label:<20} " + " ".join(f"{n}: {value:.1%}" for n, value in zip(lengths, values, strict=True)))
        training_ranges.add((run.config.data.min_size, run.config.data.max_size))
    for min_size, max_size in training_ranges:
        axes.axvspan(min_size - 0.5, max_size + 0.5, color="0.9", label="trained on")
    axes.set(xlabel="number of digits", ylabel="accuracy", ylim=(0, 1.03), xlim=(0, max(lengths) + 2))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    if FLAGS.json:
        harness.write(FLAGS.json, result)
    if FLAGS.plot:
        figure.savefig(FLAGS.plot, dpi=110)


if __name__ == "__main__":
    program.run(main)
