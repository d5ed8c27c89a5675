"""Profiles of training steps."""

import sys
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from jaxnets.training.errors import RunError


class Profile:
    """Profiles the steps after the first one, which compiles. As a context manager it stops a running trace on exit.

    Args:
        folder: The folder of the trace, for TensorBoard and Perfetto.
        steps: Number of steps to profile. 0: none.
    """

    def __init__(self, folder: Path, steps: int):
        self._folder = folder
        self._steps = steps
        self._done = -1  # number of profiled steps, -1 before the first step
        self._tracing = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *exception) -> None:
        self._stop()

    def step(self, results: Any) -> None:
        """Counts a step that has been dispatched, with its results."""
        if self._done >= self._steps:
            return
        self._done += 1
        if self._done == 0 and self._steps:
            jax.block_until_ready(results)
            self._start()
        elif self._done == self._steps:
            jax.block_until_ready(results)
            self._stop()

    def _start(self) -> None:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # events of Python calls would hide all others
        jax.profiler.start_trace(self._folder, create_perfetto_trace=True, profiler_options=options)
        self._tracing = True

    def _stop(self) -> None:
        if not self._tracing:
            return
        self._tracing = False
        try:
            jax.profiler.stop_trace()
            trace = max(self._folder.rglob("perfetto_trace.json.gz"), key=lambda path: path.stat().st_mtime)
        except (OSError, RuntimeError, ValueError) as error:
            raise RunError(f"the profile cannot be written to {self._folder}: {error}") from error
        tqdm.write(
            f"profile of {self._done} steps in {self._folder}; to view it: tensorboard --logdir={self._folder} "
            f"(with tensorboard and xprof installed), or open {trace} at https://ui.perfetto.dev",
            file=sys.stderr,
        )
