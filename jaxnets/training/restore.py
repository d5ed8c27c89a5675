"""A trained run, opened to be used."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from jaxnets.data import Dataset
from jaxnets.data.inputs import Inputs
from jaxnets.tasks import Task
from jaxnets.training import build, rundir
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.errors import RunError, UsageError, sentence
from jaxnets.training.state import first_variables


class Run(NamedTuple):
    """Attributes:
    workdir: Its folder.
    config: Its config.
    spec: Meaning of the numbers in its data, such as a vocabulary.
    model, task: Built from the config.
    step: The checkpoint's.
    variables: The model's at that step.
    """

    workdir: Path
    config: ConfigDict
    spec: Any
    model: nn.Module
    task: Task
    step: int
    variables: Any

    def dataset(self) -> Dataset:
        """The run's data, read again; a ``RunError`` where it is no longer what the run learned from."""
        try:
            dataset = build.dataset(self.config)
        except UsageError as error:
            raise RunError(f"the data of this run: {error}") from error
        rundir.check_data(self.workdir, dataset)
        return dataset

    def inputs(self) -> Inputs | None:
        """What became of raw inputs. An earlier version did not save this: then the data is read again."""
        saved = "inputs" in rundir.described(self.workdir)
        return rundir.inputs(self.workdir) if saved else self.dataset().inputs


def open_run(workdir: Path, step: str = "best", trusted: tuple[str, ...] = ()) -> Run:
    """The run in a folder at one of its checkpoints.

    Args:
        workdir: Its folder.
        step: ``best``, ``last`` or a number.
        trusted: Modules outside jaxnets that its config may name.

    Raises:
        RunError: There is no run or no checkpoint, or it cannot be read.
        UsageError: No such step, or a model that must not be imported.
    """
    config = rundir.load(workdir)
    spec, batch = rundir.data(workdir)
    if not (workdir / "checkpoints").is_dir():
        raise RunError(f"no checkpoint in {workdir}: train there first")
    model, task = task_of(config, spec, trusted)
    with built(workdir):
        shapes = jax.eval_shape(lambda batch: first_variables(task.learner, batch, config.seed), batch)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        chosen, variables = checkpoints.restore_variables(step, shapes)
    return Run(workdir, config, spec, model, task, chosen, variables)


def task_of(config: ConfigDict, spec: Any, trusted: tuple[str, ...] = ()) -> tuple[nn.Module, Task]:
    """The model and the task of a config, for data of this meaning."""
    model = build.model(config.model, trusted, outputs=spec.size)
    return model, build.task(config, model, spec)


@contextlib.contextmanager
def built(workdir: Path) -> Iterator[None]:
    """Within it, what a model or JAX below it raises is a ``RunError``: its config may come from somebody else."""
    try:
        yield
    except (UsageError, RunError, OSError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:
        raise RunError(f"the model of the run in {workdir} cannot be used: {sentence(error)}") from error


def no_overrides(overrides: list[tuple[str, str]]) -> None:
    """A trained run has its config; a program that only reads it takes no ``--config.x``."""
    if overrides:
        raise UsageError(f"--config.{overrides[0][0]}: the run's own config is used; it cannot be changed here")
