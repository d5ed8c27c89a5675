"""Intervals of point forecasts, from the errors on the validation split."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.learning import Evaluator
from jaxnets.learning.evaluators import from_scores_of_splits
from jaxnets.ops.host import extras

Residuals = Mapping[str, tuple[np.ndarray, np.ndarray]]


def residual_intervals(
    residual: Callable[[Any, Any], tuple[jax.Array, jax.Array]],
    levels: tuple[float, ...],
    interval: tuple[float, float],
) -> Evaluator:
    r"""Creates an evaluator of intervals from the quantiles of the validation errors (split conformal prediction).

    For each step h of the horizon and each channel c, the quantile q of the forecast is

    .. math:: \hat y_{hc} + Q_q(\{y_{ihc} - \hat y_{ihc} : i \text{ a validation window}\})

    The metrics of every other split are ``residual_crps``, twice the mean pinball loss, and ``residual_coverage_90``,
    the fraction of values within the interval. They need the validation split.

    Args:
        residual: ``(variables, batch) -> (errors [B, H, C], mask bool [B, H, C])``.
        levels: The levels of the CRPS.
        interval: The lower and the upper level of the interval.

    References:
        Lei et al., Distribution-Free Predictive Inference for Regression, 2018, arXiv:1604.04173.
    """

    def score(variables: Any, batch: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        errors, mask = residual(variables, batch)
        return errors, mask, jnp.any(mask, axis=(1, 2))

    def compute(splits: Residuals) -> dict[str, float]:
        extras.require(__name__, "train")
        from sklearn.metrics import mean_pinball_loss  # the import takes a second

        if "validation" not in splits:
            return {}
        reference = np.where(splits["validation"][1], splits["validation"][0].astype(np.float64), np.nan)
        seen = ~np.isnan(reference).all(0)  # [H, C]
        reference = np.where(seen, reference, 0)
        quantiles = np.nanquantile(reference, levels, axis=0)
        lower, upper = np.nanquantile(reference, interval, axis=0)
        found: dict[str, float] = {}
        for name, (errors, mask) in splits.items():
            known = mask & seen
            if name == "validation" or not known.any():
                continue
            inside = ((lower <= errors) & (errors <= upper))[known]
            losses = [
                mean_pinball_loss(errors[known], np.broadcast_to(values, errors.shape)[known], alpha=level)
                for values, level in zip(quantiles, levels, strict=True)
            ]
            found[f"{name}/residual_crps"] = 2 * float(np.mean(losses))
            found[f"{name}/residual_coverage_90"] = float(inside.mean())
        return found

    return from_scores_of_splits(score, compute)
