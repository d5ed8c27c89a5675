"""Training runs in the process of a test."""

import jax

from jaxnets.training import build, config, loop
from jaxnets.training.compiled import compile_run


def ready(*flags, name="char_lm"):
    """Returns the config, dataset, task and compiled functions of a run with ``--config.KEY=VALUE`` flags."""
    settings = config.load(name)
    config.override(settings, [tuple(flag.removeprefix("--config.").split("=", 1)) for flag in flags])
    dataset = build.dataset(settings, trusted=None)
    task = build.task(settings, build.model(settings.model, trusted=None), dataset.spec, trusted=None)
    return settings, dataset, task, compile_run(settings, dataset, task)


def trained(workdir, *flags, name="char_lm"):
    """Trains a run and returns its final variables."""
    workdir.mkdir(exist_ok=True)
    settings, dataset, task, compiled = ready(*flags, name=name)
    return jax.device_get(loop.train(settings, workdir, dataset, task, compiled).variables)
