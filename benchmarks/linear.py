"""Cells linear in their state: the executors of ``recurrent.scan`` against plain scans, in time and memory.

    python -m benchmarks.linear --sizes=8x4096x256,1x65536x64,4x128x32 --rounds=5

``whole`` is ``jax.lax.associative_scan`` over all steps at once, differentiated by JAX; ``autodiff`` is
``jax.lax.scan`` over the projected sequence, likewise.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags

from jaxnets import program, recurrent
from jaxnets.recurrent.cell import split_params, times

FLAGS = flags.FLAGS

flags.DEFINE_list("sizes", ["8x4096x256", "1x65536x64", "4x128x32"], "Batch x steps x features, in and hidden.")
flags.DEFINE_list("cells", ["min_gru", "min_lstm", "lru"], "Cells of jaxnets.recurrent.")
flags.DEFINE_integer("chunk", None, "Steps per block of the associative executor; it chooses.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "Rounds; the median is reported.", lower_bound=1)


class Figures(NamedTuple):
    milliseconds: float
    megabytes: float


def measure(functions: dict[str, Callable], arguments: Any, rounds: int) -> dict[str, Figures]:
    """The median time of each compiled function, all of them run in turn, and the temporary memory it asks for."""
    compiled = {name: jax.jit(f).lower(*arguments).compile() for name, f in functions.items()}
    seconds: dict[str, list[float]] = {name: [] for name in compiled}
    for _ in range(rounds + 1):
        for name, f in compiled.items():
            begin = time.perf_counter()
            jax.block_until_ready(f(*arguments))
            seconds[name].append(time.perf_counter() - begin)
    size = lambda f: f.memory_analysis().temp_size_in_bytes / 1e6
    return {name: Figures(1e3 * statistics.median(seconds[name][1:]), size(f)) for name, f in compiled.items()}


def whole(cell: recurrent.Cell, params: Any, xs: jax.Array) -> jax.Array:
    """Outputs from a zero state, by an associative scan over the whole sequence ``[B, T, D]``."""
    source, weights, rest = split_params(params)
    u = cell.project(source, xs)
    step: Any = cell.step
    decay, increment = step.coefficients(rest, u)
    like = jax.tree.leaves(increment)[0]
    decay = jax.tree.map(lambda a: jnp.broadcast_to(a, (*like.shape[:2], a.shape[-1])), decay)

    def compose(earlier, later):
        (a, b), (c, d) = earlier, later
        return times(c, a), jax.tree.map(jnp.add, times(c, b), d)

    states = jax.lax.associative_scan(compose, (decay, increment), axis=1)[1]
    return step.output(rest, states, u, lambda name, h: cell.product(weights[name], h))


def executors(cell: recurrent.Cell, chunk: int | None) -> dict[str, Callable]:
    """Functions of params and xs that return the outputs."""
    run = lambda **options: lambda params, xs: recurrent.scan(cell, params, xs, **options)[1]
    return {
        "sequential": run(method="sequential"),
        "associative": run(method="associative", chunk=chunk),
        "whole": lambda params, xs: whole(cell, params, xs),
        "autodiff": run(method="autodiff"),
    }


def gradient(f: Callable) -> Callable:
    """The gradient in params and xs of the sum of the squares of what ``f`` returns."""
    return jax.grad(lambda params, xs: jnp.sum(f(params, xs) ** 2), (0, 1))


def main(overrides: program.Overrides) -> None:
    print(f"{'cell':<10}{'B x T x H':<14}{'':<14}{'forward':>18}{'forward+backward':>24}")
    for name in FLAGS.cells:
        for size in FLAGS.sizes:
            batch, length, hidden = (int(n) for n in size.split("x"))
            cell = getattr(recurrent, name)(hidden)
            params = cell.init(jax.random.key(0), hidden)
            xs = jax.random.normal(jax.random.key(1), (batch, length, hidden))
            functions = executors(cell, FLAGS.chunk)
            forward = measure(functions, (params, xs), FLAGS.rounds)
            both = measure({key: gradient(f) for key, f in functions.items()}, (params, xs), FLAGS.rounds)
            for key in functions:
                cells = (f"{a.milliseconds:10.2f} ms {a.megabytes:7.1f} MB" for a in (forward[key], both[key]))
                print(f"{name:<10}{size:<14}{key:<14}" + "".join(cells), flush=True)


if __name__ == "__main__":
    program.run(main)
