"""Trains what a config describes.

    python -m jaxnets.train --config=char_lm --workdir=runs/char_lm --config.model.hidden_size=512

--config is the path of a file or the name of a shipped config; --config.KEY=VALUE changes a setting in it. Started
again with the same command, a run goes on where it was; Ctrl-C and SIGTERM save first.

The settings that every config has are listed in docs/settings.md, and those of one config by --print_config. Any
argument of what a config names can be set, whether the config has it or not; another name (--config.model.name,
--config.task, --config.model.cell) drops the arguments of the one before.
"""

from jaxnets import startup

startup.prepare(__name__)

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
from jaxnets.training import build, config, loop, rundir, used_runs
from jaxnets.training.checkpointing import init_from
from jaxnets.training.compiled import Compiled, compile_run
from jaxnets.training.distributed import processes
from jaxnets.training.reporting import flops
from jaxnets.training.settings import shown

FLAGS = flags.FLAGS

flags.DEFINE_string("config", "char_lm", "Path of a config file, or the name of a shipped config; NAME:VARIANT.")
flags.DEFINE_string("workdir", None, "Folder of the run; default runs/ and the config's name.")
flags.DEFINE_bool("print_config", False, "Print all settings, with the defaults of what they name, and exit.")
flags.DEFINE_integer(
    "profile_steps", 0, "Trace so many steps into WORKDIR/profile, after the first one.", lower_bound=0
)
flags.DEFINE_bool("join", False, "Join the run's other processes, as found by JAX: the hosts of a TPU slice, Slurm's.")
flags.DEFINE_string(
    "coordinator_address", None, "HOST:PORT of process 0, where they are to be named: a port that is free."
)
flags.DEFINE_integer("num_processes", None, "How many processes the run has.")
flags.DEFINE_integer("process_id", None, "The number of this one, from 0 on.")


def main(overrides: program.Overrides) -> None:
    processes.join(FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id, FLAGS.join, brief=not FLAGS.debug)
    settings = config.load(FLAGS.config)
    config.override(settings, overrides)
    if FLAGS.print_config:
        print("\n".join(shown.lines(settings)))
        return
    workdir = Path(FLAGS.workdir or Path("runs") / Path(FLAGS.config).name.removesuffix(".py").replace(":", "_"))
    rundir.keep_schedule(workdir, settings)
    dataset = build.dataset(settings, trusted=None)
    model = build.model(settings.model, trusted=None)
    task = build.task(settings, model, dataset.spec, trusted=None)
    compiled = compile_run(settings, dataset, task)
    if not rundir.has_checkpoint(workdir):
        init_from.check(settings.train, task.learner.variables(compiled.abstract.learner))
    processes.check_same(rundir.identity(settings, dataset))
    used = used_runs.digests(settings)
    first = processes.is_first()
    if first:  # before anything is made there, and in claim once more, when nobody else can be in it
        rundir.check(workdir, settings, dataset, used)
    with rundir.lock(workdir) if first else contextlib.nullcontext():
        if first:
            rundir.claim(workdir, settings, dataset, used)
            _announce(workdir, settings, dataset, task, compiled)
        processes.wait("the folder is there")
        outcome = loop.train(settings, workdir, dataset, task, compiled, FLAGS.profile_steps)
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
