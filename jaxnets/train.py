"""Trains what a config describes.

    python -m jaxnets.train --config=char_lm --workdir=runs/char_lm --config.model.hidden=512

--config is the path of a file or the name of a shipped config; --config.KEY=VALUE changes a setting in it. Started
again with the same command, a run goes on where it was; Ctrl-C and SIGTERM save first.

Settings that every config has, beside its own:

    train.steps, train.minutes          how far it goes; 0 minutes: no limit
    train.evaluate_every, log_every     steps between validations, and between lines of metrics.jsonl
    train.accumulate                    parts of a batch whose gradients are averaged
    train.keep, keep_every              how many of the last checkpoints stay; and all whose step is a multiple
    train.background_saves              goes on while a checkpoint is written; a kill meanwhile repeats those steps too
    train.not_finite                    at a loss or gradient that is not finite: stop, skip (leave the update out) or
                                        roll_back (to the last checkpoint, and on with later data)
    train.not_finite_limit              how often in a row
    train.begin_from, begin_step        a run (best, last or the number of a step) or a safetensors file to begin with
    train.begin_without                 regular expression: parameters whose path has it begin afresh
    train.report_every                  steps between reports (figures, samples); 0: at the end only
    optimizer.frozen                    regular expression: parameters whose path has it are not trained
    optimizer.average                   decay of an average of the parameters that is used in their place; 0: none
    optimizer.plateau, patience         what the learning rate is multiplied by after so many validations without a
                                        smaller loss; 0: none
    devices.model, fully_sharded        devices that heads and hidden units are divided over; whether parameters are
"""

from jaxnets import startup

if __name__ == "__main__":
    startup.prepare()

import contextlib
import shlex
import shutil
import sys
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict

from jaxnets import program
from jaxnets.data import Dataset
from jaxnets.learning import partitioning
from jaxnets.tasks import Task
from jaxnets.training import build, config, loop, rundir
from jaxnets.training.checkpointing import beginning
from jaxnets.training.compiled import Compiled, compile_run
from jaxnets.training.distributed import processes
from jaxnets.training.reporting import flops

FLAGS = flags.FLAGS

flags.DEFINE_string("config", "char_lm", "Path of a config file, or the name of a shipped config.")
flags.DEFINE_string("workdir", None, "Folder of the run; default runs/ and the config's name.")
flags.DEFINE_integer("profile", 0, "Trace so many steps into WORKDIR/profile, after the first one.", lower_bound=0)
flags.DEFINE_bool("join", False, "Join the run's other processes, as found by JAX: the hosts of a TPU slice, Slurm's.")
flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where they are to be named: a port that is free.")
flags.DEFINE_integer("processes", None, "How many processes the run has.")
flags.DEFINE_integer("process", None, "The number of this one, from 0 on.")


def main(overrides: program.Overrides) -> None:
    processes.join(FLAGS.coordinator, FLAGS.processes, FLAGS.process, FLAGS.join, brief=not FLAGS.debug)
    settings = config.load(FLAGS.config)
    config.override(settings, overrides)
    workdir = Path(FLAGS.workdir or Path("runs") / Path(FLAGS.config).stem)
    dataset = build.dataset(settings)
    model = build.model(settings.model, trusted=None, outputs=dataset.spec.size)
    task = build.task(settings, model, dataset.spec)
    compiled = compile_run(settings, dataset, task)
    if not rundir.has_checkpoint(workdir):
        beginning.check(settings.train, task.learner.variables(compiled.abstract.learner))
    processes.check_same(rundir.identity(settings, dataset))
    first = processes.is_first()
    if first:  # before anything is made there, and in claim once more, when nobody else can be in it
        rundir.check(workdir, settings, dataset)
    with rundir.lock(workdir) if first else contextlib.nullcontext():
        if first:
            rundir.claim(workdir, settings, dataset)
            _announce(workdir, settings, dataset, task, compiled)
        processes.wait("the folder is there")
        outcome = loop.train(settings, workdir, dataset, task, compiled, FLAGS.profile)
    if first:
        _report(workdir, settings, outcome)
    if outcome.signal is not None:
        sys.exit(128 + outcome.signal)


def _announce(workdir: Path, settings: ConfigDict, dataset: Dataset, task: Task, compiled: Compiled) -> None:
    device = jax.devices()[0].device_kind
    several = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    print(f"{dataset.description}\n{jax.device_count()} x {device}{several}; run in {workdir}", file=sys.stderr)
    if (copies := compiled.mesh.shape[partitioning.COPIES]) > 1:
        print(f"the batch cannot be divided by all devices: every {copies} read the same rows", file=sys.stderr)
    batch = dataset.train[0]
    if parts := flops.of_task(task, batch):
        shape = "x".join(map(str, jax.tree.leaves(batch)[0].shape))
        print(flops.table(parts, f"{settings.model.name}, one batch {shape}"), file=sys.stderr, flush=True)


def _report(workdir: Path, settings: ConfigDict, outcome: loop.Outcome) -> None:
    if outcome.signal is not None:
        print(f"saved step {outcome.step} in {workdir}; to go on: {_command()}", file=sys.stderr)
        return
    finished = outcome.step >= settings.train.steps
    print(f"at step {outcome.step}; to go on: {_command(steps=2 * settings.train.steps if finished else None)}")
    print(f"figures in {workdir / 'figures'}" + "".join(f"; {name}:\n\n{text}" for name, text in outcome.texts.items()))


def _command(steps: int | None = None) -> str:
    """The command that was given, to be given again."""
    given = sys.argv[1:]
    if steps is not None:
        flags, overrides = program.take_overrides(given)
        others = [f"--config.{key}={value}" for key, value in overrides if key != "train.steps"]
        given = [*flags, *others, f"--config.train.steps={steps}"]
    python = shutil.which("python")
    same = python is not None and Path(python).samefile(sys.executable) and sys.prefix in python
    return shlex.join(["python" if same else sys.executable, "-m", "jaxnets.train", *given])


if __name__ == "__main__":
    program.run(main)
