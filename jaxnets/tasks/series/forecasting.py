"""Forecasting: predictions of the next steps of a series, as points, quantiles or distributions.

A batch is a dict: ``inputs`` float32 ``[B, T, C]``; ``targets`` ``[B, H, C]``; ``mask`` bool ``[B, H, C]``;
``observed`` bool ``[B, T, C]`` if values are missing; and the covariates ``past [B, T, P]``,
``future [B, T + H, F]`` and ``static [B, S]``, if there are any.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets.data.targets import Horizon
from jaxnets.learning import Aux, Learner, MakeLearner, mean_over
from jaxnets.learning.evaluators import ScheduledEvaluator, means
from jaxnets.ops.masks import masked_mean
from jaxnets.reports import Table, series_figures
from jaxnets.series import DeepAR, Forecaster, Likelihood, pinball, point, seasonal_naive
from jaxnets.series.forecasting.forecaster import COVARIATES
from jaxnets.tasks.models import Model, check_spec, complete_with_sizes
from jaxnets.tasks.series.residual_intervals import residual_intervals
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of

INPUTS: dict[str, tuple[str, ...]] = dict.fromkeys(("inputs", "observed", *COVARIATES), ("batch",))

INTERVAL = (0.05, 0.95)  # levels of the reported interval
CRPS_LEVELS = tuple((i + 0.5) / 100 for i in range(100))


class Forecast(NamedTuple):
    """Forecasts of a batch of windows, in the units of the targets.

    Attributes:
        point: The point forecast ``[B, H, C]``.
        quantiles: ``levels [Q] -> [B, H, C, Q]``, or None for point forecasts.
        losses: ``targets [B, H, C] -> [B, H, C]``, the loss of each value; missing targets are 0.
    """

    point: jax.Array
    quantiles: Callable[[jax.Array], jax.Array] | None
    losses: Callable[[jax.Array], jax.Array]


Predict = Callable[[Any, Any, jax.Array], Forecast]  # (variables, batch, keys [B] of the rows) -> Forecast


def forecasting(
    model: Model, spec: Horizon, make_learner: MakeLearner, *, likelihood: Likelihood | None = None
) -> Task:
    """Returns the task of forecasting the next H steps of a series.

    Metrics are means over the known values of all windows, steps and channels, of standardized targets if the data is
    standardized: ``loss``; ``mse`` and ``mae`` of the point forecast; ``mase``, the absolute error relative to that of
    the seasonal naive forecast over the training part (Hyndman and Koehler 2006), with one scale per channel for all
    series; with quantiles also ``crps`` and ``coverage_90``, the fraction of values between the quantiles of 5 % and
    95 %. ``naive_mse`` and ``naive_mae`` are the errors of the seasonal naive forecast, if the window has a season.
    ``jaxnets.evaluate`` adds the metrics of ``residual_intervals`` for point forecasts.

    Args:
        model: ``(inputs [B, T, C], train=) -> [B, H, C]``, or ``[B, H, C, K]`` for K outputs per value, with
            ``observed=``, ``past=``, ``future=`` and ``static=`` if the batch has them; or a ``series.Forecaster``. A
            factory is called with ``horizon`` and ``num_outputs`` = K.
        spec: The horizon.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        likelihood: A likelihood, such as ``series.gaussian()``; None: ``series.point()``, the squared error.

    Raises:
        ValueError: If the model cannot be made with these arguments, or the likelihood does not suit the data.
    """
    check_spec("tasks.forecasting", spec, Horizon)
    chosen = point() if likelihood is None else likelihood
    check_likelihood(chosen, spec)
    network = complete_with_sizes(model, horizon=spec.horizon, num_outputs=chosen.num_outputs)
    if isinstance(network, DeepAR):
        raise ValueError("`task` must be tasks.autoregressive_forecasting for series.DeepAR, got tasks.forecasting")
    if chosen.scaling == "none" and getattr(network, "normalization", "none") != "none":
        raise ValueError(f"`normalization` must be none for a likelihood of counts, got {network.normalization!r}")
    if chosen.scaling == "density" and not getattr(network, "distributions", True):
        name = type(network).__name__
        raise ValueError(f"`likelihood` must be of points or quantiles for series.{name}, got a distribution")
    predict = predictor(network, chosen)

    def init(key, batch):
        return network.init(key, batch["inputs"], **keywords_of(batch))

    def loss(variables, batch, context):
        options = {"train": True, "rngs": {"dropout": context.key}, "mutable": ["batch_stats"]}
        (outputs, shift, scale), updated = predict(variables, batch, **options)
        return masked_mean(losses_of(chosen, outputs, shift, scale, filled(batch)), batch["mask"]), Aux(updated=updated)

    return task_of(network, spec, chosen, make_learner(init, loss), at_once(predict, spec, chosen))


def predictor(network: nn.Module, likelihood: Likelihood) -> Callable[..., Any]:
    """Returns ``(variables, batch, **options) -> (outputs [B, H, C, K], shift, scale)``.

    With ``mutable`` among the options, it returns a pair of these and the updated variables.
    """

    def predict(variables: Any, batch: Any, **options: Any) -> Any:
        keywords = {**keywords_of(batch), **options}
        if isinstance(network, Forecaster):
            return network.apply(variables, batch["inputs"], method="normalized", **keywords)
        found: Any = network.apply(variables, batch["inputs"], **keywords)
        outputs, updated = found if "mutable" in options else (found, None)
        outputs = outputs[..., None] if likelihood.num_outputs == 1 and outputs.ndim == 3 else outputs
        moments = jnp.zeros_like(batch["inputs"][:, :1]), jnp.ones_like(batch["inputs"][:, :1])
        return ((outputs, *moments), updated) if "mutable" in options else (outputs, *moments)

    return predict


def at_once(predict: Callable[..., Any], spec: Horizon, likelihood: Likelihood) -> Predict:
    """Returns the forecasts of a model that predicts all steps at once; ``predict`` is as ``predictor`` returns it."""

    def forecast(variables: Any, batch: Any, keys: jax.Array) -> Forecast:
        outputs, shift, scale = predict(variables, batch)
        chex.assert_shape(outputs, (len(batch["inputs"]), spec.horizon, spec.size, likelihood.num_outputs))

        def quantiles(levels: jax.Array) -> jax.Array:
            assert likelihood.quantiles is not None
            return shift[..., None] + scale[..., None] * likelihood.quantiles(outputs, levels)

        return Forecast(
            point=shift + scale * likelihood.point(outputs),
            quantiles=None if likelihood.quantiles is None else quantiles,
            losses=lambda targets: losses_of(likelihood, outputs, shift, scale, targets),
        )

    return forecast


def task_of(network: nn.Module, spec: Horizon, likelihood: Likelihood, learner: Learner, predict: Predict) -> Task:
    """Returns a forecasting task with a given learner.

    Evaluation gives each row its own key; the endpoint gives all rows the same key, so that equal windows have equal
    forecasts, in any batch.
    """
    errors_of_naive = np.asarray(spec.naive_error, np.float32)
    has_scale, has_naive = bool(np.all(errors_of_naive > 0)), spec.season <= spec.context

    def crps(quantiles, targets):
        """Computes twice the mean pinball loss, one level after the other to save memory."""

        def add(total, level):
            return total + pinball(quantiles(level[None]), targets, level[None])[..., 0], None

        total, _ = jax.lax.scan(add, jnp.zeros_like(targets), jnp.asarray(CRPS_LEVELS, jnp.float32))
        return 2 * total / len(CRPS_LEVELS)

    def measure(variables, batch, key, carry):
        targets, mask = filled(batch), batch["mask"]
        forecast, quantiles, losses = predict(variables, batch, jax.random.split(key, len(targets)))
        errors = jnp.abs(forecast - targets)
        values = {"loss": losses(targets), "mse": errors**2, "mae": errors}
        if has_scale:
            values["mase"] = errors / jnp.broadcast_to(errors_of_naive, errors.shape)
        if quantiles is not None:
            lower, upper = jnp.moveaxis(quantiles(jnp.asarray(INTERVAL, jnp.float32)), -1, 0)
            values["crps"] = crps(quantiles, targets)
            values["coverage_90"] = (lower <= targets) & (targets <= upper)
        metrics = {name: mean_over(value, mask) for name, value in values.items()}
        if has_naive:
            repeat = lambda array: seasonal_naive(array, spec.horizon, spec.season)
            naive = jnp.abs(repeat(batch["inputs"]) - targets)
            known = mask & repeat(batch["observed"]) if "observed" in batch else mask
            metrics |= {"naive_mse": mean_over(naive**2, known), "naive_mae": mean_over(naive, known)}
        return metrics, ()

    def in_units(values):
        """Converts standardized values, in their dtype: arrays of JAX on devices, arrays of NumPy on the host."""
        if spec.statistics is None:
            return values
        mean, std = spec.statistics.origin + spec.statistics.offset, spec.statistics.std
        of = lambda constant: np.broadcast_to(np.asarray(constant, values.dtype), values.shape)
        return values * of(std) + of(mean)

    def standardized(variables, batch):
        keys = jnp.broadcast_to(jax.random.key(0), (len(batch["inputs"]),))
        forecast, quantiles, _ = predict(variables, batch, keys)
        if quantiles is None:
            return {"forecast": forecast}
        found = quantiles(jnp.asarray(INTERVAL, jnp.float32))
        return {"forecast": forecast, "lower": found[..., 0], "upper": found[..., 1]}

    def endpoint(variables, batch):
        return {name: in_units(values) for name, values in standardized(variables, batch).items()}

    def residual(variables, batch):
        return filled(batch) - standardized(variables, batch)["forecast"], batch["mask"]

    evaluators = {"metrics": ScheduledEvaluator(means(measure))}
    if likelihood.quantiles is None:
        intervals = residual_intervals(residual, CRPS_LEVELS, INTERVAL)
        evaluators["intervals"] = ScheduledEvaluator(intervals, ("validation", "test"), every=0)

    drawn = jax.jit(lambda variables, batch: {**standardized(variables, batch), "targets": filled(batch)})

    def draw(variables, splits, key):
        predict_one = lambda batch: drawn(variables, batch)
        wide = lambda values: in_units(values.astype(np.float64))
        return series_figures.forecasts(predict_one, splits["validation"], spec.names, wide)

    return Task(
        learner=learner,
        evaluators=evaluators,
        objective=("validation/loss", "min"),
        reports={"figures": draw},
        endpoints={"predict": Endpoint(endpoint, INPUTS, present=lambda outputs: {"forecasts": _table(outputs, spec)})},
        items=Items(lambda batch: len(batch["inputs"]), "window"),
        units={"loss": "per value" if likelihood.scaling == "outputs" else "nats per value"},
        partition_rules=partition_rules_of(network),
    )


def check_likelihood(likelihood: Any, spec: Horizon) -> None:
    """Raises a ValueError for an argument that is not a likelihood, or one of counts with standardized data."""
    if not isinstance(likelihood, Likelihood):
        got = getattr(likelihood, "__name__", repr(likelihood))
        raise ValueError(
            f"`likelihood` must be a series.Likelihood, such as series.gaussian(), got {got}; in a config it is "
            '{"name": "series.gaussian"}'
        )
    if likelihood.scaling == "none" and spec.std is not None:
        raise ValueError("`standardize` must be none for a likelihood of counts, got standardized data")


def keywords_of(batch: Any) -> dict[str, Any]:
    return {name: batch[name] for name in ("observed", *COVARIATES) if name in batch}


def losses_of(
    likelihood: Likelihood, outputs: jax.Array, shift: jax.Array, scale: jax.Array, targets: jax.Array
) -> Any:
    """Computes the loss of each value ``[B, H, C]`` from the outputs for the normalized window."""
    if likelihood.scaling == "density":
        losses = likelihood.loss(outputs, (targets - shift) / scale)
        return losses + jnp.broadcast_to(jnp.log(scale), losses.shape)
    return likelihood.loss(shift[..., None] + scale[..., None] * outputs, targets)


def filled(batch: Any) -> jax.Array:
    return jnp.where(batch["mask"], batch["targets"], 0)


def _table(outputs: dict[str, Any], spec: Horizon) -> Table:
    """Returns the forecasts of each window, one row per step."""
    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    suffix = {"forecast": "", "lower": " 5 %", "upper": " 95 %"}
    columns = [f"{channel}{suffix[name]}" for channel in spec.names for name in arrays]
    stacked = np.stack(list(arrays.values()), axis=-1)  # [N, H, C, 1 or 3]
    rows = [
        (i, step + 1, *stacked[i, step].reshape(-1).tolist())
        for i in range(stacked.shape[0])
        for step in range(stacked.shape[1])
    ]
    return Table(("row", "step", *columns), rows)
