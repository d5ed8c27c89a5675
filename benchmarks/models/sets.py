"""Benchmark of histograms and set attention against torch: time and memory as functions of the set size.

    python -m benchmarks.models.sets --json=benchmarks/results/models/sets.json

"forward" computes the outputs. "gradient" computes the outputs and the gradients of the elements and of all parameters.
"naive" evaluates the equation for all elements at once, and JAX differentiates it. "streamed" processes a set of 10^7
elements in chunks and reports the peak memory of the process.
"""

import functools
import resource
import time
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import harness
from benchmarks.side_by_side import Cases, side_by_side, torch_case, work
from jaxnets import program, sets
from jaxnets.training.errors import UsageError

PARTS = ("streamed", "histogram", "ISAB", "PMA")
FLAGS = flags.FLAGS

flags.DEFINE_list("sizes", ["1000", "10000", "100000", "1000000"], "Set sizes N.")
flags.DEFINE_integer("bins", 32, "Number of histogram bins.", lower_bound=2)
flags.DEFINE_integer("features", 4, "Features per element, for histograms.", lower_bound=1)
flags.DEFINE_integer("width", 64, "Features per element, for attention.", lower_bound=4)
flags.DEFINE_integer("points", 16, "Number of inducing points.", lower_bound=1)
flags.DEFINE_integer("streamed", 10_000_000, "Size of the streamed set.", lower_bound=1)
flags.DEFINE_list("parts", list(PARTS), f"Benchmarks to run: {', '.join(PARTS)}.")
flags.DEFINE_integer("memory_mb", 4096, "Maximum temporary memory in MB; larger programs are not run.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "Number of rounds; each implementation runs once per round.", lower_bound=1)
flags.DEFINE_string("json", None, "Output file of the result.")

HEADS = 4


def histogram_cases(size: int, which: str) -> Cases:
    xs = jax.random.uniform(jax.random.key(0), (1, size, FLAGS.features))
    naive = lambda xs, bins: jnp.mean(sets.votes("soft", bins, xs), axis=-3)
    cases: Cases = {}
    for kind in ("linear", "soft", "hard"):
        bins = sets.bins_init(kind, FLAGS.features, FLAGS.bins)
        histogram = functools.partial(sets.histogram, kind=kind)
        cases[f"jaxnets {kind}"] = functools.partial(harness.compiled, work(histogram, which, 2), xs, bins)
    soft = sets.bins_init("soft", FLAGS.features, FLAGS.bins)
    cases["naive soft"] = functools.partial(harness.compiled, work(naive, which, 2), xs, soft)

    def make_torch(torch, options):
        from benchmarks.models.torch_sets import SoftHistogram

        layer = SoftHistogram(FLAGS.features, FLAGS.bins).to(**options)
        return layer, layer

    return {**cases, "torch soft": lambda: torch_case(make_torch, which, xs)}


def attention_cases(part: str, size: int, which: str) -> Cases:
    xs = jax.random.normal(jax.random.key(0), (1, size, FLAGS.width))
    module: Any = sets.ISAB(FLAGS.width, FLAGS.points, HEADS) if part == "ISAB" else sets.PMA(FLAGS.width, 1, HEADS)

    def make_torch(torch, options):
        from benchmarks.models.torch_sets import Isab, Pma

        layer = Isab(FLAGS.width, FLAGS.points, HEADS) if part == "ISAB" else Pma(FLAGS.width, 1, HEADS)
        layer = layer.to(**options)
        return layer, layer

    variables = module.init(jax.random.key(1), xs[:, :2])
    return {
        "jaxnets": lambda: harness.compiled(work(module.apply, which, 2), variables, xs),
        "torch": lambda: torch_case(make_torch, which, xs),
    }


def streamed() -> dict[str, Any]:
    """Times three models on a set that is generated and processed in chunks."""
    chunk = min(2**17, FLAGS.streamed)
    make = jax.jit(lambda i: jax.random.uniform(jax.random.fold_in(jax.random.key(0), i), (1, chunk, FLAGS.features)))
    valid = lambda i: jnp.arange(chunk)[None] < FLAGS.streamed - i * chunk

    def chunks():
        for i in range(-(-FLAGS.streamed // chunk)):
            yield make(i), valid(i)

    result: dict[str, Any] = {"elements": FLAGS.streamed, "seconds": {}}
    for name, model in {
        "DeepSets": sets.DeepSets(1, (64, 64), (64,), pooling="mean"),
        "HistNetQ": sets.HistNetQ(2, (64, 8), (64,), num_bins=FLAGS.bins),
        "SetTransformer": sets.SetTransformer(
            1, embed_dim=FLAGS.width, num_inducing_points=FLAGS.points, num_heads=HEADS
        ),
    }.items():
        variables = model.init(jax.random.key(1), make(0)[:, :2])
        start = time.perf_counter()
        jax.block_until_ready(sets.apply_in_chunks(model, variables, chunks))
        result["seconds"][name] = time.perf_counter() - start
    result["process_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in result["seconds"].items())
    print(f"\nstreamed set of {FLAGS.streamed:,} elements: {seconds}; peak memory {result['process_mb']:,.0f} MB")
    return result


def main(overrides: program.Overrides) -> None:
    for part in FLAGS.parts:
        if part not in PARTS:
            raise UsageError(f"--parts must be one of {', '.join(PARTS)}, got {part!r}")
    sizes = {name: FLAGS[name].value for name in ("bins", "features", "width", "points")}
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), **sizes, "sets": []}
    if "streamed" in FLAGS.parts:  # first, because the peak memory includes everything that the process ran before
        result["streamed"] = streamed()
    for part in FLAGS.parts:
        for size in map(int, FLAGS.sizes if part != "streamed" else []):
            cases = histogram_cases if part == "histogram" else functools.partial(attention_cases, part)
            row = side_by_side(
                f"{part} N={size:,}",
                functools.partial(cases, size),
                rounds=FLAGS.rounds,
                memory_mb=FLAGS.memory_mb,
            )
            result["sets"].append({"part": part, "size": size, **row})
            if FLAGS.json:
                harness.write(FLAGS.json, result)
    if FLAGS.json:
        harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
