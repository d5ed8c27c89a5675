"""Training of every shipped config for a few steps on all devices, for ``test_configs_on_devices``."""

import json
import sys
from pathlib import Path

import jax
from shipped_configs import small_data

from jaxnets.training import build, config
from jaxnets.training.compiled import compile_run, evaluate
from jaxnets.training.distributed import sharding

ROWS, STEPS = 8, 2


def losses(name: str, data: dict) -> list[float]:
    """Returns the losses of the first steps, and the loss of the first validation batch after them."""
    settings = config.load(name)
    with settings.ignore_type():
        settings.data = data if "name" in data else {**settings.data, **data}
        settings.data.batch_size = ROWS * settings.task.get("discriminator_steps", 1) if name == "gan" else ROWS
    settings.optimizer.warmup_steps = 0
    if name == "cifar10":
        # The learning rate is for batches of 128 images. With eight images of noise the second loss is twice the first,
        # and rounding errors grow with it: also on one device, by 7e-4 between two XLA optimization levels.
        settings.optimizer.learning_rate *= 0.01
    settings.train.grad_accum_steps = 1
    dataset = build.dataset(settings)
    dataset = dataset._replace(splits={**dataset.splits, "validation": dataset.splits["validation"][:1]})
    task = build.task(settings, build.model(settings.model), dataset.spec)
    compiled = compile_run(settings, dataset, task)
    state = sharding.settled(compiled.create())
    found = []
    for step in range(STEPS):
        state, metrics = sharding.settled(compiled.step(state, compiled.train.put(dataset.train[step])))
        found += [float(value) for name, value in sorted(metrics.items()) if name.endswith("loss")]
    variables = task.learner.variables(state.learner)
    names = {name: each.splits for name, each in task.evaluators.items() if each.every is None}
    measured = evaluate(compiled.evaluators, variables, compiled.splits, settings.seed, names)
    return found + [
        value for name, value in measured.items() if name == "validation/loss"
    ]  # other metrics may be counts, which are discontinuous


def main(folder: str, text: str, out: str) -> None:
    data, found = small_data(Path(folder), Path(text), ROWS), {}
    for name in config.shipped():
        found[name] = losses(name, data.get(name, {}))
        print(name, jax.device_count(), found[name], flush=True)
        jax.clear_caches()
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
