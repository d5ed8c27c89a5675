"""Script of ``test_configs_on_devices``: trains every shipped config for two steps on all available devices."""

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
    """Returns the losses of the first steps and of the first validation batch after them."""
    settings = config.load(name)
    with settings.ignore_type():
        settings.data = data if "name" in data else {**settings.data, **data}
        settings.data.batch_size = (
            ROWS * settings.task.get("discriminator_steps", 1) if name.startswith("gan") else ROWS
        )
    settings.optimizer.warmup_steps = 0
    if name == "cifar10":
        # The learning rate is meant for 128 images. With eight noise images the loss doubles in one step and amplifies
        # rounding errors: on one device it changes by 7e-4 between two optimization levels of XLA.
        settings.optimizer.learning_rate *= 0.01
    if name in ("forecast:ridge", "etth1:ridge"):
        settings.task.strength = 1.0  # a few windows make an ill-conditioned matrix
    settings.train.grad_accum_steps = 1
    dataset = build.dataset(settings)
    dataset = dataset._replace(splits={**dataset.splits, "validation": dataset.splits["validation"][:1]})
    task = build.task(settings, build.model(settings.model), dataset.spec)
    compiled = compile_run(settings, dataset, task)
    state = sharding.block_if_simulated(compiled.create())
    values = []
    for step in range(STEPS):
        state, metrics = sharding.block_if_simulated(compiled.step(state, compiled.train.put(dataset.train[step])))
        values += [float(value) for name, value in sorted(metrics.items()) if name.endswith("loss")]
    variables = task.learner.variables(state.learner)
    names = {name: scheduled.splits for name, scheduled in task.evaluators.items() if scheduled.every is None}
    metrics = evaluate(compiled.evaluators, variables, compiled.splits, settings.seed, names)
    # Other metrics, such as accuracy, are not continuous.
    return values + [value for name, value in metrics.items() if name == "validation/loss"]


def main(folder: str, text: str, out: str) -> None:
    data, losses_by_config = small_data(Path(folder), Path(text), ROWS), {}
    for name in config.shipped():
        losses_by_config[name] = losses(name, data.get(name, {}))
        print(name, jax.device_count(), losses_by_config[name], flush=True)
        jax.clear_caches()
    Path(out).write_text(json.dumps(losses_by_config))


if __name__ == "__main__":
    main(*sys.argv[1:])
