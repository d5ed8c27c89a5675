"""Training with several processes, such as the hosts of a TPU pod: joining, synchronization and shutdown.

All processes run the same command. Only the first process writes files and prints.
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

PROCESS_ENDED = (
    "another process of this run has ended, so this process ends too; start all processes again to resume from the "
    "last checkpoint"
)
HEARTBEAT_TIMEOUT = 30  # seconds without a heartbeat after which a process counts as dead
JOIN_TIMEOUT = 300  # seconds within which all processes must join
NOT_ALL_JOINED = (
    f"not all processes of this run joined within {JOIN_TIMEOUT} s: "
    "--coordinator_address must be the address of process 0"
)
SHUTDOWN_TIMEOUT = 24 * 3600  # seconds that other processes wait at the end, while the first process writes reports


def join(
    coordinator: str | None, processes: int | None, process: int | None, find: bool = False, brief: bool = True
) -> None:
    """Initializes ``jax.distributed``. It must be called before any other use of JAX.

    Without arguments it does so only if the environment specifies several processes, as on a TPU pod, under Slurm's
    ``srun`` or under Open MPI's ``mpirun``.

    Args:
        coordinator: ``host:port`` of the first process.
        processes: Number of processes.
        process: Index of this process.
        find: Whether to let JAX detect the processes even if these environment variables are not set, for example
            from the metadata of a TPU slice.
        brief: Whether to replace the log messages of JAX's runtime by one sentence.

    Raises:
        UsageError: Only some of the arguments are given, or one is out of range.
        RunError: The other processes did not join in time.
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
        raise UsageError(f"--process_id must be from 0 to {processes - 1} (--num_processes={processes}), got {process}")
    if brief:
        _filter_runtime_messages()
    try:
        # It blocks without calling Python signal handlers, and installs its own handler for SIGTERM (preemption).
        with ended_by_signals():
            jax.distributed.initialize(
                coordinator,
                processes,
                process,
                initialization_timeout=JOIN_TIMEOUT,
                heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
                shutdown_timeout_seconds=SHUTDOWN_TIMEOUT,
                cluster_detection_method="deactivate" if coordinator else None,
            )
    except (RuntimeError, ValueError) as error:
        raise RunError(f"the processes of this run could not connect: {str(error).splitlines()[0]}") from error


def _several_in_environment() -> bool:
    sizes = (os.environ.get(name, "1") for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "")
    return "," in hosts or any(size.isdecimal() and int(size) > 1 for size in sizes)


def is_first() -> bool:
    """Returns whether this is the first process, which writes and prints."""
    return jax.process_index() == 0


def wait(where: str) -> None:
    """Waits until all processes reach this call."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def run_on_all(work: Callable[[], Any]) -> Any:
    """Calls ``work`` in all processes and returns its result. Raises a ``RunError`` if it fails in another process."""
    if jax.process_count() == 1:
        return work()
    failure, result = None, None
    try:
        result = work()
    except Exception as error:
        failure = error
    failed = multihost_utils.process_allgather(np.array(failure is not None))
    if failure is not None:
        raise failure
    if failed.any():
        raise RunError(f"process {np.argmax(failed)} cannot read it")
    return result


def check_same_config(digest: bytes) -> None:
    """Raises a ``RunError`` in all processes if a process has another config or other data than process 0."""
    if jax.process_count() == 1:
        return
    local = np.frombuffer(digest[:8], np.uint32)
    digests = multihost_utils.process_allgather(local).reshape(-1, 2)
    different = np.flatnonzero((digests != digests[0]).any(axis=1))
    if len(different):
        raise RunError(f"process {different[0]} must have the config and the data of process 0, got different ones")


class Agreement:
    """Agreement of all processes on when to stop.

    Each process passes a code at every step, and all processes receive the maximum. With several processes the maximum
    is computed on the devices and returned one step later, so that no step waits for it.
    """

    def __init__(self, mesh: Mesh):
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._max = jax.jit(jax.numpy.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._previous: jax.Array | None = None

    def __call__(self, code: int) -> int:
        """Returns the maximum code over all processes, 0 if no process wants to stop."""
        if jax.process_count() == 1:
            return code
        codes = np.full(jax.local_device_count(), code, np.int32)
        all_codes = jax.make_array_from_process_local_data(self._sharding, codes, (jax.device_count(),))
        previous, self._previous = self._previous, self._max(all_codes)
        return 0 if previous is None else int(previous)


def all_gather(tree: Any) -> Any:
    """Gathers sharded arrays to every process. All processes must call it."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(tree, tiled=True)


def _filter_runtime_messages() -> None:
    """Replaces the log messages of JAX's runtime about a dead process by one sentence.

    The runtime writes them to stderr from its own threads and then kills this process, so that another process must
    filter them.
    """
    faulthandler.disable()  # absl's handler would print the stacks of all threads
    reader = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).with_name("runtime_messages.py")), NOT_ALL_JOINED, PROCESS_ENDED],
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        start_new_session=True,  # Ctrl-C must not end it
    )
    assert reader.stdin is not None
    sys.stderr.flush()
    os.dup2(reader.stdin.fileno(), sys.stderr.fileno())
    reader.stdin.close()
