"""Checkpoints of a run, saved with orbax.

Checkpoints are saved asynchronously and committed atomically. A checkpoint contains a list of its files with their
digests, and a record with the step, the run, the digest of every array and a digest of the record itself. They are
verified when the checkpoint is restored: stored arrays have no checksum, so that a flipped bit would load as a wrong
number, and a folder can be renamed or can come from another run.
"""

import itertools
import math
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxnets.training.checkpointing import records
from jaxnets.training.checkpointing.concurrent_removal import is_being_removed, list_names, retry
from jaxnets.training.checkpointing.digests import check_digests, digests
from jaxnets.training.checkpointing.file_digests import TemporaryStep, check_files
from jaxnets.training.checkpointing.retention import PreservationPolicy
from jaxnets.training.distributed import processes
from jaxnets.training.errors import RunError, UsageError, format_message
from jaxnets.training.run_files import check_folder, read_run_id


class Checkpoints:
    """Manages the checkpoints in a folder. As a context manager it waits for the last save on exit.

    Args:
        folder: The folder of the checkpoints.
        read_only: Whether to forbid saving and removal.
        max_to_keep: Number of recent checkpoints to keep, in addition to the best one. Older checkpoints are removed
            after the next one has been committed.
        keep_period: Checkpoints at multiples of this number of steps are never removed. 0: none.

    Raises:
        RunError: The folder contains something other than folders and regular files.
    """

    def __init__(self, folder: Path, read_only: bool = False, max_to_keep: int = 2, keep_period: int = 0):
        check_folder(folder)
        self.folder, self._read_only = folder, read_only
        self._run = read_run_id(folder.parent)
        self._scores: dict[int, float] = {}
        options = ocp.CheckpointManagerOptions(
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
            preservation_policy=PreservationPolicy(self._scores, max_to_keep, keep_period),
            temporary_path_class=TemporaryStep,
        )
        self._manager = retry(
            lambda: ocp.CheckpointManager(folder.absolute(), options=options, item_names=("state", "record"))
        )
        self._scores.update(self._valid_scores())

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        try:
            self._manager.close()
        except Exception as error:
            if exception[0] is None:  # do not hide the first error
                raise self._save_error(error) from error

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, in ascending order."""
        return sorted(self._manager.all_steps())

    def save(
        self, step: int, state: Any, data: Any, metrics: dict[str, float] | None, score: float | None = None
    ) -> None:
        """Saves a checkpoint asynchronously.

        Args:
            step: Number of completed updates.
            state: The state tree, a result of ``state_trees.split``.
            data: The position in the data, which JSON can represent.
            metrics: The evaluation metrics, or None.
            score: The score of the checkpoint. The best checkpoint has the lowest score. None: it cannot be the best.

        Raises:
            RunError: This save or the previous one failed. Older checkpoints are not affected.
        """
        record = {"step": step, "run": self._run, "data": data, "metrics": metrics, "score": score}
        record = records.seal({**record, "digests": digests(state)})
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
        self._scores[step] = math.inf if score is None else score
        try:
            self._manager.save(step, args=arguments, force=True)
        except Exception as error:
            raise self._save_error(error) from error

    def check(self) -> None:
        """Raises a ``RunError`` if the last save has failed, without waiting for it."""
        try:
            self._manager.check_for_errors()
        except Exception as error:
            raise self._save_error(error) from error

    def wait(self) -> None:
        """Waits until the last save is committed."""
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise self._save_error(error) from error

    def restore(self, like: Any) -> tuple[int, Any, Any] | None:
        """Restores the last valid checkpoint.

        Later damaged checkpoints are reported on stderr and moved to the folder ``damaged`` next to this folder.

        Args:
            like: The abstract state tree, with optional shardings.

        Returns:
            Step, state tree and position in the data, or None if there are no checkpoints.

        Raises:
            RunError: All checkpoints are damaged.
        """
        found = self._first_valid(lambda: self._ordered("last"), lambda step: self._state(step, like))
        if found is None:
            return None
        step, (state, data), damaged = found
        if damaged:  # the same steps in all processes
            if processes.is_first():
                for damaged_step in damaged:
                    self._move_damaged(damaged_step)
            processes.wait("damaged checkpoints are moved")
            self._manager.reload()
        # The training step donates its buffers, and those of orbax may be shared.
        return step, jax.tree.map(jax.numpy.copy, state), data

    def restore_variables(self, which: str, like: Any, flag: str = "--step") -> tuple[int, Any]:
        """Restores the variables of the model, without the optimizer state.

        Args:
            which: ``best``, ``last`` or a step. If the best (last) checkpoint is damaged, the next best (previous) one
                is restored with a warning on stderr.
            like: The abstract variables, all or some of them.
            flag: The command-line flag that set ``which``, for error messages.

        Returns:
            The step and the variables.

        Raises:
            UsageError: ``which`` is invalid.
            RunError: There are no checkpoints, or all candidates are damaged.
        """
        return self._select(which, flag, lambda step: self._variables(step, like))

    def step_of(self, which: str, flag: str = "--step") -> int:
        """Returns the step that ``restore_variables(which, ...)`` would restore. It raises the same errors."""
        return self._select(which, flag, lambda step: step)[0]

    def shapes(self, which: str, flag: str = "--step") -> Any:
        """Returns the abstract variables of a checkpoint. Arguments and errors as in ``restore_variables``."""

        def read(step: int) -> Any:
            with self._arrays() as manager:
                return manager.item_metadata(step)["state"].tree["variables"]

        leaves = self._select(which, flag, read)[1]
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), leaves)

    def _select(self, which: str, flag: str, read: Callable[[int], Any]) -> tuple[int, Any]:
        list_steps = lambda: self._ordered(which) if which in ("best", "last") else [self._parse_step(which, flag)]
        found = self._first_valid(list_steps, read)
        if found is None:
            raise RunError(f"no checkpoint in {self.folder.parent}: train there first")
        return found[0], found[1]

    def _ordered(self, which: str) -> list[int]:
        """Orders the steps from the last or from the best, damaged ones before the best so that they are reported."""
        steps = self.steps()[::-1]
        return steps if which == "last" else sorted(steps, key=lambda step: self._scores.get(step, -math.inf))

    def _valid_scores(self) -> dict[int, float]:
        """Returns the scores of the checkpoints that are not damaged."""
        return {step: score for step in self.steps() if (score := self._score(step)) is not None}

    def _score(self, step: int) -> float | None:
        """Returns the score of a step: infinity if it has none, None if the checkpoint is damaged."""
        try:
            score = self._record(step)["score"]
            return math.inf if score is None else float(score)
        except Exception:  # reported when the checkpoint is restored
            return None

    def _parse_step(self, text: str, flag: str) -> int:
        steps = self.steps()
        if not (text.isdecimal() and int(text) in steps):
            raise UsageError(f"{flag} must be best, last or one of {', '.join(map(str, steps)) or 'none'}, got {text}")
        return int(text)

    def _first_valid(
        self, list_steps: Callable[[], list[int]], read: Callable[[int], Any]
    ) -> tuple[int, Any, list[int]] | None:
        """Returns the first valid step, its content and the damaged steps before it, or None without steps.

        If a concurrent run has removed a step meanwhile, the step is not damaged, and the search starts again.
        """
        names, steps, index = list_names(self.folder), list_steps(), 0
        while index < len(steps):
            step = steps[index]
            try:
                processes.run_on_all(partial(check_files, self.folder / str(step)))
                self._record(step)
                return step, read(step), steps[:index]
            except Exception as error:
                if self._was_removed(step, names):
                    retry(self._manager.reload)
                    self._scores.update(self._valid_scores())
                    names, steps, index = list_names(self.folder), list_steps(), 0
                    continue
                index += 1
                damaged = f"checkpoint of step {step} in {self.folder} cannot be read: {_reason(error)}"
                if index == len(steps):
                    raise RunError(damaged) from error
                print(f"{damaged}; step {steps[index]} is used", file=sys.stderr)
        return None

    def _was_removed(self, step: int, names: set[str]) -> bool:
        """Returns whether a concurrent run has removed this step or any other, each of which can make orbax fail."""
        folder = self.folder / str(step)
        if not self._read_only:
            return not folder.exists()
        return list_names(self.folder) != names or is_being_removed(folder)

    def _record(self, step: int) -> dict[str, Any]:
        """Reads the record of a step. Raises a ``ValueError`` if it is damaged or belongs to another step or run."""
        restore = ocp.args.Composite(record=ocp.args.JsonRestore())
        return records.unseal(self._manager.restore(step, args=restore)["record"], step, self._run)

    def _state(self, step: int, like: Any) -> tuple[Any, Any]:
        record = self._record(step)
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(_with_devices(like)))
        state = processes.run_on_all(lambda: self._manager.restore(step, args=arguments))["state"]
        check_digests(record["digests"], state)
        return state, record["data"]

    def _variables(self, step: int, like: Any) -> Any:
        record = self._record(step)
        item = {"variables": _with_devices(like)}
        # Without global_shape, orbax would read an array of any stored size.
        restore_args = jax.tree.map(
            lambda leaf: ocp.ArrayRestoreArgs(sharding=leaf.sharding, dtype=leaf.dtype, global_shape=leaf.shape), item
        )
        arguments = ocp.args.PyTreeRestore(item=item, restore_args=restore_args, partial_restore=True)
        with self._arrays() as manager:
            restore = lambda: manager.restore(step, args=ocp.args.Composite(state=arguments))
            state = processes.run_on_all(restore)["state"]
        check_digests(record["digests"], state)
        return state["variables"]

    def _arrays(self) -> ocp.CheckpointManager:
        """Returns a manager that can restore a part of the state tree."""
        handlers = {"state": ocp.PyTreeCheckpointHandler()}
        return ocp.CheckpointManager(self.folder.absolute(), item_handlers=handlers)

    def _move_damaged(self, step: int) -> None:
        """Moves a damaged step to the folder ``damaged``, so that the step can be saved again."""
        folder = self.folder.with_name("damaged")
        paths = (folder / (f"{step}-{suffix}" if suffix else str(step)) for suffix in itertools.count())
        try:
            folder.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(next(path for path in paths if not path.exists()))
        except OSError as error:
            raise RunError(f"cannot move the damaged checkpoint {self.folder / str(step)}: {error.strerror}") from error

    def _save_error(self, error: Exception) -> RunError:
        self._manager.reload()
        last = max(self.steps(), default=None)
        intact = f"the checkpoint of step {last} is intact" if last is not None else "there is no earlier checkpoint"
        return RunError(f"a checkpoint could not be written to {self.folder}: {_reason(error)}; {intact}")


def _with_devices(like: Any) -> Any:
    """Adds the first device to abstract arrays without sharding. Orbax would use the devices of the saving machine."""
    first = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding or first), like)


def _reason(error: BaseException) -> str:
    """Returns the cause of an error without the text that libraries add to it."""
    text = " ".join(str(error).split())
    reason = re.search(r"No space left on device|Permission denied|Read-only file system|File too large", text)
    return reason.group(0) if reason else format_message(text, 200) or type(error).__name__
