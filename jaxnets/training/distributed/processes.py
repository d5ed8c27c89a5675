"""One run on several processes, such as the hosts of a TPU pod: how they find each other, agree, and end together.

All run the same command. The first one writes and prints; the others compute.
"""

import faulthandler
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.interruption import ended_by_signals

ANOTHER_ENDED = (
    "another process of this run has ended, so this one ends; start all of them again, and they go on from the last "
    "checkpoint"
)
HEARTBEAT = 30  # seconds without a sign of a process after which it is taken for dead
JOINING = 300  # seconds until all must be there
MISSING = (
    f"not all processes of this run were there within {JOINING} s: "
    "--coordinator_address must be the address of process 0"
)
LEAVING = 24 * 3600  # seconds that the others wait at the end, while the first one draws


def join(
    coordinator: str | None, processes: int | None, process: int | None, find: bool = False, brief: bool = True
) -> None:
    """Joins the other processes of the run, before anything else of JAX is used; nothing where there are none.

    Without arguments it does so where the environment names more than one: a TPU pod's, Slurm's ``srun`` or Open MPI's
    ``mpirun``.

    Args:
        coordinator: ``host:port`` of the first process.
        processes: How many there are.
        process: The number of this one, from 0 on.
        find: The environment names them, in a way that is not looked for unasked: a TPU slice by its metadata.
        brief: The runtime's own reports are one sentence.

    Raises:
        UsageError: Only some of these are given, or one is out of range.
        RunError: The others were not there in time.
    """
    given = {"coordinator_address": coordinator, "num_processes": processes, "process_id": process}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given) and not (find or _several_in_environment()):
        return
    if 0 < len(missing) < len(given):
        raise UsageError(
            f"--{missing[0]} is missing: several processes need --coordinator_address, --num_processes and --process_id"
        )
    if coordinator is not None and not coordinator.rpartition(":")[2].isdecimal():
        raise UsageError(f"--coordinator_address must be HOST:PORT, got {coordinator}")
    if processes is not None and process is not None and not 0 <= process < processes:
        raise UsageError(f"--process_id must be from 0 to {processes - 1}, one of {processes}, got {process}")
    if brief:
        _tell_briefly()
    try:
        # It waits where no handler of ours is called, and leaves one of its own for SIGTERM, a notice of preemption.
        with ended_by_signals():
            jax.distributed.initialize(
                coordinator,
                processes,
                process,
                initialization_timeout=JOINING,
                heartbeat_timeout_seconds=HEARTBEAT,
                shutdown_timeout_seconds=LEAVING,
                cluster_detection_method="deactivate" if coordinator else None,
            )
    except (RuntimeError, ValueError) as error:
        raise RunError(f"the processes of this run did not find each other: {str(error).splitlines()[0]}") from error


def _several_in_environment() -> bool:
    sizes = (os.environ.get(name, "1") for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "")
    return "," in hosts or any(size.isdecimal() and int(size) > 1 for size in sizes)


def is_first() -> bool:
    """Whether this process writes and prints."""
    return jax.process_index() == 0


def wait(where: str) -> None:
    """Until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def together(work: Callable[[], Any]) -> Any:
    """What ``work`` gives; a ``RunError`` too where it fails in another process only."""
    if jax.process_count() == 1:
        return work()
    failure, done = None, None
    try:
        done = work()
    except Exception as error:
        failure = error
    failed = multihost_utils.process_allgather(np.array(failure is not None))
    if failure is not None:
        raise failure
    if failed.any():
        raise RunError(f"process {np.argmax(failed)} cannot read it")
    return done


def check_same(digest: bytes) -> None:
    """A ``RunError`` where a process has another config, or other data, than the first; told by all."""
    if jax.process_count() == 1:
        return
    own = np.frombuffer(digest[:8], np.uint32)
    found = multihost_utils.process_allgather(own).reshape(-1, 2)
    other = np.flatnonzero((found != found[0]).any(axis=1))
    if len(other):
        raise RunError(f"process {other[0]} was started with another config, or finds other data, than process 0")


class Agreement:
    """What one process wishes happens in all of them at the same step.

    With several, a wish is heard one step later, so that no step waits for it: the largest of all is computed on the
    devices, as the step before it is.
    """

    def __init__(self, mesh: Mesh):
        self._each = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._largest = jax.jit(jax.numpy.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._before: jax.Array | None = None

    def __call__(self, wish: int) -> int:
        """The largest wish; 0 is none."""
        if jax.process_count() == 1:
            return wish
        wishes = np.full(jax.local_device_count(), wish, np.int32)
        of_all = jax.make_array_from_process_local_data(self._each, wishes, (jax.device_count(),))
        heard, self._before = self._before, self._largest(of_all)
        return 0 if heard is None else int(heard)


def whole(tree: Any) -> Any:
    """Arrays that lie on devices of all processes, as those of this one; all processes must ask."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(tree, tiled=True)


def _tell_briefly() -> None:
    """Lets the runtime's reports on a dead process, which come from threads no Python code hears, be one sentence.

    They go to stderr just before the runtime ends this process, so another one must read them.
    """
    faulthandler.disable()  # of absl: it would add the stacks of all threads
    reader = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).with_name("runtime_messages.py")), MISSING, ANOTHER_ENDED],
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        start_new_session=True,  # it must outlive a Ctrl-C
    )
    assert reader.stdin is not None
    sys.stderr.flush()
    os.dup2(reader.stdin.fileno(), sys.stderr.fileno())
    reader.stdin.close()
