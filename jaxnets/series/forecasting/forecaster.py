"""The common interface of forecasting models, as a Linen module."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.ops.array_types import Array, Bool, Float
from jaxnets.ops.checks import check_floating, check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.series.windows import window_moments

COVARIATES = ("past", "future", "static")


class Forecaster(nn.Module):
    """A model that maps a window of a series to all steps of a horizon.

    The window is normalized, ``forecast`` is applied, and the normalization is undone. A subclass defines
    ``forecast(xs [B, T, C], *, train=False, **covariates) -> [B, H, C, K]`` and ``covariates``, the names of those that
    it uses; and ``distributions`` = False if its outputs cannot be the parameters of a distribution.

    Attributes:
        horizon: H, the number of steps to forecast.
        num_outputs: K, numbers per forecast value: 1 for a point forecast, the parameters of a distribution, or
            quantiles.
        normalization: ``"none"``, ``"last"`` or ``"standardize"``, as in ``series.window_moments``.
        dtype: Compute type; the last layer and the outputs are float32 at least.
    """

    horizon: int
    num_outputs: int = 1
    normalization: str = "none"
    dtype: Dtype = jnp.float32
    forecast: ClassVar[Callable[..., jax.Array]]
    covariates: ClassVar[tuple[str, ...]] = ()
    distributions: ClassVar[bool] = True

    def __call__(
        self,
        xs: Float[Array, "B T C"],
        *,
        observed: Bool[Array, "B T C"] | None = None,
        train: bool = False,
        **covariates: Any,
    ) -> Float[Array, "..."]:
        """Computes point forecasts or quantiles. For the parameters of distributions, use ``normalized``.

        Args:
            xs: ``[B, T, C]``, the window.
            observed: bool ``[B, T, C]``, False at missing values; None: all values are observed.
            train: Whether to apply dropout, which needs ``rngs={"dropout": key}``. Batch normalization also needs
                ``mutable=["batch_stats"]``.
            **covariates: ``past [B, T, P]``, ``future [B, T + H, F]`` and ``static [B, S]``, for models that use them;
                None is ignored.

        Returns:
            ``[B, H, C]``, or ``[B, H, C, K]`` if K > 1.

        Raises:
            ValueError: An attribute or ``xs`` is invalid, or the model does not use a covariate.
        """
        outputs, shift, scale = self.normalized(xs, observed=observed, train=train, **covariates)
        outputs = shift[..., None] + scale[..., None] * outputs
        return outputs[..., 0] if self.num_outputs == 1 else outputs

    def normalized(
        self,
        xs: Float[Array, "B T C"],
        *,
        observed: Bool[Array, "B T C"] | None = None,
        train: bool = False,
        **covariates: Any,
    ) -> tuple[Float[Array, "B H C K"], Float[Array, "B 1 C"], Float[Array, "B 1 C"]]:
        """Computes the outputs for the normalized window, with the shift and the scale of the normalization.

        The arguments are as in ``__call__``. The outputs describe ``(y - shift) / scale`` for the values y.
        """
        check_integer("horizon", self.horizon)
        check_integer("num_outputs", self.num_outputs)
        check_floating("xs", xs, "[B, T, C]", 3)
        xs = xs.astype(at_least_float32(xs.dtype))
        shift, scale = window_moments(xs, self.normalization, observed)
        xs = (xs - shift) / scale
        if observed is not None:
            xs = jnp.where(observed, xs, 0)
        wide = at_least_float32(self.dtype)
        given = given_covariates(self, covariates, wide)
        outputs = self.forecast(xs.astype(wide), train=train, **given)
        return outputs.astype(wide), shift.astype(wide), scale.astype(wide)

    def head(self, features: int, **options: Any) -> nn.Dense:
        """Returns a linear layer for outputs, in float32 at least."""
        return nn.Dense(features, dtype=at_least_float32(self.dtype), **options)

    def split(self, ys: Float[Array, "B C outputs"]) -> Float[Array, "B H C K"]:
        """Reshapes the H * K outputs of each channel to ``[B, H, C, K]``."""
        return jnp.moveaxis(ys.reshape(*ys.shape[:-1], self.horizon, self.num_outputs), -3, -2)


def given_covariates(model: Any, covariates: dict[str, Any], dtype: Dtype) -> dict[str, jax.Array]:
    """Returns the covariates that are not None in a dtype; raises a ValueError for one that the model does not use."""
    given = {name: array.astype(dtype) for name, array in covariates.items() if array is not None}
    for name in given.keys() - set(model.covariates):
        used = " and ".join(model.covariates) or "no covariates"
        raise ValueError(f"`{name}` must not be given to {type(model).__name__}, which uses {used}")
    return given
