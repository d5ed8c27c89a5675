"""Validation loss of several runs against the time that their training took, in one picture.

    python -m benchmarks.curves --runs=runs/decoder_lm,runs/lstm --plot=docs/pictures/language_models.png

The time is that of the updates alone, from the speed that each run's ``metrics.jsonl`` states.
"""

from pathlib import Path

from absl import flags
from matplotlib.figure import Figure

from jaxnets import program
from jaxnets.training import metrics, rundir
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

flags.DEFINE_list("runs", None, "Folders of finished runs.", required=True)
flags.DEFINE_list("labels", [], "What they are called; default: the folders' names.")
flags.DEFINE_string("plot", None, "Draw into this file.", required=True)


def curve(workdir: Path) -> tuple[list[float], list[float]]:
    """Minutes and validation losses."""
    _, batch = rundir.data(workdir)
    items = batch["inputs"].size
    minutes, before, elapsed, losses = [], 0.0, 0.0, []
    for row in metrics.read_metrics(workdir):
        if "items_per_second" in row:
            elapsed += (row["step"] - before) * items / row["items_per_second"] / 60
            before = row["step"]
        if "val/loss" in row:
            minutes.append(elapsed)
            losses.append(row["val/loss"])
    if not losses:
        raise UsageError(f"--runs: no validation loss in {workdir}")
    return minutes, losses


def main(overrides: program.Overrides) -> None:
    labels = FLAGS.labels or [Path(run).name for run in FLAGS.runs]
    if len(labels) != len(FLAGS.runs):
        raise UsageError(f"--labels: one for each of {len(FLAGS.runs)} runs; given {len(labels)}")
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for run, label in zip(FLAGS.runs, labels, strict=True):
        minutes, losses = curve(Path(run))
        axes.plot(minutes, losses, "o-", ms=3, label=f"{label}: {losses[-1]:.3f}")
        print(f"{label}: {losses[-1]:.4f} after {minutes[-1]:.1f} minutes of updates")
    axes.set(xlabel="minutes of training", ylabel="validation loss, nats")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(FLAGS.plot, dpi=110)


if __name__ == "__main__":
    program.run(main)
