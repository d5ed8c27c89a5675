"""Benchmark of sliding windows against torch: windows per second, and the memory of a million windows.

    python -m benchmarks.runs.windows --json=benchmarks/results/runs/windows.json

The peer follows the published code of Informer, Autoformer, DLinear and PatchTST: a ``Dataset`` slices one window and
its four time features per index, and a shuffled ``DataLoader``, with or without worker processes, collates the batch.
"""

import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import harness
from jaxnets import data, program

FLAGS = flags.FLAGS

flags.DEFINE_integer("context", 336, "Steps of a window.", lower_bound=1)
flags.DEFINE_integer("horizon", 96, "Steps to forecast.", lower_bound=1)
flags.DEFINE_integer("channels", 7, "Channels.", lower_bound=1)
flags.DEFINE_list("batch_sizes", ["32", "128", "512"], "Windows per batch.")
flags.DEFINE_list("workers", ["0", "2"], "Numbers of worker processes of torch.")
flags.DEFINE_integer("windows", 8192, "Windows per call.", lower_bound=1)
flags.DEFINE_integer("many", 1_000_000, "Training windows of the dataset whose memory is measured.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "Number of rounds; each implementation runs once per round.", lower_bound=1)
flags.DEFINE_string("json", None, "Output file of the result.")


def series(windows: int) -> np.ndarray:
    """Returns a series ``[T, channels]`` that has this number of training windows, of half of its steps."""
    length = 2 * (windows + FLAGS.context + FLAGS.horizon - 1)
    return np.random.default_rng(0).normal(size=(length, FLAGS.channels)).astype(np.float32)


def dataset(values: np.ndarray, batch_size: int) -> data.Dataset:
    """Returns the windows of a series."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.npz"
        np.savez(path, x=values)
        return data.forecasting(
            str(path), FLAGS.horizon, FLAGS.context, splits=(0.5, 0.25, 0.25), batch_size=batch_size
        )


def jaxnets_case(values: np.ndarray, batch_size: int) -> harness.Case:
    """Returns the case that reads the batches of ``--windows`` windows by their index, in one thread."""
    batches = dataset(values, batch_size).train

    def run() -> None:
        for i in range(max(1, FLAGS.windows // batch_size)):
            batches[i]

    return harness.Case(run)


def torch_case(values: np.ndarray, batch_size: int, workers: int) -> harness.Case:
    """Returns the case that reads one epoch of a ``DataLoader``."""
    import torch

    marks = np.zeros((len(values), 4), np.float32)

    class Windows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return max(FLAGS.windows, batch_size)

        def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
            middle = index + FLAGS.context
            before, after = slice(index, middle), slice(middle, middle + FLAGS.horizon)
            return values[before], values[after], marks[before], marks[after]

    loader = torch.utils.data.DataLoader(
        Windows(), batch_size=batch_size, shuffle=True, num_workers=workers, drop_last=True
    )

    def run() -> None:
        for _ in loader:
            pass

    return harness.Case(run)


def memory() -> dict[str, float]:
    """Measures the memory of a dataset of many windows, and computes that of copies of its windows."""
    values = series(FLAGS.many)
    tracemalloc.start()
    kept = dataset(values, 32)
    kept.train[0]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    copies = 4 * FLAGS.many * (FLAGS.context + FLAGS.horizon) * FLAGS.channels
    return {"windows": FLAGS.many, "series_mb": values.nbytes / 2**20, "mb": held / 2**20, "copies_mb": copies / 2**20}


def main(overrides: program.Overrides) -> None:
    sizes = {name: FLAGS[name].value for name in ("context", "horizon", "channels")}
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), **sizes, "windows": []}
    values = series(FLAGS.windows)
    for batch_size in map(int, FLAGS.batch_sizes):
        cases = {"jaxnets": jaxnets_case(values, batch_size)}
        for workers in map(int, FLAGS.workers):
            try:
                cases[f"torch, {workers} workers"] = torch_case(values, batch_size, workers)
            except ImportError:
                continue
        timings, disturbed = harness.interleaved(cases, FLAGS.rounds)
        counted = batch_size * max(1, FLAGS.windows // batch_size)
        row: dict[str, Any] = {"batch_size": batch_size, "disturbed": disturbed, "per_second": {}, "ratio": {}}
        for name, timing in timings.items():
            row["per_second"][name] = 1e3 * counted / timing.ms
            row["ratio"][name] = harness.ratio(timings["jaxnets"], timing)
            print(f"batch of {batch_size}, {name}: {row['per_second'][name]:,.0f} windows/s", flush=True)
        result["windows"].append(row)
    result["memory"] = found = memory()
    print(
        f"{found['windows']:,} windows: {found['mb']:,.1f} MB, of which the series, standardized, "
        f"{found['series_mb']:,.1f} MB; copies would take {found['copies_mb']:,.0f} MB"
    )
    if FLAGS.json:
        harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
