"""Shared fixtures: a compilation cache, and programs run as a user runs them."""

import gc
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

# All tests and programs under test run in JAX's strict modes, because users may enable them.
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")

import jax
import pytest

ROOT = Path(__file__).parent.parent
# Programs under test are compiled with the user's flags, not with OWN_FLAGS, also in pytest-xdist workers.
PROGRAMS_FLAGS = os.environ.setdefault("XLA_FLAGS_OF_PROGRAMS", os.environ.get("XLA_FLAGS", ""))
# Tests compile thousands of small programs and run each of them once. Half of the time would be LLVM optimization and
# XLA's newer fusion emitters, and a seventh of the rest the division of a program between threads.
OWN_FLAGS = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if jax.__version_info__ < (0, 11):  # later versions of XLA do not accept this flag
    OWN_FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([PROGRAMS_FLAGS, *OWN_FLAGS])
gc.set_threshold(100_000, 20, 100)  # tracing allocates many objects that stay


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads its options
def pytest_cmdline_main(config) -> None:
    """Under ``-n``, the tests of a file run in one process and share its fixtures, unless ``--dist`` is given."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadfile"
        config.option.loadscopereorder = False  # by the number of tests; see pytest_collection_modifyitems


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Returns the number of processes for ``-n auto``: one per core, at most 8, as each needs gigabytes of memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


@pytest.hookimpl(trylast=True)  # after tests are deselected
def pytest_collection_modifyitems(config, items) -> None:
    """Puts the longest files first, so that all processes end at about the same time.

    A test that starts programs counts as twenty, one with ``@pytest.mark.slow(seconds=300)`` as three hundred.
    """
    if not hasattr(config, "workerinput"):
        return
    sizes: Counter[Path] = Counter()
    for item in items:
        slow = item.get_closest_marker("slow")
        estimate = 20 if "environment" in item.fixturenames else 1
        sizes[item.path] += slow.kwargs.get("seconds", estimate) if slow else estimate
    items.sort(key=lambda item: -sizes[item.path])


@pytest.fixture(scope="module", autouse=True)
def short_collections():
    """Excludes objects in JAX's caches, which earlier modules created, from garbage collection.

    The check for leaked tracers collects garbage often, and takes ten times as long with millions of objects.
    """
    gc.freeze()
    yield
    gc.collect()


def free_port() -> int:
    """Returns a free port of this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.fixture
def float64():
    """Enables 64-bit types for a test."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Environment variables of the programs under test, with a separate compilation cache."""
    cache = tmp_path_factory.mktemp("cache")
    own = {
        "XLA_FLAGS": PROGRAMS_FLAGS,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PLATFORMS": "cpu",
        "MPLBACKEND": "agg",
    }
    return {**os.environ, **own}


@pytest.fixture(scope="session")
def run_program(environment):
    """``run_program("train", "--workdir=...")`` runs a program and returns its output and exit code."""

    def run(
        name: str, *arguments: str, cwd: Path = ROOT, timeout: float = 300, devices: int = 1
    ) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", f"jaxnets.{name}", *map(str, arguments)]
        own = {**environment, "JAX_NUM_CPU_DEVICES": str(devices)}
        return subprocess.run(command, cwd=cwd, env=own, capture_output=True, text=True, timeout=timeout)

    return run


@pytest.fixture
def start_processes(environment):
    """``start_processes(count, devices, *flags)`` starts a training run of several processes, which end with the test.

    ``own=index -> flags`` returns the additional flags of one process.
    """
    started = []

    def start(count: int, devices: int, *flags: str, own=lambda index: ()) -> list[subprocess.Popen]:
        port = free_port()
        path = os.environ.get("PYTHONPATH", "")  # the current value: a test may have added a module
        variables = {**environment, "PYTHONPATH": path, "JAX_NUM_CPU_DEVICES": str(devices)}
        together = (f"--coordinator_address=localhost:{port}", f"--num_processes={count}")
        for index in range(count):
            command = [sys.executable, "-m", "jaxnets.train", *together, f"--process_id={index}", *flags, *own(index)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
            started.append(subprocess.Popen(command, cwd=ROOT, env=variables, **pipes))
        return started[-count:]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def run_on_devices(environment):
    """``run_on_devices(file, "name", ...)`` calls functions of a module of checks on 8 simulated devices."""

    def run(file: Path, *names: str, timeout: float = 300) -> None:
        # More threads than devices, because a device that waits for the others blocks its thread.
        own = {**environment, "XLA_FLAGS": os.environ["XLA_FLAGS"], "JAX_NUM_CPU_DEVICES": "8", "NPROC": "16"}
        calls = f"import {file.stem} as checks; " + "; ".join(f"checks.{name}()" for name in names)
        own["PYTHONPATH"] = os.pathsep.join([str(file.parent), str(ROOT / "tests"), str(ROOT)])
        done = subprocess.run([sys.executable, "-c", calls], env=own, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="session")
def small_text(tmp_path_factory) -> Path:
    """A small text with a regular structure."""
    path = tmp_path_factory.mktemp("text") / "verse.txt"
    path.write_text("".join(f"{n} bottles on the wall, take one down: {n - 1} left.\n" for n in range(300, 0, -1)))
    return path


SMALL = (
    "--config.data.batch_size=4",
    "--config.data.seq_len=8",
    "--config.model.hidden_size=12",
    "--config.model.embed_dim=6",
    "--config.train.evaluate_every=5",
    "--config.train.log_every=5",
)


@pytest.fixture(scope="session")
def small_flags(small_text) -> tuple[str, ...]:
    """Flags that make a config small enough for a test."""
    return (*SMALL, f"--config.data.path={small_text}")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory, run_program, small_flags) -> Path:
    """A finished run of 20 steps."""
    workdir = tmp_path_factory.mktemp("runs") / "small"
    done = run_program("train", f"--workdir={workdir}", *small_flags, "--config.train.steps=20")
    assert done.returncode == 0, done.stderr
    return workdir
