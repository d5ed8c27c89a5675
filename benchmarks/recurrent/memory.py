"""Benchmark of the memory of cells: the adding problem with increasing lengths and a fixed training budget.

    python -m benchmarks.recurrent.memory --json=benchmarks/results/recurrent/memory.json \\
        --plot=docs/pictures/memory.png

A cell remembers T steps if it explains 95 % of the variance of the sums of held-out sequences of length T and of all
shorter lengths.
"""

import functools
import importlib.metadata
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import jax
from absl import flags
from matplotlib.figure import Figure

from jaxnets import data, program, recurrent, tasks
from jaxnets.learning import gradient
from jaxnets.learning.optimizers import adamw
from jaxnets.training.compiled import evaluate_run
from jaxnets.training.state import create, make_step

FLAGS = flags.FLAGS

flags.DEFINE_list("lengths", ["5", "10", "20", "50", "100", "200", "400"], "Sequence lengths T.")
flags.DEFINE_integer("steps", 1000, "Number of updates per cell and length.", lower_bound=1)
flags.DEFINE_integer("hidden", 32, "Number of hidden units.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of parameters and examples.", lower_bound=0)
flags.DEFINE_string("json", None, "Output JSON file of the results.")
flags.DEFINE_string("plot", None, "Output image file of the plot.")

VARIANCE = 1 / 6  # variance of the sum of two numbers that are uniform in [0, 1]

CELLS: dict[str, Callable[[int], Callable]] = {
    "Elman": lambda length: recurrent.elman,
    "IRNN": lambda length: functools.partial(recurrent.elman, activation=jax.nn.relu, identity=True),
    "GRU": lambda length: recurrent.gru,
    "LSTM": lambda length: recurrent.lstm,
    "GRU, memory=T": lambda length: functools.partial(recurrent.gru, chrono_init=length),
    "LSTM, memory=T": lambda length: functools.partial(recurrent.lstm, chrono_init=length),
}


def variance_explained(cell: Callable, length: int, steps: int, hidden: int, seed: int) -> float | None:
    """Trains a model and returns the fraction of the variance of held-out sums it explains; None if it diverged."""
    examples = data.adding(length, seed=seed)
    optimizer = adamw(steps, 5e-3, warmup_steps=min(100, steps // 10), end_lr_factor=0.01, b2=0.99, clip_norm=1.0)
    learn = functools.partial(gradient, optimizer=optimizer)
    task = tasks.regression(recurrent.SequenceModel(1, cell=cell, hidden_size=hidden), data.Quantities(("sum",)), learn)
    state = create(task.learner, examples.train[0], seed)
    step = jax.jit(make_step(task.learner, seed), donate_argnums=0)
    for i in range(steps):
        state, _ = step(state, examples.train[i])
    variables = task.learner.variables(state.learner)
    error = evaluate_run(task, variables, examples, "validation", seed)["validation/loss"]
    return 1 - error / VARIANCE if math.isfinite(error) else None


Found = dict[str, dict[int, float | None]]


def draw(path: Path, found: Found) -> None:
    """Plots the explained variance against the length; a run that diverged explains none."""
    figure = Figure(figsize=(7.5, 4.2))
    axes = figure.subplots()
    for i, (name, by_length) in enumerate(found.items()):
        remembered = [max(share or 0.0, 0.0) for share in by_length.values()]
        axes.plot(list(by_length), remembered, marker="o", color=f"C{i}", label=name)
    axes.axhline(0.95, color="gray", ls=":", lw=1)
    axes.set(xscale="log", xlabel="length T of the adding problem, steps", ylabel="variance explained")
    axes.set_xticks([*next(iter(found.values()))], [str(length) for length in next(iter(found.values()))])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(overrides: program.Overrides) -> None:
    lengths = [int(length) for length in FLAGS.lengths]
    found: Found = {name: {} for name in CELLS}
    for length in lengths:
        for name, make in CELLS.items():
            share = variance_explained(make(length), length, FLAGS.steps, FLAGS.hidden, FLAGS.seed)
            found[name][length] = share
            print(f"T {length:>5}  {name:<16} {'diverged' if share is None else f'{share:8.3f}'}", flush=True)
    for name, by_length in found.items():
        remembered = itertools.takewhile(lambda item: (item[1] or 0.0) >= 0.95, sorted(by_length.items()))
        print(f"{name:<16} remembers {max(remembered, default=(0, 0))[0]} steps")
    if FLAGS.json:
        result = {
            "command": f"python -m benchmarks.recurrent.memory --steps={FLAGS.steps} --hidden={FLAGS.hidden} "
            f"--seed={FLAGS.seed}",
            "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "jaxnets")},
            "variance_explained": found,
        }
        Path(FLAGS.json).write_text(json.dumps(result, indent=2) + "\n")
    if FLAGS.plot:
        draw(Path(FLAGS.plot), found)


if __name__ == "__main__":
    program.run(main)
