"""Autoregressive forecasting: distributions of the next steps of a series, from sample paths."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.data.targets import Horizon
from jaxnets.learning import Aux, MakeLearner
from jaxnets.ops.checks import check_integer
from jaxnets.ops.masks import masked_mean
from jaxnets.series import DeepAR, Likelihood, sample_paths, sample_quantiles, student_t
from jaxnets.series.forecasting.deep_ar import check_distribution, in_scale
from jaxnets.tasks.models import Model, check_spec, complete_with_sizes
from jaxnets.tasks.series.forecasting import Forecast, check_likelihood, filled, keywords_of, losses_of, task_of
from jaxnets.tasks.task import Task


def autoregressive_forecasting(
    model: Model,
    spec: Horizon,
    make_learner: MakeLearner,
    *,
    likelihood: Likelihood | None = None,
    num_samples: int = 100,
) -> Task:
    """Returns the task of a network that predicts each value from those before it (``series.DeepAR``).

    Training minimizes the negative log-likelihood of all known values after the first of the window and of the horizon,
    each given the true values before it. The metric ``loss`` of an evaluation is that of the horizon alone. All other
    metrics are as in ``tasks.forecasting``, from sample paths: the point forecast is their mean, and the quantiles are
    ``series.sample_quantiles``. The endpoint ``predict`` uses the same random numbers for every window, so that its
    forecasts are deterministic and do not depend on the batch.

    Args:
        model: A ``series.DeepAR``, or a factory, which is called with ``horizon`` and ``num_outputs``.
        spec: The horizon.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        likelihood: A distribution; None: ``series.student_t()``, as in GluonTS.
        num_samples: Number of sample paths of each window.

    Raises:
        ValueError: The model cannot be made with these arguments, or the likelihood is not a distribution or does not
            suit the data.
    """
    check_spec("tasks.autoregressive_forecasting", spec, Horizon)
    check_integer("num_samples", num_samples)
    chosen = student_t() if likelihood is None else likelihood
    check_likelihood(chosen, spec)
    check_distribution(chosen)
    network = complete_with_sizes(model, horizon=spec.horizon, num_outputs=chosen.num_outputs)
    if not isinstance(network, DeepAR):
        name = type(network).__name__
        raise ValueError(
            f"`model` of tasks.autoregressive_forecasting must be series.DeepAR, got {name}, a model of "
            "tasks.forecasting"
        )

    def losses(variables: Any, batch: Any, targets: jax.Array, **options: Any) -> jax.Array:
        """Returns the losses of all values after the first of the window, ``[B, T + H - 1, C]``."""
        given = {**keywords_of(batch), "known": batch["mask"], "counts": chosen.rescale is not None}
        found: Any = network.apply(variables, batch["inputs"], targets, **given, **options)
        outputs, unit = in_scale(chosen, *found)
        values = jnp.concatenate([_window(batch), targets], axis=1)[:, 1:]
        return losses_of(chosen, outputs, jnp.zeros_like(unit), unit, values)

    def init(key, batch):
        return network.init(key, batch["inputs"], filled(batch), **keywords_of(batch))

    def loss(variables, batch, context):
        options = {"train": True, "rngs": {"dropout": context.key}}
        known = jnp.concatenate([_observed(batch), batch["mask"]], axis=1)[:, 1:]
        return masked_mean(losses(variables, batch, filled(batch), **options), known), Aux()

    def predict(variables, batch, keys):
        sampled = functools.partial(sample_paths, network, variables, chosen, keys, num_samples=num_samples)
        paths = jnp.sort(sampled(batch["inputs"], **keywords_of(batch)), axis=1)
        return Forecast(
            point=jnp.mean(paths, axis=1),
            quantiles=lambda levels: sample_quantiles(paths, levels),
            losses=lambda targets: losses(variables, batch, targets)[:, -spec.horizon :],
        )

    return task_of(network, spec, chosen, make_learner(init, loss), predict)


def _window(batch: Any) -> jax.Array:
    """Returns the window, 0 where values are missing."""
    return jnp.where(batch["observed"], batch["inputs"], 0) if "observed" in batch else batch["inputs"]


def _observed(batch: Any) -> jax.Array:
    """Returns the mask of the values of the window; a row without targets is padding of the batch."""
    if "observed" in batch:
        return batch["observed"]
    return jnp.broadcast_to(jnp.any(batch["mask"], (1, 2), keepdims=True), batch["inputs"].shape)
