"""Benchmark of recurrent variants: peepholes, the reset before the product, lengths and resets.

    python -m benchmarks.recurrent.variants --json=benchmarks/results/recurrent/variants.json

A ratio is the time of a variant divided by the time of the plain cell in the same round, for the gradient of all
parameters and of the input. The median over all rounds is reported. Lengths are uniform from 0 to T, and resets occur
every 100 steps on average. Padded steps are computed, too, so that all variants do the same work.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import harness
from jaxnets import program, recurrent

FLAGS = flags.FLAGS

flags.DEFINE_list("shapes", harness.SHAPES, "BxTxDxH: batch, time, input and hidden features.")
flags.DEFINE_integer("rounds", 9, "Number of rounds; each variant runs once per round.", lower_bound=1)
flags.DEFINE_string("json", None, "Output JSON file of the results.")

gru_after = functools.partial(recurrent.gru, reset="after")
PLAIN: dict[str, Callable[[int], recurrent.Cell]] = {"lstm": recurrent.lstm, "gru": gru_after, "elman": recurrent.elman}
OTHER_CELLS = {"lstm": {"peepholes": recurrent.peephole_lstm}, "gru": {"reset before": recurrent.gru}}


def variants(cell: str, shape: tuple[int, ...]) -> dict[str, harness.Case]:
    batch, time, features, hidden = shape
    key = jax.random.key(0)
    xs = jax.random.normal(key, (batch, time, features))
    lengths = jax.random.randint(key, (batch,), 0, time + 1)
    resets = jax.random.bernoulli(key, 0.01, (batch, time))

    def case(layer: recurrent.Cell, **options: Any) -> harness.Case:
        loss = lambda params, xs, options: jnp.sum(recurrent.scan(layer, params, xs, **options)[1] ** 2)
        return harness.compiled(jax.grad(loss, (0, 1)), layer.init(key, features), xs, options)

    plain = PLAIN[cell](hidden)
    cases = {"plain": case(plain), "lengths": case(plain, lengths=lengths), "resets": case(plain, resets=resets)}
    return {**cases, **{name: case(make(hidden)) for name, make in OTHER_CELLS.get(cell, {}).items()}}


def main(overrides: program.Overrides) -> None:
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), "variants": []}
    for shape in map(harness.parse_shape, FLAGS.shapes):
        for cell in PLAIN:
            timings, disturbed = harness.interleaved(variants(cell, shape), FLAGS.rounds)
            ratios = {name: harness.ratio(timing, timings["plain"]) for name, timing in timings.items()}
            row = {"cell": cell, "shape": list(shape), "ms": timings["plain"].ms, "ratios": ratios}
            result["variants"].append({**row, "disturbed": disturbed})
            summary = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items() if name != "plain")
            print(f"{cell:<6} {'x'.join(map(str, shape)):<16} {timings['plain'].ms:9.2f} ms; {summary}", flush=True)
            if FLAGS.json:
                harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
