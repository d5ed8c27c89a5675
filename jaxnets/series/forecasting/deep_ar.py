"""DeepAR: an autoregressive recurrent network with a likelihood (Salinas et al. 2017, arXiv:1704.04110)."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.ops.array_types import Array, Bool, Float, Key
from jaxnets.ops.checks import check_floating, check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Cell
from jaxnets.recurrent.cells.lstm import lstm
from jaxnets.recurrent.layers.rnn import StackedRNN, check_network
from jaxnets.series.forecasting.forecaster import given_covariates
from jaxnets.series.forecasting.likelihoods import Likelihood
from jaxnets.series.windows import mean_scale


class DeepAR(nn.Module):
    r"""A recurrent network that predicts the distribution of each value from all values before it.

    One network is shared by all series and channels. With the scale :math:`\nu` of the window,

    .. math::
        h_t = \mathrm{rnn}(h_{t-1}, [x_{t-1} / \nu, o_{t-1}, f_t, s, e_c, \log \nu]), \quad
        x_t \sim p(\cdot \mid W h_t + b, \nu)

    where o is 1 at observed values (if the data has missing values, which count as 0), f the future covariates, s the
    static covariates, and :math:`e_c` a learned vector of the channel. The scale is ``series.mean_scale``: the mean
    absolute value of the window, as in GluonTS, or for counts 1 plus this mean, as in the paper. The outputs are the
    parameters of the distribution of :math:`x_t / \nu`, or for counts those before ``Likelihood.rescale``.

    Parameters: ``channels [C, embed_dim]``, ``rnn`` (of ``recurrent.StackedRNN``), ``head``.

    Attributes:
        horizon: H, the number of steps to forecast.
        num_outputs: K, parameters of the distribution of a value, 3 for ``series.student_t``.
        cell: A function from ``hidden_size`` to a cell, such as ``recurrent.lstm``.
        hidden_size: Number of hidden units of each layer.
        num_layers: Number of layers.
        dropout: Dropout probability between layers.
        embed_dim: Features of the vector of a channel.
        dtype: Compute type; the last layer and the outputs are float32 at least.
    """

    horizon: int
    num_outputs: int = 3
    cell: Callable[[int], Cell] = lstm
    hidden_size: int = 40
    num_layers: int = 2
    dropout: float = 0.1
    embed_dim: int = 8
    dtype: Dtype = jnp.float32
    covariates: ClassVar[tuple[str, ...]] = ("future", "static")

    def __call__(
        self,
        xs: Float[Array, "B T C"],
        ys: Float[Array, "B steps C"] | None = None,
        *,
        observed: Bool[Array, "B T C"] | None = None,
        known: Bool[Array, "B steps C"] | None = None,
        counts: bool = False,
        train: bool = False,
        **covariates: Any,
    ) -> tuple[Float[Array, "B steps C K"], Float[Array, "B 1 C"]]:
        """Computes the distributions of all values after the first, given the values before each (teacher forcing).

        Args:
            xs: ``[B, T, C]``, the window, with T of at least 1.
            ys: ``[B, H, C]``, the values after the window; None: only the distributions of the window.
            observed: bool ``[B, T, C]``, False at missing values; None: all values are observed.
            known: bool ``[B, H, C]``, False at missing values of ``ys``; None: all values are known.
            counts: Whether the values are counts in their own units, which have another scale.
            train: Whether to apply dropout, which needs ``rngs={"dropout": key}``.
            **covariates: ``future [B, T + H, F]`` and ``static [B, S]``; None is ignored.

        Returns:
            The outputs ``[B, T + H - 1, C, K]``, or ``[B, T - 1, C, K]`` without ``ys``, and the scale ``[B, 1, C]``.

        Raises:
            ValueError: An attribute or ``xs`` is invalid, or the model does not use a covariate.
        """
        values, flags, scale, given = self.prepare(xs, observed, counts, covariates)
        if ys is not None:
            known = jnp.ones(ys.shape, bool) if known is None else known
            values = jnp.concatenate([values, jnp.where(known, ys, 0).astype(values.dtype) / scale], axis=1)
            flags = None if flags is None else jnp.concatenate([flags, known], axis=1)
        length = values.shape[1]
        future = given["future"][:, 1:length] if "future" in given else None
        before = None if flags is None else flags[:, :-1]
        _, outputs = self.advance(values[:, :-1], before, scale, future, given.get("static"), train=train)
        return outputs, scale

    @nn.nowrap
    def prepare(
        self, xs: Any, observed: Any, counts: bool, covariates: dict[str, Any]
    ) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Returns the window divided by its scale, its mask or None, the scale and the covariates, after checks."""
        check_network(self.cell, self.dropout, hidden_size=self.hidden_size, num_layers=self.num_layers)
        for name in ("horizon", "num_outputs", "embed_dim"):
            check_integer(name, getattr(self, name))
        check_floating("xs", xs, "[B, T, C]", 3)
        if not xs.shape[1]:
            raise ValueError("`xs` must have at least 1 step, got 0")
        wide = at_least_float32(self.dtype)
        xs = (xs if observed is None else jnp.where(observed, xs, 0)).astype(wide)
        scale = mean_scale(xs, observed, counts)
        return xs / scale, observed, scale, given_covariates(self, covariates, wide)

    @nn.compact
    def advance(
        self,
        values: Float[Array, "*batch L C"],
        observed: Bool[Array, "*batch L C"] | None,
        scale: Float[Array, "*batch 1 C"],
        future: Float[Array, "*batch L F"] | None = None,
        static: Float[Array, "*batch S"] | None = None,
        carry: Any = None,
        *,
        train: bool = False,
    ) -> tuple[Any, Float[Array, "*batch L C K"]]:
        """Computes the outputs for L steps from the values one step before.

        Args:
            values: ``[*batch, L, C]``, divided by the scale, 0 where missing.
            observed: bool ``[*batch, L, C]``, or None.
            scale: ``[*batch, 1, C]``.
            future: ``[*batch, L, F]``, the covariates of the predicted steps; axes of size 1 are repeated.
            static: ``[*batch, S]``, or None; axes of size 1 are repeated.
            carry: The carries of the layers; None at the first step.
            train: Whether to apply dropout.

        Returns:
            The carries after the last step, and the outputs.
        """
        channels = self.param("channels", nn.initializers.normal(1.0), (values.shape[-1], self.embed_dim), jnp.float32)
        per_value = [values, jnp.log(scale)] if observed is None else [values, observed, jnp.log(scale)]
        features = [each[..., None] for each in per_value] + [channels]
        features += [] if future is None else [future[..., None, :]]
        features += [] if static is None else [static[..., None, None, :]]
        full = lambda each: jnp.broadcast_to(each.astype(self.dtype), (*values.shape, each.shape[-1]))
        inputs = jnp.concatenate([full(each) for each in features], axis=-1)
        network = StackedRNN(
            self.cell(self.hidden_size),
            num_layers=self.num_layers,
            dropout=self.dropout,
            dtype=self.dtype,
            name="rnn",
        )
        carry, hs = network(jnp.swapaxes(inputs, -3, -2), carry, train=train)
        outputs = nn.Dense(self.num_outputs, dtype=at_least_float32(self.dtype), name="head")(hs)
        return carry, jnp.swapaxes(outputs, -3, -2)


