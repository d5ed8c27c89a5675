"""Reversible instance normalization with affine parameters (RevIN, Kim et al. 2022)."""

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.series.forecasting.forecaster import Forecaster
from jaxnets.series.windows import EPSILON


class RevIN(Forecaster):
    r"""A forecaster of windows that are standardized, then scaled and shifted by learned parameters of each channel:

    .. math::
        x' = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + 10^{-5}}} + \beta, \quad
        \hat y = \sqrt{\sigma^2 + 10^{-5}}\; \frac{f(x') - \beta}{\gamma + 10^{-10}} + \mu

    with the mean and the variance of the window, which are constants for gradients. For point forecasts and quantiles.
    Without the learned parameters this is the attribute ``normalization="standardize"`` of every forecaster.

    Parameters: ``scale [C]``, ``bias [C]``, ``model``.

    Attributes:
        model: A factory of f, such as ``series.SegRNN``, called with ``horizon``, ``num_outputs``, ``dtype`` and
            ``normalization="none"``.
    """

    normalization: str = "standardize"
    distributions: ClassVar[bool] = False
    model: Callable[..., Forecaster] | None = None

    @nn.compact
    def forecast(self, xs: jax.Array, *, train: bool = False) -> jax.Array:
        if self.model is None:
            raise ValueError("`model` must be a factory of a forecaster, such as series.SegRNN, got None")
        inner = self.model(
            horizon=self.horizon, num_outputs=self.num_outputs, dtype=self.dtype, normalization="none", name="model"
        )
        scale = self.param("scale", nn.initializers.ones, xs.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, xs.shape[-1:], jnp.float32)
        over = lambda values, array: jnp.broadcast_to(values.astype(array.dtype), array.shape)
        ys, _, _ = inner.normalized(xs * over(scale, xs) + over(bias, xs), train=train)
        ys = jnp.moveaxis(ys, -1, -2)  # [B, H, K, C]
        return jnp.moveaxis((ys - over(bias, ys)) / (over(scale, ys) + EPSILON**2), -1, -2)
