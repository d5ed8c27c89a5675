"""Comparison of runs: a table of their metrics and settings, and a plot of one metric by step and by time.

python -m jaxnets.compare --runs=runs/lstm,runs/gru
python -m jaxnets.compare --runs=runs/lstm,runs/gru --labels=LSTM,GRU --csv=cells.csv --plot=cells.png
"""

from jaxnets import startup

startup.prepare(__name__)

import shutil
import sys
from pathlib import Path

from absl import flags

from jaxnets import program
from jaxnets.ops.host.files import write_atomically
from jaxnets.reports.comparison import plot_curves as draw
from jaxnets.training import restore
from jaxnets.training.errors import UsageError
from jaxnets.training.reporting import artifacts, comparison
from jaxnets.training.reporting.metrics import label

FLAGS = flags.FLAGS

flags.DEFINE_list("runs", None, "Run folders, separated by commas.", required=True)
flags.DEFINE_list(
    "labels", None, "Names of the runs in the table and the plot, separated by commas; the default is the folder names."
)
flags.DEFINE_string(
    "metric", None, "Metric to compare, such as validation/accuracy; the default is the runs' objective."
)
flags.DEFINE_string("csv", None, "CSV file for the table, with all digits.")
flags.DEFINE_string("markdown", None, "Markdown file for the table.")
flags.DEFINE_string("plot", None, "Image file for the plot; the suffix sets the format, such as .png or .svg.")
flags.DEFINE_list("trust", [], "Packages outside jaxnets that the runs' configs may import.")


def main(overrides: program.Overrides) -> None:
    restore.reject_overrides(overrides)
    if not FLAGS.runs:
        raise UsageError("--runs must name at least one run folder, got none")
    labels = _labels(FLAGS.runs, FLAGS.labels)
    trusted = tuple(FLAGS.trust)
    runs = [
        comparison.open_for_comparison(Path(run), label, trusted) for run, label in zip(FLAGS.runs, labels, strict=True)
    ]
    metric = comparison.main_metric(runs, FLAGS.metric)
    table = comparison.table(runs, metric)
    print(comparison.as_text(table, shutil.get_terminal_size().columns))
    if FLAGS.csv:
        write_atomically(Path(FLAGS.csv), artifacts.to_csv(table))
    if FLAGS.markdown:
        write_atomically(Path(FLAGS.markdown), comparison.as_markdown(table))
    if FLAGS.plot:
        _plot(runs, metric, Path(FLAGS.plot))


def _labels(runs: list[str], labels: list[str] | None) -> list[str]:
    """Returns the labels of the flag, or the folder names if they are unique, or the whole paths."""
    if labels is not None:
        if len(labels) != len(runs):
            raise UsageError(f"--labels must have one label for each of the {len(runs)} runs, got {len(labels)}")
        return labels
    names = [Path(run).resolve().name for run in runs]
    return names if len(set(names)) == len(names) else runs


def _plot(runs: list[comparison.ComparedRun], metric: str, path: Path) -> None:
    curves = [found for run in runs if (found := comparison.curve(run, metric)) is not None]
    if untimed := [curve.label for curve in curves if curve.seconds is None]:
        message = "not in the plot by time, because an earlier version that did not record time started it"
        print(f"{', '.join(untimed)}: {message}", file=sys.stderr)
    quantity = metric.partition("/")[2]
    units = {run.units.get(quantity) for run in runs}
    unit = units.pop() if len(units) == 1 else None
    figure = draw(curves, f"{metric.partition('/')[0]} {label(quantity, {quantity: unit} if unit else {})}")
    try:
        figure.savefig(path, dpi=110)
    except ValueError as error:  # matplotlib does not support the suffix
        raise UsageError(f"--plot: {error}") from error


if __name__ == "__main__":
    program.run(main)
