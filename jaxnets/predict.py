"""Applies a trained run, or an export, to a file.

    python -m jaxnets.predict --workdir=runs/digits --input=my.npz --output=predictions.csv
    python -m jaxnets.predict --workdir=runs/char_lm --input=my.txt --output=nats.csv
    python -m jaxnets.predict --workdir=runs/translation --endpoint=generate --input=sentences.txt --output=found.txt

The file is read as the run's data were, without targets, and preprocessed as in training: npz, IDX, CSV, text, an image
or a folder of images. The output is .csv, .npz, .txt, or else a folder that gets all artifacts of the task. Started
again with the same command, it goes on where it was.
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
from jaxnets.training.prediction.parts import Parts

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", "runs/char_lm", "Folder of a run, or of an export.")
flags.DEFINE_string("step", "best", "Checkpoint: best (by the task's objective), last, or the number of a step.")
flags.DEFINE_string("input", None, "File or folder that the model is applied to.", required=True)
flags.DEFINE_string("output", None, "File, .csv, .npz or .txt, or a folder that gets all artifacts.", required=True)
flags.DEFINE_string("endpoint", "", "Use of the model; default score where the task has it (of texts), else predict.")
flags.DEFINE_string("rows", ":", "BEGIN:END, which rows of the input, from 0 on; either may be left out.")
flags.DEFINE_integer("batch_size", 64, "Rows that are computed at once.", lower_bound=1)
flags.DEFINE_list("trust", [], "Packages outside jaxnets that the run's config may name.")


def main(overrides: program.Overrides) -> None:
    restore.no_overrides(overrides)
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
        parts = Parts(output, {**used.identity, **rows_of})
        with restore.built(workdir):
            outputs = rows.compute(used, arrays, begin, end, batch, parts, check)
    except UsageError:  # of an output that cannot be written so: nothing of it is kept
        parts.remove()
        raise
    except OSError as error:
        raise RunError(f"cannot write to {output}: {error.strerror}") from error
    files.write(output, outputs, present(outputs), begin, arrays["file"][begin:end] if "file" in arrays else ())
    parts.remove()
    print(f"{end - begin:,} rows of {FLAGS.input} in {output}", file=sys.stderr)


def _range(text: str, count: int) -> tuple[int, int]:
    """The rows of ``BEGIN:END``, of so many that there are."""
    found = re.fullmatch(r"(\d*):(\d*)", text)
    if found is None:
        raise UsageError(f"--rows must be BEGIN:END, such as 0:1000, got {text!r}")
    begin, end = (
        int(number) if number else default for number, default in zip(found.groups(), (0, count), strict=True)
    )
    if not 0 <= begin < end <= count:
        raise UsageError(f"--rows must be within the {count:,} rows of the input, got {text!r}")
    return begin, end


if __name__ == "__main__":
    program.run(main)
