"""A trained run, opened to be used."""

from pathlib import Path
from typing import Any, NamedTuple

from flax import linen as nn
from ml_collections import ConfigDict

from jaxnets.data import Dataset
from jaxnets.data.inputs import Inputs
from jaxnets.tasks import Task
from jaxnets.training import build, rundir
from jaxnets.training.errors import RunError, UsageError

built = build.built


class Run(NamedTuple):
    """Attributes:
    workdir: Its folder.
    config: Its config.
    spec: Meaning of the numbers in its data, such as a vocabulary.
    model, task: Built from the config.
    step: The checkpoint's.
    variables: The model's at that step.
    trusted: Packages outside jaxnets that its config may name.
    """

    workdir: Path
    config: ConfigDict
    spec: Any
    model: nn.Module
    task: Task
    step: int
    variables: Any
    trusted: tuple[str, ...] = ()

    def dataset(self) -> Dataset:
        """The run's data, read again; a ``RunError`` where it is no longer what the run learned from."""
        try:
            dataset = build.dataset(self.config, self.trusted)
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
        trusted: Packages outside jaxnets that its config may name.

    Raises:
        RunError: There is no run or no checkpoint, or it cannot be read.
        UsageError: No such step, or something that must not be imported.
    """
    run = build.opened(workdir, step, trusted)
    return Run(workdir, run.config, run.spec, run.model, run.task, run.step, run.variables, trusted)


def no_overrides(overrides: list[tuple[str, str]]) -> None:
    """A trained run has its config; a program that only reads it takes no ``--config.x``."""
    if overrides:
        raise UsageError(f"--config.{overrides[0][0]}: the run's own config is used; it cannot be changed here")
