"""Checkpoints of a run, through orbax: the last two and the best; written in the background, committed whole."""

import math
import re
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.state import State


class Checkpoints:
    """The checkpoints below one folder. A context manager: leaving it waits for the last save."""

    def __init__(self, folder: Path, read_only: bool = False):
        self.folder = folder
        best = preservation_policy.BestN(
            get_metric_fn=lambda metrics: metrics["val/loss"], reverse=True, n=1, keep_checkpoints_without_metrics=False
        )
        policy = preservation_policy.AnyPreservationPolicy([preservation_policy.LatestN(2), best])
        options = ocp.CheckpointManagerOptions(
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
            preservation_policy=policy,
            best_fn=lambda metrics: metrics["val/loss"],
            best_mode="min",
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options, item_names=("state", "data"))

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

    def metrics(self, step: int) -> dict[str, float]:
        return self._manager.metrics(step) or {}

    def best(self) -> int | None:
        """The step of the smallest validation loss, or the last where none was measured."""
        losses = {step: self.metrics(step).get("val/loss", math.nan) for step in self.steps()}
        measured = {step: loss for step, loss in losses.items() if math.isfinite(loss)}
        return min(measured, key=lambda step: measured[step]) if measured else max(self.steps(), default=None)

    def save(self, step: int, state: State, data: Any, metrics: dict[str, float] | None) -> None:
        """Saves in the background. Raises a ``RunError`` for this save or the one before; older steps stay whole."""
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data))
        try:
            self._manager.save(step, args=arguments, metrics=metrics, force=True)
        except Exception as error:
            raise self._failed(error) from error

    def wait(self) -> None:
        """Until the last save is on the disk."""
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise self._failed(error) from error

    def restore(self, step: int, like: State) -> tuple[State, Any]:
        """State and data position of a step; ``like`` has the shapes, as ``jax.eval_shape`` gives them."""
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])  # not that of the machine which saved it
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), like)
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(like), data=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(step, args=arguments)
        except Exception as error:
            raise self._unreadable(step, error) from error
        # Fresh buffers: those of orbax may be shared, and the training step donates them.
        return jax.tree.map(jax.numpy.copy, restored["state"]), restored["data"]

    def restore_variables(self, step: int, like: Any) -> Any:
        """The model's variables of a step, without optimiser state."""
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        restore = jax.tree.map(lambda leaf: ocp.ArrayRestoreArgs(sharding=here, dtype=leaf.dtype), {"variables": like})
        arguments = ocp.args.PyTreeRestore(item={"variables": like}, restore_args=restore, partial_restore=True)
        handlers = {"state": ocp.PyTreeCheckpointHandler()}
        try:
            with ocp.CheckpointManager(self.folder.absolute(), item_handlers=handlers) as manager:
                return manager.restore(step, args=ocp.args.Composite(state=arguments))["state"]["variables"]
        except Exception as error:
            raise self._unreadable(step, error) from error

    def _unreadable(self, step: int, error: Exception) -> RunError:
        others = ", ".join(str(other) for other in self.steps() if other != step)
        way_out = f"; remove {self.folder / str(step)} to use step {others}" if others else ""
        return RunError(f"checkpoint of step {step} in {self.folder} cannot be read: {_short(error)}{way_out}")

    def _failed(self, error: Exception) -> RunError:
        self._manager.reload()
        good = max(self.steps(), default=None)
        kept = f"the checkpoint of step {good} is intact" if good is not None else "there is no earlier checkpoint"
        return RunError(f"a checkpoint could not be written to {self.folder}: {_short(error)}; {kept}")

    def choose(self, which: str) -> int:
        """The step that ``best``, ``last`` or a number means.

        Raises:
            UsageError: It means none.
        """
        steps = self.steps()
        if not steps:
            raise RunError(f"no checkpoint in {self.folder.parent}: train there first")
        if which in ("best", "last"):
            best = self.best()
            return steps[-1] if which == "last" or best is None else best
        if which.isdecimal() and int(which) in steps:
            return int(which)
        raise UsageError(f"--step={which}: best, last or one of {', '.join(map(str, steps))} expected")


def _short(error: BaseException) -> str:
    """The reason of an error without the layers around it."""
    text = " ".join(str(error).split())
    reason = re.search(r"No space left on device|Permission denied|Read-only file system|File too large", text)
    return reason.group(0) if reason else text[:300] or type(error).__name__
