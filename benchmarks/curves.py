"""Validation loss of several runs against the time that their training took, in one picture.

    python -m benchmarks.curves --runs=runs/decoder_lm,runs/lstm --plot=docs/pictures/language_models.png

The time is that of the updates alone, from the speed that each run's ``metrics.jsonl`` states.
"""

from pathlib import Path

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from jaxnets import program
from jaxnets.training import build, rundir
from jaxnets.training.errors import UsageError
from jaxnets.training.reporting import metrics

FLAGS = flags.FLAGS

flags.DEFINE_list("runs", None, "Folders of finished runs.", required=True)
flags.DEFINE_list("labels", [], "What they are called; default: the folders' names.")
flags.DEFINE_list("trust", [], "Packages outside jaxnets that the runs' configs may name.")
flags.DEFINE_string("plot", None, "Draw into this file.", required=True)


def curve(workdir: Path, trusted: tuple[str, ...] = ()) -> tuple[np.ndarray, list[float]]:
    """Minutes of updates and validation losses.

    Between two lines with a speed the time grows in proportion to the steps; before the first and after the last, at
    the speed of that line.

    Raises:
        UsageError: The run has no validation loss or no speed.
    """
    rows = metrics.read_metrics(workdir)
    logged = [(row["step"], row["items_per_second"]) for row in rows if "items_per_second" in row]
    validated = [(row["step"], row["validation/loss"]) for row in rows if "validation/loss" in row]
    for name, found in (("items_per_second", logged), ("validation/loss", validated)):
        if not found:
            raise UsageError(f"--runs: no {name} in {workdir / 'metrics.jsonl'}")
    steps, speeds = map(np.array, zip(*logged, strict=True))
    seconds_per_step = _items(workdir, trusted) / speeds
    at, losses = zip(*validated, strict=True)
    ends = np.append(steps, max(steps[-1], *at))
    elapsed = np.cumsum(np.diff(ends, prepend=0) * np.append(seconds_per_step, seconds_per_step[-1]))
    return np.interp(at, [0, *ends], [0, *elapsed]) / 60, list(losses)


def _items(workdir: Path, trusted: tuple[str, ...]) -> int:
    """The items of one training batch, as the run's speed counts them."""
    config = rundir.load(workdir)
    spec, batch = rundir.data(workdir)
    model = build.model(config.model, trusted)
    return build.task(config, model, spec, trusted).items.number(batch)


def main(overrides: program.Overrides) -> None:
    labels = FLAGS.labels or [Path(run).name for run in FLAGS.runs]
    if len(labels) != len(FLAGS.runs):
        raise UsageError(f"--labels: one for each of {len(FLAGS.runs)} runs; given {len(labels)}")
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for run, label in zip(FLAGS.runs, labels, strict=True):
        minutes, losses = curve(Path(run), tuple(FLAGS.trust))
        axes.plot(minutes, losses, "o-", ms=3, label=f"{label}: {losses[-1]:.3f}")
        time = f"{minutes[-1]:.1f} minutes" if minutes[-1] >= 1 else f"{60 * minutes[-1]:.1f} seconds"
        print(f"{label}: {losses[-1]:.4f} after {time} of updates")
    axes.set(xlabel="minutes of training", ylabel="validation loss, nats")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(FLAGS.plot, dpi=110)


if __name__ == "__main__":
    program.run(main)
