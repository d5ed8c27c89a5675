"""Training of the model, data and task of a config.

    python -m jaxnets.train --config=char_lm --workdir=runs/char_lm --config.model.hidden_size=512

--config is a file or the name of a shipped config. --config.KEY=VALUE changes a setting. Ctrl-C and SIGTERM save a
checkpoint and stop; the same command resumes the run.

docs/settings.md lists the settings that all configs have, and --print_config lists all settings of one config. Every
argument of a function or class that a config names can be set, also if the config does not list it. A new name
(--config.model.name, --config.task, --config.model.cell) drops the arguments of the old one.
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

flags.DEFINE_string("config", "char_lm", "Config file or name of a shipped config; NAME:VARIANT selects a variant.")
flags.DEFINE_string("workdir", None, "Run folder; the default is runs/ and the config's name.")
flags.DEFINE_bool("print_config", False, "Print all settings with their defaults, and exit.")
flags.DEFINE_integer(
    "profile_steps",
    0,
    "Number of steps to profile after the first one; the trace is written to WORKDIR/profile.",
    lower_bound=0,
)
flags.DEFINE_bool(
    "join", False, "Train in several processes that JAX detects, such as the hosts of a TPU slice or of a Slurm job."
)
flags.DEFINE_string(
    "coordinator_address",
    None,
    "HOST:PORT of process 0, with a free port; required if JAX cannot detect the processes.",
)
flags.DEFINE_integer("num_processes", None, "Number of processes of the run.")
flags.DEFINE_integer("process_id", None, "Index of this process, from 0.")


def main(overrides: program.Overrides) -> None:
    processes.join(FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id, FLAGS.join, brief=not FLAGS.debug)
    settings = config.load(FLAGS.config)
    config.override(settings, overrides)
    if FLAGS.print_config:
        print("\n".join(shown.lines(settings)))
        return
    workdir = Path(FLAGS.workdir or Path("runs") / Path(FLAGS.config).name.removesuffix(".py").replace(":", "_"))
    rundir.set_schedule_steps(workdir, settings)
    dataset = build.dataset(settings, trusted=None)
    model = build.model(settings.model, trusted=None)
    task = build.task(settings, model, dataset.spec, trusted=None)
    compiled = compile_run(settings, dataset, task)
    if not rundir.has_checkpoint(workdir):
        init_from.check(settings.train, task.learner.variables(compiled.abstract.learner))
    processes.check_same_config(rundir.run_digest(settings, dataset))
    used = used_runs.digests(settings)
    first = processes.is_first()
    if first:  # before lock creates the folder; claim checks again while it holds the lock
        rundir.check(workdir, settings, dataset, used)
    with rundir.lock(workdir) if first else contextlib.nullcontext():
        if first:
            rundir.claim(workdir, settings, dataset, used)
            _announce(workdir, settings, dataset, task, compiled)
        processes.wait("the folder exists")
        outcome = loop.train(settings, workdir, dataset, task, compiled, FLAGS.profile_steps)
    if first:
        _report(workdir, settings, outcome)
    if outcome.signal is not None:
        sys.exit(128 + outcome.signal)


def _announce(workdir: Path, settings: ConfigDict, dataset: Dataset, task: Task, compiled: Compiled) -> None:
    device = jax.devices()[0].device_kind
    processes_text = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    print(
        f"{dataset.description}\n{jax.device_count()} x {device}{processes_text}; run folder {workdir}", file=sys.stderr
    )
    if (copies := compiled.mesh.shape[partitioning.COPIES]) > 1:
        print(
            f"the batch cannot be divided over all devices: each row is computed on {copies} devices", file=sys.stderr
        )
    table = flops.table(flops.count_task(task, dataset.train[0]), f"{settings.model.name}, one example")
    print(table, file=sys.stderr, flush=True)


def _report(workdir: Path, settings: ConfigDict, outcome: loop.Outcome) -> None:
    if outcome.signal is not None:
        print(f"saved step {outcome.step} in {workdir}; to resume: {_command()}", file=sys.stderr)
        return
    finished = outcome.step >= settings.train.steps
    print(f"at step {outcome.step}; to continue: {_command(steps=2 * settings.train.steps if finished else None)}")
    print(
        f"figures are in {workdir / 'figures'}"
        + "".join(f"; {name}:\n\n{text}" for name, text in outcome.texts.items())
    )


def _command(steps: int | None = None) -> str:
    """Returns the command line of this program, optionally with another ``train.steps``."""
    arguments = sys.argv[1:]
    if steps is not None:
        flags, overrides = program.take_overrides(arguments)
        others = [f"--config.{key}={value}" for key, value in overrides if key != "train.steps"]
        arguments = [*flags, *others, f"--config.train.steps={steps}"]
    python = shutil.which("python")
    same = python is not None and Path(python).samefile(sys.executable) and sys.prefix in python
    return shlex.join(["python" if same else sys.executable, "-m", "jaxnets.train", *arguments])


if __name__ == "__main__":
    program.run(main)
