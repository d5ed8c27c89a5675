"""How often trained models know the sum of more digits than they learned from, over the number of digits.

    python -m benchmarks.models.digit_sum --runs=runs/digit_sum,runs/digit_sum_rnn,runs/digit_sum_gru \\
        --plot=docs/pictures/digit_sum.png

An answer is right where it is the sum when rounded (Zaheer et al. 2017, section 4.1.2). The digits are of the test part
of ``data.digit_sum``, as many in all sets.
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
from jaxnets.learning.evaluators import Scheduled, means
from jaxnets.training import build, restore
from jaxnets.training.compiled import evaluate_run
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

flags.DEFINE_list("runs", None, "Folders of finished runs on data.digit_sum.", required=True)
flags.DEFINE_list("labels", [], "What they are called; default: the folders' names.")
flags.DEFINE_list("lengths", ["5", *map(str, range(10, 100, 5))], "Digits of a set.")
flags.DEFINE_string("json", None, "Write the result to this file.")
flags.DEFINE_string("plot", None, "Draw into this file.")


def accuracies(run: restore.Run, lengths: list[int]) -> list[float]:
    """The share of right answers for each number of digits."""

    def right(variables: Any, batch: Any, key: Any, carry: Any):
        real = {name: batch[name] for name in ("lengths", "valid") if name in batch}
        answers = run.model.apply(variables, batch["inputs"], **real)
        return {"right": Mean((abs(answers - batch["targets"]) < 0.5).sum(), jnp.asarray(len(answers)))}, ()

    task, found = run.task._replace(evaluators={"right": Scheduled(means(right))}), []
    for length in lengths:
        config = copy.deepcopy(run.config)
        config.data.min_size = config.data.max_size = length
        found.append(evaluate_run(task, run.variables, build.dataset(config), "test", config.seed)["test/right"])
    return found


def main(overrides: program.Overrides) -> None:
    lengths, labels = [int(n) for n in FLAGS.lengths], FLAGS.labels or [Path(run).name for run in FLAGS.runs]
    if len(labels) != len(FLAGS.runs) or len(set(labels)) != len(labels):
        raise UsageError(f"--labels: a name of its own for each of {len(FLAGS.runs)} runs; given {labels}")
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), "digits": lengths, "accuracy": {}}
    learned: set[tuple[int, int]] = set()
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for folder, label in zip(FLAGS.runs, labels, strict=True):
        run = restore.open_run(Path(folder))
        if run.config.data.name != "data.digit_sum":
            raise UsageError(f"--runs: runs on data.digit_sum; {folder} is one on {run.config.data.name}")
        found = result["accuracy"][label] = accuracies(run, lengths)
        axes.plot(lengths, found, "o-", ms=3, label=label)
        print(f"{label:<20} " + " ".join(f"{n}: {share:.1%}" for n, share in zip(lengths, found, strict=True)))
        learned.add((run.config.data.min_size, run.config.data.max_size))
    for shortest, longest in learned:
        axes.axvspan(shortest - 0.5, longest + 0.5, color="0.9", label="learned from")
    axes.set(xlabel="digits", ylabel="sums that are right", ylim=(0, 1.03), xlim=(0, max(lengths) + 2))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    if FLAGS.json:
        harness.write(FLAGS.json, result)
    if FLAGS.plot:
        figure.savefig(FLAGS.plot, dpi=110)


if __name__ == "__main__":
    program.run(main)
