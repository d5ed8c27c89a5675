"""Interleaved timing of several implementations, shared by all benchmarks.

All implementations run alternately in one process, in a random order per round, so that disturbances affect all of
them. A round during which other processes used the CPU is repeated.
"""

import gc
import importlib.metadata
import json
import os
import platform
import random
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.training.errors import UsageError

SHAPES = ["32x128x128x128", "64x256x256x256", "32x512x512x512", "1x1000x64x64", "128x50x64x512"]
CONTENTION = 0.05  # fraction of all cores used by other processes above which a round is repeated


jax.config.update("jax_enable_compilation_cache", False)  # compilation times must not depend on the cache


class Case(NamedTuple):
    """A function to time.

    Attributes:
        run: Computes once and waits for the result.
        compile_seconds: Compilation time, or None if nothing is compiled.
        temporary_bytes: Temporary memory of the compiled program, or None if it is unknown.
    """

    run: Callable[[], Any]
    compile_seconds: float | None = None
    temporary_bytes: int | None = None


class Timing(NamedTuple):
    """The timing of a case.

    Attributes:
        ms: Milliseconds per call, the median over rounds.
        quartiles: The lower and upper quartiles over rounds, in milliseconds.
        rounds: Milliseconds per call in each round.
        page_faults: Page faults per call.
    """

    ms: float
    quartiles: tuple[float, float]
    rounds: list[float]
    page_faults: float


def compiled(f: Callable, *arguments: Any) -> Case:
    """Compiles ``f`` ahead of time for the given arguments and returns a case."""
    begin = time.perf_counter()
    program = jax.jit(f).lower(*arguments).compile()
    seconds = time.perf_counter() - begin
    memory = program.memory_analysis()
    temporary = None if memory is None else memory.temp_size_in_bytes
    return Case(lambda: jax.block_until_ready(program(*arguments)), seconds, temporary)


def interleaved(cases: dict[str, Case], rounds: int, seconds: float = 0.15) -> tuple[dict[str, Timing], int]:
    """Times all cases alternately.

    Args:
        cases: The cases by name. Each is called twice before the measurement.
        rounds: Number of rounds.
        seconds: Time for the calls of one case in a round, whose median is taken. There is at least one call.

    Returns:
        The timings by name, and the number of rounds that were disturbed in all of three attempts.
    """
    calls = {name: max(1, min(20, int(seconds / max(_second_call(case), 1e-6)))) for name, case in cases.items()}
    found: dict[str, list[float]] = {name: [] for name in cases}
    faults: dict[str, list[float]] = {name: [] for name in cases}
    names, disturbed = list(cases), 0
    for turn in range(rounds):
        for attempt in range(3):
            random.Random(3 * turn + attempt).shuffle(names)
            busy = _others_use_cpu()
            this_round = {name: _turn(cases[name].run, calls[name]) for name in names}
            if not (contended := next(busy)):
                break
        disturbed += contended
        for name, (duration, page_faults) in this_round.items():
            found[name].append(1e3 * duration)
            faults[name].append(page_faults)
    return {
        name: Timing(*_median_and_quartiles(ms), ms, statistics.median(faults[name])) for name, ms in found.items()
    }, disturbed


def _second_call(case: Case) -> float:
    case.run()
    return _turn(case.run, 1)[0]


def _turn(run: Callable[[], Any], calls: int) -> tuple[float, float]:
    """Returns the median time and the page faults per call.

    The first call is not measured, because it starts with cold caches and sleeping threads, unlike in a training loop.
    """
    gc.collect()
    run()
    before, durations = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
    for _ in range(calls):
        begin = time.perf_counter()
        run()
        durations.append(time.perf_counter() - begin)
    return statistics.median(durations), (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / calls


def _median_and_quartiles(samples: list[float]) -> tuple[float, tuple[float, float]]:
    if len(samples) == 1:
        return samples[0], (samples[0], samples[0])
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return median, (low, high)


def ratio(ours: Timing, theirs: Timing) -> float:
    """Returns the median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(ours.rounds, theirs.rounds, strict=True))


def _others_use_cpu() -> Iterator[bool]:
    """Yields whether other processes have used more than ``CONTENTION`` of the cores since the call."""
    stat = Path("/proc/stat")

    def used() -> tuple[float, float, float]:
        ticks = stat.read_text().split("\n", 1)[0].split()[1:] if stat.exists() else ["0"] * 8
        user, nice, system, _, _, irq, softirq, steal = map(int, ticks[:8])
        total = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), total, time.process_time()

    def compare(before: tuple[float, float, float]) -> Iterator[bool]:
        elapsed, total, own = (b - a for a, b in zip(before, used(), strict=True))
        yield total - own > CONTENTION * elapsed * (os.cpu_count() or 1) + 0.02  # two ticks of the clock

    return compare(used())


# ---- the command line


def command() -> str:
    """Returns the command line of this process."""
    spec = sys.modules["__main__"].__spec__
    module = spec.name.removesuffix(".__main__") if spec else sys.argv[0]
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def parse_shape(text: str) -> tuple[int, ...]:
    """Parses a shape of the flag ``--shapes``."""
    sizes = text.split("x")
    if len(sizes) != 4 or not all(size.isdecimal() and int(size) for size in sizes):
        raise UsageError(f"--shapes must be BxTxDxH, such as {SHAPES[0]}, got {text!r}")
    return tuple(map(int, sizes))


# ---- the machine


def product_rate(dtype: Any = jnp.float32, size: int = 2048) -> float:
    """Measures the FLOPs per second of a large matrix product. A multiply-add counts as 2."""
    a = jnp.ones((size, size), dtype)
    case = compiled(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32), a, a)
    times = [_turn(case.run, 3)[0] for _ in range(5)]
    return 2 * size**3 / min(times)


def machine() -> dict[str, Any]:
    """Returns the device and the versions of libraries."""
    peers = ("dm-haiku", "keras", "equinox", "torch", "torchvision", "diffusers", "pytorch-crf")
    names = ("jax", "jaxlib", "jaxnets", "flax", *peers, "numpy")
    device = jax.devices()[0]
    return {
        "device": device.device_kind if device.platform != "cpu" else _processor(),
        "platform": device.platform,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version for name in names if (version := _version(name))},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def write(path: str, result: dict[str, Any]) -> None:
    """Writes a result as JSON and creates its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(result, indent=1) + "\n")
