"""Predictions of a trained run or an export for the rows of a file.

    python -m jaxnets.predict --workdir=runs/digits --input=my.npz --output=predictions.csv
    python -m jaxnets.predict --workdir=runs/char_lm --input=my.txt --output=nats.csv
    python -m jaxnets.predict --workdir=runs/translation --endpoint=generate --input=sentences.txt --output=found.txt
    python -m jaxnets.predict --workdir=runs/tagging --input=my.conll --output=tags.conll

The input is an npz, IDX, CSV or text file, an image or a folder of images. It has no targets, and is preprocessed as in
training. The output is a .csv, .npz or .txt file, .conll for tags of words, or a folder for all artifacts of the task.
An interrupted prediction resumes when the same command is run again.
"""

from jaxnets import startup

startup.prepare(__name__)

import re
import sys
from pathlib import Path

from absl import flags

from jaxnets import program
from jaxnets.data.sources.parts import digest
from jaxnets.learning.partitioning import count_rows
from jaxnets.training import restore
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.prediction import files, predictor, rows
from jaxnets.training.prediction.saved_batches import SavedBatches

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", "runs/char_lm", "Run folder, or folder of an export.")
flags.DEFINE_string("step", "best", "Checkpoint: best (by the task's objective), last, or a step.")
flags.DEFINE_string("input", None, "Input file or folder.", required=True)
flags.DEFINE_string(
    "output", None, "Output file (.csv, .npz, .txt, .conll), or a folder for all artifacts.", required=True
)
flags.DEFINE_string("endpoint", "", "Endpoint of the task; the default is score if the task has it, else predict.")
flags.DEFINE_string("rows", ":", "Range BEGIN:END of input rows, counted from 0; either bound may be omitted.")
flags.DEFINE_integer("batch_size", 64, "Number of rows per batch.", lower_bound=1)
flags.DEFINE_list("trust", [], "Packages outside jaxnets that the run's config may import.")


def main(overrides: program.Overrides) -> None:
    restore.reject_overrides(overrides)
    workdir, output, trusted = Path(FLAGS.workdir), Path(FLAGS.output).expanduser(), tuple(FLAGS.trust)
    if (workdir / "model.json").is_file():
        used = predictor.of_export(workdir, FLAGS.endpoint, trusted)
    else:
        used = predictor.of_run(restore.open_run(workdir, FLAGS.step, trusted), FLAGS.endpoint)
    arrays = files.read(FLAGS.input, used)
    count = count_rows(arrays)
    if not count:
        raise UsageError(f"--input must have at least one row, got none in {FLAGS.input}")
    begin, end = _range(FLAGS.rows, count)
    batch = min(FLAGS.batch_size, end - begin)
    content = {name: [str(array.dtype), array.shape] for name, array in arrays.items()}
    rows_of = {"content": content, "digest": digest([arrays]), "rows": [begin, end, batch]}
    present = lambda outputs: None if used.present is None else used.present(predictor.unnamed(outputs))
    check = lambda outputs: files.check(output, outputs, present(outputs))
    try:
        saved = SavedBatches(output, {**used.identity, **rows_of})
        with restore.run_errors(workdir):
            outputs = rows.compute(used, arrays, begin, end, batch, saved, check)
    except UsageError:  # the outputs do not suit the output file: do not resume from them
        saved.remove()
        raise
    except OSError as error:
        raise RunError(f"cannot write to {output}: {error.strerror}") from error
    labels = {name: arrays[name][begin:end] for name in (*files.LABELS, "times") if name in arrays}
    files.write(output, outputs, present(outputs), begin, labels, files.words(FLAGS.input, used, begin, end))
    saved.remove()
    print(f"predictions for {end - begin:,} rows of {FLAGS.input} are in {output}", file=sys.stderr)


def _range(text: str, count: int) -> tuple[int, int]:
    """Parses ``BEGIN:END`` as a range of rows below ``count``."""
    found = re.fullmatch(r"(\d*):(\d*)", text)
    if found is None:
        raise UsageError(f"--rows must be BEGIN:END, such as 0:1000, got {text!r}")
    begin, end = (int(bound) if bound else default for bound, default in zip(found.groups(), (0, count), strict=True))
    if not 0 <= begin < end <= count:
        raise UsageError(f"--rows must be a nonempty range within the {count:,} rows of the input, got {text!r}")
    return begin, end


if __name__ == "__main__":
    program.run(main)
