"""Export of a trained run, so that it can be used without jaxnets.

python -m jaxnets.export --workdir=runs/char_lm
python -m jaxnets.export --workdir=runs/digits --step=last --output=digits_model

The exported folder contains a loader that needs only jax. See docs/guides/export.md.
"""

from jaxnets import startup

startup.prepare(__name__)

from pathlib import Path

from absl import flags

from jaxnets import exported, program
from jaxnets.training import restore
from jaxnets.training.exporting import artifacts, export_folder

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", "runs/char_lm", "Run folder.")
flags.DEFINE_string("step", "best", "Checkpoint: best (by the task's objective), last, or a step.")
flags.DEFINE_string("output", None, "Folder to write; the default is WORKDIR/export.")
flags.DEFINE_bool("overwrite", False, "Replace an export of another run in the same folder.")
flags.DEFINE_list("trust", [], "Packages outside jaxnets that the run's config may import.")


def main(overrides: program.Overrides) -> None:
    restore.reject_overrides(overrides)
    run = restore.open_run(Path(FLAGS.workdir), FLAGS.step, tuple(FLAGS.trust))
    folder = Path(FLAGS.output or run.workdir / "export")
    export_folder.check_replaceable(folder, run, FLAGS.overwrite)
    with restore.run_errors(run.workdir):
        exports = artifacts.of_run(run)
    sizes = export_folder.write(folder, run, exports)
    print(f"{run.config.model.name}, step {run.step}, for {', '.join(artifacts.PLATFORMS)}, in {folder}")
    for name, size in sizes.items():
        print(f"{name:<20}  {size:>14,} bytes")
    (reads,) = export_folder.describe(exports.functions["forward"])["reads"]
    print(f"\nimport sys; sys.path.append({str(folder)!r}); from load import load  # needs only jax")
    # The loader computes REST from the inputs, which are the positional argument.
    names = sorted((name for name in reads if name != exported.REST), key=lambda name: name != "inputs")
    arrays = ", ".join(name if name == "inputs" else f"{name}={name}" for name in names)
    print(f"outputs = load({str(folder)!r})({arrays})")


if __name__ == "__main__":
    program.run(main)
