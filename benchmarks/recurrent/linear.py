"""Benchmark of cells that are linear in their state: time and memory of ``recurrent.scan`` and of plain scans.

    python -m benchmarks.recurrent.linear --sizes=8x4096x256,1x65536x64,4x128x32 --rounds=5

``whole`` is ``jax.lax.associative_scan`` over the whole projected sequence, and ``autodiff`` is ``jax.lax.scan`` over
it. JAX differentiates both.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import harness
from jaxnets import program, recurrent
from jaxnets.recurrent.cell import elementwise_product, split_params

FLAGS = flags.FLAGS

flags.DEFINE_list(
    "sizes", ["8x4096x256", "1x65536x64", "4x128x32"], "Sizes BxTxH: batch, time, input and hidden features."
)
flags.DEFINE_list("cells", ["min_gru", "min_lstm", "lru"], "Cells of jaxnets.recurrent.")
flags.DEFINE_integer(
    "chunk", None, "Steps per block of the associative method; by default, chosen from the sizes.", lower_bound=1
)
flags.DEFINE_integer("rounds", 5, "Number of rounds; each implementation runs once per round.", lower_bound=1)
flags.DEFINE_string("json", None, "Output JSON file of the results.")


def whole(cell: recurrent.Cell, params: Any, xs: jax.Array) -> jax.Array:
    """Computes the outputs from a zero state with an associative scan over the whole sequence ``[B, T, D]``."""
    source, weights, rest = split_params(params)
    u = cell.project(source, xs)
    step: Any = cell.step
    decay, increment = step.coefficients(rest, u)
    like = jax.tree.leaves(increment)[0]
    decay = jax.tree.map(lambda a: jnp.broadcast_to(a, (*like.shape[:2], a.shape[-1])), decay)

    def compose(earlier, later):
        (a, b), (c, d) = earlier, later
        return elementwise_product(c, a), jax.tree.map(jnp.add, elementwise_product(c, b), d)

    states = jax.lax.associative_scan(compose, (decay, increment), axis=1)[1]
    return step.output(rest, states, u, lambda name, h: cell.product(weights[name], h))


def executors(cell: recurrent.Cell, chunk: int | None) -> dict[str, Callable]:
    """Returns functions from params and xs to the outputs, by name."""
    run = lambda **options: lambda params, xs: recurrent.scan(cell, params, xs, **options)[1]
    return {
        "sequential": run(method="sequential"),
        "associative": run(method=recurrent.Associative(chunk)),
        "whole": lambda params, xs: whole(cell, params, xs),
        "autodiff": run(method="autodiff"),
    }


def gradient(f: Callable) -> Callable:
    """Returns the gradient, with respect to params and xs, of the sum of the squared outputs of ``f``."""
    return jax.grad(lambda params, xs: jnp.sum(f(params, xs) ** 2), (0, 1))


def main(overrides: program.Overrides) -> None:
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), "linear": []}
    print(f"{'cell':<10}{'B x T x H':<14}{'':<14}{'forward':>22}{'gradient':>22}")
    for name in FLAGS.cells:
        for size in FLAGS.sizes:
            batch, length, hidden = (int(n) for n in size.split("x"))
            cell = getattr(recurrent, name)(hidden)
            params = cell.init(jax.random.key(0), hidden)
            xs = jax.random.normal(jax.random.key(1), (batch, length, hidden))
            figures = {}
            for which, work in (("forward", lambda f: f), ("gradient", gradient)):
                functions = executors(cell, FLAGS.chunk)
                cases = {key: harness.compiled(work(f), params, xs) for key, f in functions.items()}
                timings, _ = harness.interleaved(cases, FLAGS.rounds)
                figures[which] = {
                    key: {"ms": timing.ms, "mb": (cases[key].temporary_bytes or 0) / 2**20}
                    for key, timing in timings.items()
                }
            result["linear"].append({"cell": name, "size": size, **figures})
            for key in figures["forward"]:
                pair = (figures[which][key] for which in ("forward", "gradient"))
                cells = (f"{figure['ms']:10.2f} ms {figure['mb']:6.1f} MB" for figure in pair)
                print(f"{name:<10}{size:<14}{key:<14}" + " ".join(cells), flush=True)
            if FLAGS.json:
                harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
