"""Quality of the images of trained diffusion models over the number of steps, for each sampler.

    python -m benchmarks.runs.samplers --runs=runs/ddpm,runs/flow --classifier=runs/lenet --figure=samplers.png

Metrics are those of ``tasks.gan.evaluation.classified_metrics``, by the logits of a classifier: of generated images
beside as many training images. The row "validation" has images of the validation split instead of generated ones.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import harness
from jaxnets import program
from jaxnets.generative import GaussianDiffusion, RectifiedFlow
from jaxnets.tasks.gan.evaluation import classified_metrics
from jaxnets.tasks.gan.examples import like
from jaxnets.training import restore
from jaxnets.training.errors import UsageError

COLUMNS = ("logit_frechet_distance", "precision", "recall", "label_accuracy")
FLAGS = flags.FLAGS

flags.DEFINE_list("runs", [], "Run folders of tasks.diffusion with the same data.")
flags.DEFINE_string("classifier", "runs/lenet", "Run folder of image classification.")
flags.DEFINE_list("steps", ["5", "10", "20", "50"], "Numbers of steps.")
flags.DEFINE_integer("count", 1000, "Generated images.", lower_bound=2)
flags.DEFINE_integer("batch", 250, "Images that are generated at once.", lower_bound=1)
flags.DEFINE_string("json", None, "Output file of the results.")
flags.DEFINE_string("figure", None, "Output file of the figure.")


def rows_of(batches: Sequence[Mapping[str, Any]], count: int) -> dict[str, np.ndarray]:
    """Returns the first valid inputs and targets of some batches."""
    found: dict[str, list[np.ndarray]] = {"inputs": [], "targets": []}
    for batch in batches:
        for name, parts in found.items():
            parts.append(np.asarray(batch[name])[np.asarray(batch["mask"])])
        if sum(map(len, found["inputs"])) >= count:
            break
    return {name: np.concatenate(parts)[:count] for name, parts in found.items()}


def generated(run: Any, options: Mapping[str, Any], labels: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Generates images in the shape and the type of those of the data."""
    endpoint = run.task.endpoints["generate"]
    keys = jax.random.split(jax.random.key(0), len(labels))
    parts = []
    for first in range(0, len(labels), FLAGS.batch):
        rows = slice(first, first + FLAGS.batch)
        inputs = {"key": keys[rows], **({"labels": jnp.asarray(labels[rows])} if "labels" in endpoint.inputs else {})}
        parts.append(np.asarray(like(endpoint.function(run.variables, inputs, **options), jnp.asarray(images[rows]))))
    return np.concatenate(parts)


def samplers_of(run: Any) -> tuple[str, ...]:
    """Returns the samplers of the process of a run."""
    flow = run.task.endpoints["generate"].options["sampler"] in RectifiedFlow.samplers
    return RectifiedFlow.samplers if flow else GaussianDiffusion.samplers


def measure(folder: str, logits: Any) -> list[dict[str, Any]]:
    """Measures all samplers and steps of one run, and prints a table."""
    run = restore.open_run(Path(folder), "best", ())
    dataset = run.dataset()
    real = rows_of(dataset.train, FLAGS.count)
    of_real = np.asarray(logits(real["inputs"]))
    labels, conditional = real["targets"], "labels" in run.task.endpoints["generate"].inputs
    held_out = rows_of(dataset.splits["validation"], FLAGS.count)
    metrics = classified_metrics(of_real, np.asarray(logits(held_out["inputs"])), held_out["targets"])
    rows = [{"run": folder, "sampler": "validation", "steps": 0, **metrics}]
    for sampler in samplers_of(run):
        for steps in map(int, FLAGS.steps):
            start = time.perf_counter()
            images = generated(run, {"sampler": sampler, "steps": steps}, labels, real["inputs"])
            seconds = time.perf_counter() - start
            metrics = classified_metrics(of_real, np.asarray(logits(images)), labels if conditional else None)
            rows.append({"run": folder, "sampler": sampler, "steps": steps, "seconds": seconds, **metrics})
    print(f"\n{folder}\n{'sampler':<12}{'steps':>6}" + "".join(f"{name.replace('logit_', ''):>18}" for name in COLUMNS))
    for row in rows:
        values = "".join(f"{row[name]:>18.3f}" if name in row else f"{'':>18}" for name in COLUMNS)
        print(f"{row['sampler']:<12}{row['steps']:>6}{values}", flush=True)
    return rows


def draw(rows: Sequence[Mapping[str, Any]], path: str) -> None:
    """Draws the Frechet distance and the recall over the number of steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4))
    panels = figure.subplots(1, 2)
    for axes, name in zip(panels, ("logit_frechet_distance", "recall"), strict=True):
        for run, sampler in dict.fromkeys((row["run"], row["sampler"]) for row in rows):
            points = [(row["steps"], row[name]) for row in rows if (row["run"], row["sampler"]) == (run, sampler)]
            if sampler == "validation":
                axes.axhline(points[0][1], color="gray", ls=":", lw=1)
            else:
                axes.plot(*zip(*points, strict=True), marker="o", label=f"{Path(run).name}, {sampler}")
        axes.set(xlabel="steps", ylabel=name.replace("logit_", "").replace("_", " "), xscale="log")
        ticks = sorted({row["steps"] for row in rows} - {0})
        axes.set_xticks(ticks, map(str, ticks))
        axes.minorticks_off()
    panels[0].set_ylim(bottom=0)
    panels[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main(overrides: program.Overrides) -> None:
    restore.reject_overrides(overrides)
    if not FLAGS.runs:
        raise UsageError("--runs must be run folders of tasks.diffusion, got none")
    classifier = restore.open_run(Path(FLAGS.classifier), "best", ())
    predict = classifier.task.endpoints["predict"].function
    logits = jax.jit(lambda images: predict(classifier.variables, {"inputs": images}))
    rows = [row for folder in FLAGS.runs for row in measure(folder, logits)]
    if FLAGS.json:
        harness.write(FLAGS.json, {"command": harness.command(), **harness.machine(), "rows": rows})
    if FLAGS.figure:
        draw(rows, FLAGS.figure)


if __name__ == "__main__":
    program.run(main)
