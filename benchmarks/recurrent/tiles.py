"""Benchmark of the tilings of the persistent kernel against the sequential method.

    python -m benchmarks.recurrent.tiles --json=benchmarks/results/tiles.json       # on a Hopper GPU
    python -m benchmarks.recurrent.tiles --shapes=2x8x16x16 --interpret             # test without a GPU

A tiling is the number of rows and units of a block of the kernel. By default the method uses the first tiling of
``persistent_tiling.tilings``, which sorts them by their estimated time. This benchmark tests the estimate.
"""

from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams  # public from JAX 0.11 on

from benchmarks import harness
from benchmarks.side_by_side import work
from jaxnets import program, recurrent
from jaxnets.recurrent.experimental.persistent import check_device
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

flags.DEFINE_list("shapes", ["16x1024x768x768", "32x128x128x128", "64x256x256x256"], "Sizes BxTxDxH.")
flags.DEFINE_list("cells", ["lstm", "gru"], "Cells: lstm, gru (reset before the product: two products per step).")
flags.DEFINE_string("dtype", "bfloat16", "Compute dtype.")
flags.DEFINE_list("rows", ["8", "16", "32", "64"], "Numbers of rows per block.")
flags.DEFINE_list("units", ["8", "16", "32", "64"], "Numbers of hidden units per block.")
flags.DEFINE_integer("rounds", 5, "Number of rounds; each implementation runs once per round.", lower_bound=1)
flags.DEFINE_bool("interpret", False, "Run the kernel in the Pallas interpreter.")
flags.DEFINE_string("json", None, "Output JSON file of the results.")

CELLS = {"lstm": recurrent.lstm, "gru": recurrent.gru}


def methods() -> dict[str, Any]:
    """Returns the methods by name: sequential, persistent with its default tiling, and all other tilings."""
    interpret = InterpretGPUParams() if FLAGS.interpret else None
    sizes = [None, *((int(rows), int(units)) for rows in FLAGS.rows for units in FLAGS.units)]
    found: dict[str, Any] = {"sequential": "sequential"}
    for tile in sizes:
        name = "persistent" if tile is None else f"persistent {tile[0]}x{tile[1]}"
        found[name] = recurrent.Persistent(sizes=tile, interpret=interpret)
    return found


def measure(cell: str, shape: tuple[int, ...]) -> dict[str, dict[str, dict[str, float]]]:
    """Returns milliseconds and the ratio to the sequential method, by pass and method."""
    batch, time, features, hidden = shape
    layer = CELLS[cell](hidden)
    params = layer.init(jax.random.key(0), features)
    xs = jax.random.normal(jax.random.key(1), (batch, time, features), jnp.dtype(FLAGS.dtype))
    cases: dict[str, dict[str, harness.Case]] = {"forward": {}, "gradient": {}}
    for name, method in methods().items():
        apply = lambda params, xs, method=method: recurrent.scan(layer, params, xs, method=method)[1]
        try:
            for which, now in cases.items():
                now[name] = harness.compiled(work(apply, which, 2), params, xs)
        except ValueError as error:
            if "on the chip" not in str(error):  # other sizes do not fit on the chip or this shape
                raise
    found = {}
    for which, now in cases.items():
        timings, _ = harness.interleaved(now, FLAGS.rounds)
        base = timings["sequential"]
        found[which] = {name: {"ms": t.ms, "ratio": harness.ratio(base, t)} for name, t in timings.items()}
    return found


def main(overrides: program.Overrides) -> None:
    if FLAGS.interpret and jax.__version_info__ < (0, 11):
        raise UsageError(f"JAX must be 0.11 or newer for --interpret, got {jax.__version__}")
    if not FLAGS.interpret:
        try:
            check_device()
        except ValueError as error:
            raise UsageError(f"{error}; use --interpret without a GPU") from error
    result = {"command": harness.command(), **harness.machine(), "dtype": FLAGS.dtype, "tiles": []}
    for shape in map(harness.parse_shape, FLAGS.shapes):
        for cell in FLAGS.cells:
            found = measure(cell, shape)
            result["tiles"].append({"cell": cell, "shape": list(shape), **found})
            for which, timings in found.items():
                print(f"\n{cell} {shape} {FLAGS.dtype}, {which}")
                for name, timing in sorted(timings.items(), key=lambda item: item[1]["ms"]):
                    print(f"{name:<22}{timing['ms']:>9.3f} ms{timing['ratio']:>8.2f}", flush=True)
            if FLAGS.json:
                harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
