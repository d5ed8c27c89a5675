"""Linear forecasting models: NLinear and DLinear (Zeng et al. 2023, arXiv:2205.13504)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.convolution.models.tcn import UNIFORM
from jaxnets.series.forecasting.forecaster import Forecaster
from jaxnets.series.windows import moving_average


class NLinear(Forecaster):
    r"""A linear map of the window relative to its last value, shared by all channels:

    .. math:: \hat y = W (x - x_T) + b + x_T

    Parameters: ``linear`` with ``kernel [T, H K]`` and ``bias``.

    Attributes:
        use_bias: Whether b is learned. It is the mean change of the series after the window, so that a drift in the
            training data is continued.
    """

    normalization: str = "last"
    use_bias: bool = True

    @nn.compact
    def forecast(self, xs: jax.Array, *, train: bool = False) -> jax.Array:
        options = {"use_bias": self.use_bias, "kernel_init": UNIFORM}
        dense = self.head(self.horizon * self.num_outputs, name="linear", **options)
        return self.split(dense(jnp.swapaxes(xs, -1, -2)))


class DLinear(Forecaster):
    r"""Linear maps of a moving average m(x) and of the rest, shared by all channels:

    .. math:: \hat y = W_1 (x - m(x)) + b_1 + W_2\, m(x) + b_2

    As in the published code, both kernels start at 1 / T.

    Parameters: ``seasonal`` and ``trend``, each with ``kernel [T, H K]`` and ``bias``.

    Attributes:
        window: Steps of the moving average, odd.
    """

    window: int = 25

    @nn.compact
    def forecast(self, xs: jax.Array, *, train: bool = False) -> jax.Array:
        trend = moving_average(xs, self.window)
        init = nn.initializers.constant(1 / xs.shape[-2])
        dense = lambda name: self.head(self.horizon * self.num_outputs, kernel_init=init, name=name)
        seasonal = dense("seasonal")(jnp.swapaxes(xs - trend, -1, -2))
        return self.split(seasonal + dense("trend")(jnp.swapaxes(trend, -1, -2)))
