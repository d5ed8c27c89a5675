"""Honest timing of implementations beside each other: what every benchmark here shares.

All implementations of a row live in one process and take turns, each round in another order, so that what disturbs the
machine disturbs them all. A round during which other processes used the CPU is measured again.
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
CONTENTION = 0.05  # of all cores, used by others during a round, above which it is repeated


jax.config.update("jax_enable_compilation_cache", False)  # times to compile are those of a program not seen before


class Case(NamedTuple):
    """Something to time.

    Attributes:
        run: Computes once and waits for the result.
        compile_seconds: What compiling it took, None where nothing is compiled.
        temporary_bytes: What the compiled program needs beside arguments and results, None where not known.
    """

    run: Callable[[], Any]
    compile_seconds: float | None = None
    temporary_bytes: int | None = None


class Timing(NamedTuple):
    """One case's figures: milliseconds a call (median of the rounds, quartiles), page faults a call."""

    ms: float
    quartiles: tuple[float, float]
    rounds: list[float]
    page_faults: float


def compiled(f: Callable, *arguments: Any) -> Case:
    """``f(*arguments)`` as a case, compiled ahead of time for these arguments."""
    begin = time.perf_counter()
    program = jax.jit(f).lower(*arguments).compile()
    seconds = time.perf_counter() - begin
    memory = program.memory_analysis()
    temporary = None if memory is None else memory.temp_size_in_bytes
    return Case(lambda: jax.block_until_ready(program(*arguments)), seconds, temporary)


def interleaved(cases: dict[str, Case], rounds: int, seconds: float = 0.15) -> tuple[dict[str, Timing], int]:
    """Times all cases in turns.

    Args:
        cases: By name; each is called twice before anything is measured.
        rounds: How often each gets its turn.
        seconds: A turn is as many calls as fit, one at least; its figure is their median.

    Returns:
        The figures by name, and how many rounds others disturbed although each was tried three times.
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
    """The median time of some calls, and page faults a call.

    A first call is free: it finds caches that another implementation and the garbage collector have emptied, and
    sleeping threads, which in a training loop it would not.
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
    """Median over the rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(ours.rounds, theirs.rounds, strict=True))


def _others_use_cpu() -> Iterator[bool]:
    """Yields whether, since this was called, other processes used a notable part of the cores; False if unknown."""
    stat = Path("/proc/stat")

    def used() -> tuple[float, float, float]:
        ticks = stat.read_text().split("\n", 1)[0].split()[1:] if stat.exists() else ["0"] * 8
        user, nice, system, _, _, irq, softirq, steal = map(int, ticks[:8])
        everyone = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), everyone, time.process_time()

    def answer(before: tuple[float, float, float]) -> Iterator[bool]:
        elapsed, everyone, own = (b - a for a, b in zip(before, used(), strict=True))
        yield everyone - own > CONTENTION * elapsed * (os.cpu_count() or 1) + 0.02  # two ticks of the clock

    return answer(used())


# ---- the command line


def command() -> str:
    """The command line of this process, as a user would type it."""
    spec = sys.modules["__main__"].__spec__
    module = spec.name.removesuffix(".__main__") if spec else sys.argv[0]
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def parse_shape(text: str) -> tuple[int, ...]:
    sizes = text.split("x")
    if len(sizes) != 4 or not all(size.isdecimal() and int(size) for size in sizes):
        raise UsageError(f"--shapes: BxTxDxH expected, such as {SHAPES[0]}; given {text!r}")
    return tuple(map(int, sizes))


# ---- the machine


def product_rate(dtype: Any = jnp.float32, size: int = 2048) -> float:
    """Floating point operations a second of one large matrix product on this machine, a multiply-add as 2."""
    a = jnp.ones((size, size), dtype)
    case = compiled(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32), a, a)
    times = [_turn(case.run, 3)[0] for _ in range(5)]
    return 2 * size**3 / min(times)


def machine() -> dict[str, Any]:
    """Device and versions, for the head of a result."""
    names = ("jax", "jaxlib", "jaxnets", "flax", "dm-haiku", "keras", "equinox", "torch", "torchvision", "numpy")
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
    """Writes a result as JSON, and the folder it lies in."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(result, indent=1) + "\n")
