"""Histograms and set attention beside torch code of the published form, over the size of a set: time and memory.

    python -m benchmarks.models.sets --json=benchmarks/results/models/sets.json

"forward" computes the outputs; "gradient" computes them and the gradients of the elements and of all parameters.
"naive" is our formula for all elements at once, differentiated by JAX. "streamed" reads a set of 10^7 elements chunk by
chunk and tells how much memory the whole process needed.
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

flags.DEFINE_list("sizes", ["1000", "10000", "100000", "1000000"], "Elements N of a set.")
flags.DEFINE_integer("bins", 32, "Of a histogram.", lower_bound=2)
flags.DEFINE_integer("features", 4, "Of an element, for histograms.", lower_bound=1)
flags.DEFINE_integer("width", 64, "Of an element, for attention.", lower_bound=4)
flags.DEFINE_integer("points", 16, "Inducing points.", lower_bound=1)
flags.DEFINE_integer("streamed", 10_000_000, "Elements of the streamed set.", lower_bound=1)
flags.DEFINE_list("parts", list(PARTS), f"{', '.join(PARTS)}.")
flags.DEFINE_integer("memory_mb", 4096, "The most temporary memory a program may need to be run.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "How often each implementation gets its turn.", lower_bound=1)
flags.DEFINE_string("json", None, "Write the result to this file.")

HEADS = 4


def histogram_cases(size: int, which: str) -> Cases:
    xs = jax.random.uniform(jax.random.key(0), (1, size, FLAGS.features))
    naive = lambda xs, bins: jnp.mean(sets.votes("soft", bins, xs), axis=-3)
    cases: Cases = {}
    for kind in ("linear", "soft", "hard"):
        bins = sets.bins_init(kind, FLAGS.features, FLAGS.bins)
        ours = functools.partial(sets.histogram, kind=kind)
        cases[f"jaxnets {kind}"] = functools.partial(harness.compiled, work(ours, which, 2), xs, bins)
    soft = sets.bins_init("soft", FLAGS.features, FLAGS.bins)
    cases["naive soft"] = functools.partial(harness.compiled, work(naive, which, 2), xs, soft)

    def of_torch(torch, options):
        from benchmarks.models.torch_sets import SoftHistogram

        layer = SoftHistogram(FLAGS.features, FLAGS.bins).to(**options)
        return layer, layer

    return {**cases, "torch soft": lambda: torch_case(of_torch, which, xs)}


def attention_cases(part: str, size: int, which: str) -> Cases:
    xs = jax.random.normal(jax.random.key(0), (1, size, FLAGS.width))
    module: Any = sets.ISAB(FLAGS.width, FLAGS.points, HEADS) if part == "ISAB" else sets.PMA(FLAGS.width, 1, HEADS)

    def of_torch(torch, options):
        from benchmarks.models.torch_sets import Isab, Pma

        layer = Isab(FLAGS.width, FLAGS.points, HEADS) if part == "ISAB" else Pma(FLAGS.width, 1, HEADS)
        layer = layer.to(**options)
        return layer, layer

    variables = module.init(jax.random.key(1), xs[:, :2])
    return {
        "jaxnets": lambda: harness.compiled(work(module.apply, which, 2), variables, xs),
        "torch": lambda: torch_case(of_torch, which, xs),
    }


def streamed() -> dict[str, Any]:
    """A set that is made, and read by three models, chunk by chunk."""
    chunk = min(2**17, FLAGS.streamed)
    make = jax.jit(lambda i: jax.random.uniform(jax.random.fold_in(jax.random.key(0), i), (1, chunk, FLAGS.features)))
    real = lambda i: jnp.arange(chunk)[None] < FLAGS.streamed - i * chunk

    def chunks():
        for i in range(-(-FLAGS.streamed // chunk)):
            yield make(i), real(i)

    found: dict[str, Any] = {"elements": FLAGS.streamed, "seconds": {}}
    for name, model in {
        "DeepSets": sets.DeepSets(1, (64, 64), (64,), pooling="mean"),
        "HistNetQ": sets.HistNetQ(2, (64, 8), (64,), num_bins=FLAGS.bins),
        "SetTransformer": sets.SetTransformer(
            1, embed_dim=FLAGS.width, num_inducing_points=FLAGS.points, num_heads=HEADS
        ),
    }.items():
        variables = model.init(jax.random.key(1), make(0)[:, :2])
        begin = time.perf_counter()
        jax.block_until_ready(sets.apply_in_chunks(model, variables, chunks))
        found["seconds"][name] = time.perf_counter() - begin
    found["process_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in found["seconds"].items())
    print(
        f"\na set of {FLAGS.streamed:,} elements, streamed: {seconds}; the process needed {found['process_mb']:,.0f} MB"
    )
    return found


def main(overrides: program.Overrides) -> None:
    for part in FLAGS.parts:
        if part not in PARTS:
            raise UsageError(f"--parts: {', '.join(PARTS)}; given {part!r}")
    sizes = {name: FLAGS[name].value for name in ("bins", "features", "width", "points")}
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), **sizes, "sets": []}
    if "streamed" in FLAGS.parts:  # first, since what is told is the most memory that the process ever had
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
