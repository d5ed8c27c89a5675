"""Benchmark of long sequences: time and memory of one gradient for up to a million steps, in jaxnets and flax.

    python -m benchmarks.recurrent.long --json=benchmarks/results/recurrent/long.json --plot=docs/pictures/long.png

Memory is the temporary memory of the compiled program, without arguments and results. Programs that need more than
``--memory_mb`` are not run.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from matplotlib.figure import Figure

from benchmarks import harness, peers
from jaxnets import program, recurrent

FLAGS = flags.FLAGS

flags.DEFINE_list("lengths", ["1000", "4000", "16000", "64000", "256000", "1000000"], "Sequence lengths T.")
flags.DEFINE_integer("batch", 1, "Batch size.", lower_bound=1)
flags.DEFINE_integer("hidden", 64, "Number of hidden units and of input features.", lower_bound=1)
flags.DEFINE_integer("memory_mb", 8192, "Maximum temporary memory in MB; larger programs are not run.", lower_bound=1)
flags.DEFINE_integer("rounds", 3, "Number of rounds; each implementation runs once per round.", lower_bound=1)
flags.DEFINE_string("json", None, "Output JSON file of the results.")
flags.DEFINE_string("plot", None, "Output image file of the plot.")


def jaxnets_layer(keep: str, hidden: int) -> peers.Implementation:
    cell = recurrent.lstm(hidden)
    apply = lambda params, xs: recurrent.scan(cell, params, xs, method=recurrent.Sequential(keep=keep))[1]
    return apply, cell.init(jax.random.key(0), hidden)


def gradient(implementation: peers.Implementation, xs: jax.Array) -> harness.Case:
    apply, params = implementation
    return harness.compiled(jax.grad(lambda params, xs: jnp.sum(apply(params, xs) ** 2), (0, 1)), params, xs)


def measure(length: int) -> dict[str, dict[str, Any]]:
    """Returns milliseconds (None if the program needs too much memory) and megabytes by implementation."""
    hidden = FLAGS.hidden
    xs = jax.random.normal(jax.random.key(1), (FLAGS.batch, length, hidden))
    cases = {
        "jaxnets": gradient(jaxnets_layer("carries", hidden), xs),
        "jaxnets, boundaries": gradient(jaxnets_layer("boundaries", hidden), xs),
        "flax linen": gradient(peers.linen("lstm", hidden, hidden, jnp.float32), xs),
    }
    memory = {name: (case.temporary_bytes or 0) / 2**20 for name, case in cases.items()}
    runs = {name: case for name, case in cases.items() if memory[name] <= FLAGS.memory_mb}
    timings, _ = harness.interleaved(runs, FLAGS.rounds)
    return {name: {"ms": timings[name].ms if name in timings else None, "mb": memory[name]} for name in cases}


def draw(path: Path, found: dict[int, dict[str, dict[str, Any]]]) -> None:
    figure = Figure(figsize=(9, 3.8))
    for axes, key, label in zip(figure.subplots(1, 2), ("ms", "mb"), ("time, ms", "memory, MB"), strict=True):
        for i, name in enumerate(next(iter(found.values()))):
            axes.plot(list(found), [row[name][key] or float("nan") for row in found.values()], "o-", color=f"C{i}")
            axes.lines[-1].set_label(name)
        axes.set(xscale="log", yscale="log", xlabel="length T", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(overrides: program.Overrides) -> None:
    found: dict[int, dict[str, dict[str, Any]]] = {}
    result = {"command": harness.command(), **harness.machine(), "batch": FLAGS.batch, "hidden": FLAGS.hidden}
    for length in map(int, FLAGS.lengths):
        found[length] = measure(length)
        for name, row in found[length].items():
            time = "not run" if row["ms"] is None else f"{row['ms']:,.1f} ms"
            print(f"T {length:>9,}  {name:<22}{time:>14}{row['mb']:>12,.1f} MB", flush=True)
        if FLAGS.json:
            harness.write(FLAGS.json, {**result, "lengths": found})
        if FLAGS.plot:
            draw(Path(FLAGS.plot), found)


if __name__ == "__main__":
    program.run(main)