def in_scale(likelihood: Likelihood, outputs: jax.Array, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the outputs ``[..., C, K]`` and the scale ``[..., C]`` that describe ``values / scale``.

    For counts, the outputs are those of the values themselves, and the scale is 1.
    """
    scale = jnp.broadcast_to(scale, outputs.shape[:-1])
    return (
        (outputs, scale) if likelihood.rescale is None else (likelihood.rescale(outputs, scale), jnp.ones_like(scale))
    )


def sample_paths(
    model: DeepAR,
    variables: Any,
    likelihood: Likelihood,
    keys: Key[Array, " B"],
    xs: Float[Array, "B T C"],
    *,
    observed: Bool[Array, "B T C"] | None = None,
    num_samples: int = 100,
    **covariates: Any,
) -> Float[Array, "B samples H C"]:
    """Samples the H steps after a window by ancestral sampling: each step is sampled given the samples before it.

    Args:
        model: The network.
        variables: Its variables.
        likelihood: A distribution, such as ``series.student_t()``.
        keys: One ``jax.random.key`` for each window. The samples of a window do not depend on the other windows.
        xs: ``[B, T, C]``, the windows.
        observed: bool ``[B, T, C]``, False at missing values; None: all values are observed.
        num_samples: Number of paths of each window.
        **covariates: ``future [B, T + H, F]`` and ``static [B, S]``; None is ignored.

    Returns:
        ``[B, num_samples, H, C]``.

    Raises:
        ValueError: An argument or an attribute of the model is invalid, or the likelihood is not a distribution.
    """
    check_integer("num_samples", num_samples)
    check_distribution(likelihood)
    draw = likelihood.sample
    assert draw is not None
    values, flags, scale, given = model.prepare(xs, observed, likelihood.rescale is not None, covariates)
    length, future, static = xs.shape[1], given.get("future"), given.get("static")
    advance: Any = functools.partial(model.apply, variables, method="advance")
    until = lambda array, start: None if array is None else array[:, start : start + length - 1]
    carry, _ = advance(until(values, 0), until(flags, 0), scale, until(future, 1), static)
    paths = lambda array: jnp.broadcast_to(array[:, None], (len(xs), num_samples, *array.shape[1:]))
    of_paths = paths(scale)
    last_flags = None if flags is None else paths(flags[:, -1:])
    one = lambda array: None if array is None else array[:, None]  # the axis of paths

    def step(state, given_step):
        carry, before, flags = state
        index, of_future = given_step
        at_step = None if of_future is None else of_future[:, None, None]
        carry, outputs = advance(before, flags, of_paths, at_step, one(static), carry)
        outputs, unit = in_scale(likelihood, outputs[:, :, 0], of_paths[:, :, 0])
        sampled = unit * jax.vmap(draw)(jax.vmap(jax.random.fold_in, (0, None))(keys, index), outputs)
        after = (sampled / of_paths[:, :, 0])[:, :, None]
        return (carry, after, None if flags is None else jnp.ones_like(flags)), sampled

    ahead = None if future is None else jnp.moveaxis(future[:, length : length + model.horizon], 1, 0)
    initial = (jax.tree.map(paths, carry), paths(values[:, -1:]), last_flags)
    _, sampled = jax.lax.scan(step, initial, (jnp.arange(model.horizon), ahead))
    return jnp.moveaxis(sampled, 0, 2)


def sample_quantiles(
    sorted_paths: Float[Array, "B samples H C"], levels: Float[Array, " Q"]
) -> Float[Array, "B H C Q"]:
    """Computes the quantiles of sample paths at every step.

    The quantile at level q is the sample at position q (n + 1), interpolated linearly (Hyndman and Fan 1996, type 6):
    a value from the same distribution is below it with probability q. Beyond the samples it is the first or the last
    of them.

    Args:
        sorted_paths: ``[B, n, H, C]``, sorted along the axis of samples.
        levels: q, ``[Q]``, between 0 and 1.
    """
    count = sorted_paths.shape[1]
    position = jnp.clip(levels.astype(sorted_paths.dtype) * (count + 1) - 1, 0, count - 1)
    lower = jnp.floor(position).astype(jnp.int32)
    low, high = (jnp.moveaxis(sorted_paths[:, at], 1, -1) for at in (lower, jnp.minimum(lower + 1, count - 1)))
    return low + jnp.broadcast_to(position - lower.astype(position.dtype), low.shape) * (high - low)


def check_distribution(likelihood: Likelihood) -> None:
    """Raises a ValueError unless a likelihood has samples."""
    if likelihood.sample is None:
        raise ValueError("`likelihood` must be a distribution, such as series.student_t(), got points or quantiles")
