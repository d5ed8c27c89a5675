"""Compares runs: one table of what they reached and how they differ, and one plot by step and by time.

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
from jaxnets.ops.files import write_atomically
from jaxnets.reports.comparison import comparison as draw
from jaxnets.training import restore
from jaxnets.training.errors import UsageError
from jaxnets.training.reporting import artifacts, comparison
from jaxnets.training.reporting.metrics import label

FLAGS = flags.FLAGS

flags.DEFINE_list("runs", None, "Folders of the runs, with commas between them.", required=True)
flags.DEFINE_list("labels", None, "What they are called; default the folders' names.")
flags.DEFINE_string("metric", None, "What is compared, such as validation/accuracy; default the runs' objective.")
flags.DEFINE_string("csv", None, "Write the table into this file, with all digits.")
flags.DEFINE_string("markdown", None, "Write the table into this file.")
flags.DEFINE_string("plot", None, "Draw into this file; its ending is its format, such as .png or .svg.")
flags.DEFINE_list("trust", [], "Packages outside jaxnets that the runs' configs may name.")


def main(overrides: program.Overrides) -> None:
    restore.no_overrides(overrides)
    if not FLAGS.runs:
        raise UsageError("--runs must be at least one folder of a run, got none")
    named = zip(FLAGS.runs, _labels(FLAGS.runs, FLAGS.labels), strict=True)
    runs = [comparison.open_trained(Path(run), label, tuple(FLAGS.trust)) for run, label in named]
    metric = comparison.main_metric(runs, FLAGS.metric)
    table = comparison.table(runs, metric)
    print(comparison.as_text(table, shutil.get_terminal_size().columns))
    if FLAGS.csv:
        write_atomically(Path(FLAGS.csv), artifacts.csv_of(table))
    if FLAGS.markdown:
        write_atomically(Path(FLAGS.markdown), comparison.as_markdown(table))
    if FLAGS.plot:
        _plot(runs, metric, Path(FLAGS.plot))


def _labels(runs: list[str], labels: list[str] | None) -> list[str]:
    """The names of the runs: those that are given, or the folders' own where no two have the same."""
    if labels is not None:
        if len(labels) != len(runs):
            raise UsageError(f"--labels must be one for each of the {len(runs)} runs, got {len(labels)}")
        return labels
    names = [Path(run).resolve().name for run in runs]
    return names if len(set(names)) == len(names) else runs


def _plot(runs: list[comparison.Trained], metric: str, path: Path) -> None:
    curves = [found for run in runs if (found := comparison.curve(run, metric)) is not None]
    if untimed := [curve.label for curve in curves if curve.seconds is None]:
        told = f"{', '.join(untimed)}: begun by an earlier version, which measured no seconds; left out by time"
        print(told, file=sys.stderr)
    quantity = metric.partition("/")[2]
    units = {run.units.get(quantity) for run in runs}
    unit = units.pop() if len(units) == 1 else None
    figure = draw(curves, f"{metric.partition('/')[0]} {label(quantity, {quantity: unit} if unit else {})}")
    try:
        figure.savefig(path, dpi=110)
    except ValueError as error:  # an ending that matplotlib does not know
        raise UsageError(f"--plot: {error}") from error


if __name__ == "__main__":
    program.run(main)
