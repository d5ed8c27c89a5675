"""Checkpoints of a run, through orbax: written in the background, committed whole, some of them kept.

A step has a list of its files with their digests. Its record has the step, the run, a digest of every array and one of
itself. All are compared when it is read: arrays on a disk carry no checksum, so that a flipped bit would load as a
wrong number, and a folder can be renamed or come from another run.
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

from jaxnets.training.checkpointing.digests import check_digests, digests
from jaxnets.training.checkpointing.file_digests import Listed, check_files, sha256
from jaxnets.training.checkpointing.removal import is_being_removed, names_in, read_again
from jaxnets.training.checkpointing.retention import Kept
from jaxnets.training.distributed import processes
from jaxnets.training.errors import RunError, UsageError, one_line
from jaxnets.training.run_files import check_folder, run_of


class Checkpoints:
    """The checkpoints below one folder. A context manager: leaving it waits for the last save.

    Args:
        folder: Theirs.
        read_only: Whether nothing is saved, and nothing removed.
        keep: How many of the last stay, beside the best; others go once the next one is whole on the disk.
        keep_every: Those whose step is a multiple of it stay for ever; 0: none.

    Raises:
        RunError: Something in the folder is neither a folder nor a regular file.
    """

    def __init__(self, folder: Path, read_only: bool = False, keep: int = 2, keep_every: int = 0):
        check_folder(folder)
        self.folder, self._read_only = folder, read_only
        self._run = run_of(folder.parent)
        self._scores: dict[int, float] = {}
        options = ocp.CheckpointManagerOptions(
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
            preservation_policy=Kept(self._scores, keep, keep_every),
            temporary_path_class=Listed,
        )
        self._manager = read_again(
            lambda: ocp.CheckpointManager(folder.absolute(), options=options, item_names=("state", "record"))
        )
        self._scores.update(self._measured())

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        try:
            self._manager.close()
        except Exception as error:
            if exception[0] is None:  # else the first error is the one to tell
                raise self._failed(error) from error

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(
        self, step: int, state: Any, data: Any, metrics: dict[str, float] | None, score: float | None = None
    ) -> None:
        """Saves in the background. Raises a ``RunError`` for this save or the one before; older steps stay whole.

        Args:
            step: Updates done.
            state: Theirs, as ``saved.split`` makes it: a dict with ``variables``.
            data: The position in the data, of which JSON can be made.
            metrics: Those of the validation, or None where there was none.
            score: By which the best checkpoint is chosen, the smallest; None: it is not.
        """
        record = {"step": step, "run": self._run, "data": data, "metrics": metrics, "score": score}
        record["digests"] = digests(state)
        record["sha256"] = sha256(record)
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
        self._scores[step] = math.inf if score is None else score
        try:
            self._manager.save(step, args=arguments, force=True)
        except Exception as error:
            raise self._failed(error) from error

    def check(self) -> None:
        """A ``RunError`` where the last save has failed by now."""
        try:
            self._manager.check_for_errors()
        except Exception as error:
            raise self._failed(error) from error

    def wait(self) -> None:
        """Until the last save is on the disk."""
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise self._failed(error) from error

    def restore(self, like: Any) -> tuple[int, Any, Any] | None:
        """Step, state and data position to go on from, or None where nothing was saved.

        Damaged checkpoints after it are told of on stderr and moved beside the others, into ``damaged``.

        Args:
            like: The shapes of what was saved, with shardings where they are to lie so.

        Raises:
            RunError: There are checkpoints, and none can be read.
        """
        found = self._first_whole(lambda: self._by_preference("last"), lambda step: self._state(step, like))
        if found is None:
            return None
        step, (state, data), damaged = found
        if damaged:  # the same in all processes
            if processes.is_first():
                for other in damaged:
                    self._set_aside(other)
            processes.wait("damaged checkpoints are moved")
            self._manager.reload()
        # Fresh buffers: those of orbax may be shared, and the training step donates them.
        return step, jax.tree.map(jax.numpy.copy, state), data

    def restore_variables(self, which: str, like: Any, flag: str = "--step") -> tuple[int, Any]:
        """A step, and the model's variables at it, without optimizer state.

        Args:
            which: ``best``, ``last`` or the number of a step. Where the one meant is damaged, the next best or the one
                before is taken, and stderr told so; a number means that one only.
            like: The shapes, as ``jax.eval_shape`` gives them, of all variables or of some.
            flag: What ``which`` was given by.

        Raises:
            UsageError: It means none.
            RunError: There are no checkpoints, or none that was asked for can be read.
        """
        return self._chosen(which, flag, lambda step: self._variables(step, like))

    def step_of(self, which: str, flag: str = "--step") -> int:
        """The step that is meant; ``which``, ``flag`` and what is raised as above."""
        return self._chosen(which, flag, lambda step: step)[0]

    def shapes(self, which: str, flag: str = "--step") -> Any:
        """Shapes and types of the model's variables at a step; ``which``, ``flag`` and what is raised as above."""

        def read(step: int) -> Any:
            with self._arrays() as manager:
                return manager.item_metadata(step)["state"].tree["variables"]

        leaves = self._chosen(which, flag, read)[1]
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), leaves)

    def _chosen(self, which: str, flag: str, read: Callable[[int], Any]) -> tuple[int, Any]:
        named = which in ("best", "last")
        found = self._first_whole(lambda: self._by_preference(which) if named else [self._numbered(which, flag)], read)
        if found is None:
            raise RunError(f"no checkpoint in {self.folder.parent}: train there first")
        return found[0], found[1]

    def _by_preference(self, which: str) -> list[int]:
        """From the last, or from the best: first what is damaged and may be that, so that it is told of."""
        steps = self.steps()[::-1]
        return steps if which == "last" else sorted(steps, key=lambda step: self._scores.get(step, -math.inf))

    def _measured(self) -> dict[int, float]:
        """The scores of the steps that are not damaged."""
        return {step: score for step in self.steps() if (score := self._score(step)) is not None}

    def _score(self, step: int) -> float | None:
        """The score of a step; infinite where none was measured, None where it is damaged."""
        try:
            score = self._record(step)["score"]
            return math.inf if score is None else float(score)
        except Exception:  # reported when it is to be used
            return None

    def _numbered(self, text: str, flag: str) -> int:
        steps = self.steps()
        if not (text.isdecimal() and int(text) in steps):
            raise UsageError(f"{flag} must be best, last or one of {', '.join(map(str, steps)) or 'none'}, got {text}")
        return int(text)

    def _first_whole(
        self, list_steps: Callable[[], list[int]], read: Callable[[int], Any]
    ) -> tuple[int, Any, list[int]] | None:
        """The first step that can be read, what was read, and the steps before it; None for no steps.

        A step that a run beside this program has removed meanwhile is not damaged: the steps are listed again.
        """
        there, steps, number = names_in(self.folder), list_steps(), 0
        while number < len(steps):
            step = steps[number]
            try:
                processes.together(partial(check_files, self.folder / str(step)))
                self._record(step)
                return step, read(step), steps[:number]
            except Exception as error:
                if self._has_changed(step, there):
                    read_again(self._manager.reload)
                    self._scores.update(self._measured())
                    there, steps, number = names_in(self.folder), list_steps(), 0
                    continue
                number += 1
                damaged = f"checkpoint of step {step} in {self.folder} cannot be read: {_short(error)}"
                if number == len(steps):
                    raise RunError(damaged) from error
                print(f"{damaged}; step {steps[number]} is used", file=sys.stderr)
        return None

    def _has_changed(self, step: int, there: set[str]) -> bool:
        """Whether a run beside this program has removed a step, or others meanwhile: orbax may miss any of them."""
        folder = self.folder / str(step)
        if not self._read_only:
            return not folder.exists()
        return names_in(self.folder) != there or is_being_removed(folder)

    def _record(self, step: int) -> dict[str, Any]:
        """What was noted with a step; a ``ValueError`` where it is not what was written, or of another step or run."""
        restore = ocp.args.Composite(record=ocp.args.JsonRestore())
        record = self._manager.restore(step, args=restore)["record"]
        if not isinstance(record, dict) or record.pop("sha256", None) != sha256(record):
            raise ValueError("its record is damaged")
        kinds: dict[str, Any] = {"step": int, "run": str | None, "data": dict, "metrics": dict | None}
        kinds |= {"score": float | int | None, "digests": dict}
        for name, kind in kinds.items():
            if name not in record or not isinstance(record[name], kind):
                raise ValueError(f"its record has a {name} of a wrong type: {record.get(name)!r}")
        for name, value in (record["metrics"] or {}).items():
            if type(value) not in (int, float):
                raise ValueError(f"{name} in its record must be a number, got {value!r}")
        if record["step"] != step:
            raise ValueError(f"it is that of step {record['step']}")
        if record["run"] != self._run:
            raise ValueError("it is that of another run")
        return record

    def _state(self, step: int, like: Any) -> tuple[Any, Any]:
        record = self._record(step)
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(_here(like)))
        state = processes.together(lambda: self._manager.restore(step, args=arguments))["state"]
        check_digests(record["digests"], state)
        return state, record["data"]

    def _variables(self, step: int, like: Any) -> Any:
        record = self._record(step)
        item = {"variables": _here(like)}
        # With the shapes that are expected: what is stored may be of any size, and would be read whole.
        places = jax.tree.map(
            lambda leaf: ocp.ArrayRestoreArgs(sharding=leaf.sharding, dtype=leaf.dtype, global_shape=leaf.shape), item
        )
        arguments = ocp.args.PyTreeRestore(item=item, restore_args=places, partial_restore=True)
        with self._arrays() as manager:
            restore = lambda: manager.restore(step, args=ocp.args.Composite(state=arguments))
            state = processes.together(restore)["state"]
        check_digests(record["digests"], state)
        return state["variables"]

    def _arrays(self) -> ocp.CheckpointManager:
        """What reads some of the arrays of a state."""
        handlers = {"state": ocp.PyTreeCheckpointHandler()}
        return ocp.CheckpointManager(self.folder.absolute(), item_handlers=handlers)

    def _set_aside(self, step: int) -> None:
        """Moves a damaged step out of the way of the one that will be saved in its place."""
        beside = self.folder.with_name("damaged")
        names = (beside / (f"{step}-{number}" if number else str(step)) for number in itertools.count())
        try:
            beside.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(next(name for name in names if not name.exists()))
        except OSError as error:
            raise RunError(f"cannot move the damaged checkpoint {self.folder / str(step)}: {error.strerror}") from error

    def _failed(self, error: Exception) -> RunError:
        self._manager.reload()
        good = max(self.steps(), default=None)
        kept = f"the checkpoint of step {good} is intact" if good is not None else "there is no earlier checkpoint"
        return RunError(f"a checkpoint could not be written to {self.folder}: {_short(error)}; {kept}")


def _here(like: Any) -> Any:
    """The shapes where they say, or else on the first device: not on those of the machine that saved them."""
    first = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding or first), like)


def _short(error: BaseException) -> str:
    """The reason of an error without the layers around it."""
    text = " ".join(str(error).split())
    reason = re.search(r"No space left on device|Permission denied|Read-only file system|File too large", text)
    return reason.group(0) if reason else one_line(text, 200) or type(error).__name__
