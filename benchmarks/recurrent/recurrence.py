"""Benchmark of recurrent layers against other libraries: time, memory and compile time.

    python -m benchmarks.recurrent.recurrence --peers=all --json=benchmarks/results/recurrent/cpu.json

"forward" computes all outputs; "gradient" computes the outputs and the gradients of all parameters and of the input.
Each row is one cell and shape. Its implementations run alternately in one process. A ratio is the median over all
rounds of the time of jaxnets divided by the time of another library in the same round: below 1, jaxnets is faster.
"share" is the FLOP/s of the matrix products as a fraction of the FLOP/s of a large matrix product in the same run.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import harness, peers
from benchmarks.side_by_side import work
from jaxnets import program, recurrent
from jaxnets.recurrent.methods import NAMES, resolve_method
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

CELLS: dict[str, Callable[[int], recurrent.Cell]] = {
    "lstm": recurrent.lstm,
    "gru": functools.partial(recurrent.gru, reset="after"),
    "elman": recurrent.elman,
    "gru_before": recurrent.gru,
    "peephole": recurrent.peephole_lstm,
}
GATES = {"lstm": 4, "gru": 3, "elman": 1, "gru_before": 3, "peephole": 4}
PASSES = ("forward", "gradient")

flags.DEFINE_list("cells", ["lstm", "gru", "elman"], f"Cells: {', '.join(CELLS)}.")
flags.DEFINE_list("shapes", harness.SHAPES, "BxTxDxH: batch, time, input and hidden features.")
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16", "float16"], "Compute dtype.")
flags.DEFINE_list("passes", list(PASSES), "Passes: forward, gradient (forward and backward).")
flags.DEFINE_list(
    "methods", ["auto"], "Methods of recurrent.scan; sequential:boundaries sets keep, sequential:4 sets unroll."
)
flags.DEFINE_list("peers", ["all"], f"Libraries: all, none, or a list of {', '.join([*peers.JAX_PEERS, 'torch'])}.")
flags.DEFINE_integer("rounds", 9, "Number of rounds; each implementation runs once per round.", lower_bound=1)
flags.DEFINE_string("json", None, "Output JSON file of the results.")


def jaxnets_layer(cell: str, method: str, hidden: int, features: int) -> peers.Implementation:
    name, _, option = method.partition(":")
    layer = CELLS[cell](hidden)
    chosen: Any = resolve_method(layer, name)
    if option:
        chosen = dataclasses.replace(chosen, **({"unroll": int(option)} if option.isdecimal() else {"keep": option}))
    return lambda params, xs: recurrent.scan(layer, params, xs, method=chosen)[1], layer.init(
        jax.random.key(0), features
    )


def cases(implementation: peers.Implementation, xs: jax.Array) -> dict[str, harness.Case]:
    apply, params = implementation
    return {which: harness.compiled(work(apply, which, 2), params, xs) for which in FLAGS.passes}


def implementations(cell: str, hidden: int, xs: jax.Array) -> dict[str, dict[str, harness.Case]]:
    """Returns the cases of each implementation by pass. jaxnets is first; libraries without the cell are omitted."""
    features, dtype = xs.shape[-1], xs.dtype
    found = {}
    for method in FLAGS.methods:
        try:
            found[f"jaxnets {method}"] = cases(jaxnets_layer(cell, method, hidden, features), xs)
        except ValueError as error:  # such as a cell that the method does not support
            print(f"jaxnets {method} cannot run {cell} in {dtype}: {error}", flush=True)
    chosen = [*peers.JAX_PEERS, "torch"] if FLAGS.peers == ["all"] else [p for p in FLAGS.peers if p != "none"]
    for name in chosen:
        try:
            if name == "torch":
                found[name] = peers.torch(cell, xs, hidden)
            else:
                found[name] = cases(peers.JAX_PEERS[name](cell, features, hidden, dtype), xs)
        except (ImportError, KeyError):
            continue
        except TypeError as error:  # such as carries of two dtypes
            print(f"{name} cannot run {cell} in {dtype}: {str(error).splitlines()[0]}", flush=True)
    return found


def operations(cell: str, shape: tuple[int, ...], which: str) -> int:
    """Returns the FLOPs of the matrix products of one call; a gradient needs three times as many as a forward pass."""
    batch, time, features, hidden = shape
    return 2 * batch * time * (features + hidden) * GATES[cell] * hidden * (1 if which == "forward" else 3)


def row(cell: str, shape: tuple[int, ...], rate: float) -> dict[str, Any]:
    batch, time, features, hidden = shape
    xs = jax.random.normal(jax.random.key(1), (batch, time, features), jnp.dtype(FLAGS.dtype))
    candidates = implementations(cell, hidden, xs)
    result: dict[str, Any] = {"cell": cell, "shape": list(shape), "dtype": FLAGS.dtype}
    for which in FLAGS.passes:
        cases_of_pass = {name: by_pass[which] for name, by_pass in candidates.items()}
        timings, disturbed = harness.interleaved(cases_of_pass, FLAGS.rounds)
        first = next(iter(timings))
        result[which] = {
            name: {
                "ms": timing.ms,
                "quartiles": timing.quartiles,
                "ratio": harness.ratio(timings[first], timing),
                "share": operations(cell, shape, which) / (1e-3 * timing.ms) / rate,
                "page_faults": timing.page_faults,
                "compile_seconds": cases_of_pass[name].compile_seconds,
                "temporary_mb": _megabytes(cases_of_pass[name]),
            }
            for name, timing in timings.items()
        }
        result[which + "_disturbed"] = disturbed
        show(cell, shape, which, result[which], disturbed)
    return result


def _megabytes(case: harness.Case) -> float | None:
    return None if case.temporary_bytes is None else case.temporary_bytes / 2**20


def show(cell: str, shape: tuple[int, ...], which: str, found: dict[str, Any], disturbed: int) -> None:
    print(
        f"\n{cell} B={shape[0]} T={shape[1]} D={shape[2]} H={shape[3]}, {which}"
        + f" ({disturbed} rounds disturbed)" * bool(disturbed)
    )
    print(f"{'':<24}{'ms':>9}{'quartiles':>20}{'ratio':>8}{'share':>8}{'MB':>9}{'compile s':>11}")
    formatted = lambda value, spec: "" if value is None else format(value, spec)
    for name, timing in found.items():
        low, high = timing["quartiles"]
        print(
            f"{name:<24}{timing['ms']:>9.2f}{f'{low:.2f}-{high:.2f}':>20}{timing['ratio']:>8.2f}{timing['share']:>8.0%}"
            f"{formatted(timing['temporary_mb'], '.1f'):>9}{formatted(timing['compile_seconds'], '.2f'):>11}",
            flush=True,
        )


def check_choices(flag: str, given: list[str], known: list[str]) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"--{flag} must be one of {', '.join(known)}, got {name!r}")


def main(overrides: program.Overrides) -> None:
    check_choices("cells", FLAGS.cells, list(CELLS))
    check_choices("passes", FLAGS.passes, list(PASSES))
    check_choices("methods", [method.partition(":")[0] for method in FLAGS.methods], list(NAMES))
    check_choices("peers", FLAGS.peers, ["all", "none", *peers.JAX_PEERS, "torch"])
    shapes = [harness.parse_shape(text) for text in FLAGS.shapes]
    rate = harness.product_rate(jnp.dtype(FLAGS.dtype))
    print(f"{jax.devices()[0].device_kind}: {rate / 1e9:,.0f} GFLOP/s in a large {FLAGS.dtype} product", flush=True)
    result = {"command": harness.command(), **harness.machine(), "product_gflops": rate / 1e9, "rows": []}
    for shape in shapes:
        for cell in FLAGS.cells:
            result["rows"].append(row(cell, shape, rate))
            if FLAGS.json:  # after every row, so that an interrupted run loses nothing
                harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
