"""The two processes from noise to images that a network can learn: Gaussian diffusion and rectified flow.

Both have the methods ``losses``, ``sample`` and ``negative_log_likelihood`` and the attributes ``num_levels``,
``samplers``, ``max_steps`` and ``learned_variance``, which ``tasks.diffusion`` uses. Their ``network`` maps noisy
images ``[B, H, W, C]`` and times ``[B]``, from 0 to about 1000, to a prediction.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxnets.generative.diffusion import samplers
from jaxnets.generative.diffusion.flow_matching import (
    flow_matching_log_prob,
    integrate_path,
    logit_normal_times,
    straight_path,
)
from jaxnets.generative.diffusion.posterior import (
    FIXED_VARIANCES,
    Gaussian,
    bound_terms,
    log_variances,
    posterior,
    prior_term,
)
from jaxnets.generative.diffusion.predictions import PREDICTIONS, prediction_target
from jaxnets.generative.diffusion.sampling import Denoise, denoiser, fold_rows, normal_rows, sample_path
from jaxnets.generative.diffusion.schedules import (
    SPACINGS,
    NoiseSchedule,
    add_noise,
    at_times,
    cosine_betas,
    linear_betas,
    noise_schedule,
    subsequence,
)
from jaxnets.ops.array_types import Array, Float, Key, Num
from jaxnets.ops.checks import check_choice, check_integer, check_number

Network = Callable[[Float[Array, "B ..."], Num[Array, " B"]], Float[Array, "B ..."]]

SCHEDULES = ("linear", "cosine")
SAMPLERS = {
    "ddim": lambda schedule, variance: samplers.ddim(schedule),
    "dpm_solver": lambda schedule, variance: samplers.dpm_solver(schedule),
    "ancestral": lambda schedule, variance: samplers.ancestral(schedule, variance),
}


@dataclasses.dataclass(frozen=True)
class GaussianDiffusion:
    r"""Gaussian diffusion in discrete time (DDPM, Ho et al. 2020, arXiv:2006.11239).

    The loss is the mean squared error of the prediction. With learned variances it is the hybrid loss of Nichol and
    Dhariwal 2021 (arXiv:2102.09672), :math:`L_{simple} + \lambda L_{vlb}`, where the bound trains the variances only.

    Attributes:
        num_steps: T.
        schedule: ``"linear"`` or ``"cosine"``.
        first_beta, last_beta: Betas of the linear schedule.
        predicts: What the network predicts: ``"noise"``, ``"clean"`` or ``"velocity"``.
        variance: Variances of the reverse process: ``"fixed_small"``, ``"fixed_large"`` or ``"learned"``.
        bound_weight: :math:`\lambda`, of learned variances.
        spacing: Spacing of fewer steps, see ``subsequence``.
        num_levels: Levels of the data in [-1, 1], for its likelihood.
    """

    num_steps: int = 1000
    schedule: str = "linear"
    first_beta: float = 1e-4
    last_beta: float = 0.02
    predicts: str = "noise"
    variance: str = "fixed_large"
    bound_weight: float = 1e-3
    spacing: str = "trailing"
    num_levels: int = 256

    samplers: ClassVar[tuple[str, ...]] = tuple(SAMPLERS)

    def __post_init__(self):
        check_integer("num_steps", self.num_steps, minimum=2)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("predicts", self.predicts, PREDICTIONS)
        check_choice("variance", self.variance, (*FIXED_VARIANCES, "learned"))
        check_choice("spacing", self.spacing, SPACINGS)
        check_number("bound_weight", self.bound_weight)
        check_integer("num_levels", self.num_levels, minimum=2)
        self.tables  # checks the betas  # noqa: B018

    @functools.cached_property
    def tables(self) -> NoiseSchedule:
        """The schedule of all steps."""
        if self.schedule == "cosine":
            return noise_schedule(cosine_betas(self.num_steps))
        return noise_schedule(linear_betas(self.num_steps, self.first_beta, self.last_beta))

    @property
    def learned_variance(self) -> bool:
        """Whether the network predicts variances, in a second half of its channels."""
        return self.variance == "learned"

    @property
    def max_steps(self) -> int:
        """The largest number of steps of ``sample``."""
        return self.num_steps

    def losses(
        self, network: Network, clean: Float[Array, "B ..."], key: Key[Array, ""]
    ) -> dict[str, Float[Array, " B"]]:
        """Computes the ``loss`` of each image at a random step, and its parts.

        Args:
            network: Maps noisy images and times to predictions.
            clean: Images in [-1, 1], ``[B, ...]``.
            key: A random key.
        """
        steps_key, noise_key = jax.random.split(key)
        steps = jax.random.randint(steps_key, (len(clean),), 0, self.num_steps, jnp.int32)
        noise = jax.random.normal(noise_key, clean.shape, clean.dtype)
        noisy = add_noise(self.tables, clean, noise, steps)
        output = network(noisy, steps)
        prediction, weights = jnp.split(output, 2, axis=-1) if self.learned_variance else (output, None)
        target = prediction_target(self.tables, self.predicts, clean, noise, steps)
        error = _mean_of_rows((prediction - target) ** 2)
        if weights is None:
            return {"loss": error}
        frozen = jnp.concatenate([jax.lax.stop_gradient(prediction), weights], axis=-1)
        bits = self._terms(lambda noisy, times: frozen, clean, noisy, steps) / (
            math.prod(clean.shape[1:]) * math.log(2)
        )
        # One term estimates a T-th of the bound.
        return {
            "loss": error + self.bound_weight * self.num_steps * bits,
            "error": error,
            "bound": self.num_steps * bits,
        }

    def sample(
        self, network: Network, keys: Key[Array, " B"], shape: tuple[int, ...], num_steps: int, sampler: str
    ) -> tuple[Float[Array, "B ..."], Float[Array, "S B ..."]]:
        """Samples images, and returns the noisy images on the way too, the noisiest first.

        Args:
            network: As in ``losses``.
            keys: Random keys, one for each image, ``[B]``.
            shape: Of an image.
            num_steps: Steps, at most T.
            sampler: ``"ddim"``, ``"dpm_solver"`` or ``"ancestral"``.
        """
        check_choice("sampler", sampler, self.samplers)
        chosen = subsequence(self.tables, num_steps, self.spacing)
        steps = SAMPLERS[sampler](chosen, "fixed_large" if self.learned_variance else self.variance)
        denoise = self._denoiser(network, chosen)
        if sampler != "ancestral":  # the others have no noise
            learned = denoise
            denoise = lambda noisy, steps: learned(noisy, steps)._replace(log_variance=None)
        x, path = sample_path(denoise, steps, _first_noise(keys, shape), keys)
        return x, path[::-1]

    def negative_log_likelihood(
        self, network: Network, clean: Float[Array, "B ..."], key: Key[Array, ""]
    ) -> Float[Array, " B"]:
        """Estimates the negative variational bound of each image, in nats, with one noise for each step.

        Args:
            network: As in ``losses``.
            clean: Images in [-1, 1], with ``num_levels`` levels, ``[B, ...]``.
            key: A random key.
        """

        def add(total, step):
            noise = jax.random.normal(jax.random.fold_in(key, step), clean.shape, clean.dtype)
            steps = jnp.full(len(clean), step)
            noisy = add_noise(self.tables, clean, noise, steps)
            return total + self._terms(network, clean, noisy, steps), None

        steps = jnp.arange(self.num_steps)
        return jax.lax.scan(add, prior_term(self.tables, clean), steps)[0]

    def _denoiser(self, network: Network, schedule: NoiseSchedule) -> Denoise:
        return denoiser(network, schedule, self.predicts, learned_variance=self.learned_variance)

    def _terms(self, network: Network, clean: jax.Array, noisy: jax.Array, steps: jax.Array) -> jax.Array:
        found = self._denoiser(network, self.tables)(noisy, steps)
        log_variance = found.log_variance
        if log_variance is None:
            log_variance = at_times(log_variances(self.tables, self.variance), steps, clean)
        predicted = Gaussian(posterior(self.tables, found.clean, noisy, steps).mean, log_variance)
        return bound_terms(self.tables, predicted, clean, noisy, steps, self.num_levels)


@dataclasses.dataclass(frozen=True)
class RectifiedFlow:
    """Rectified flow, or conditional flow matching with straight paths: see ``straight_path``.

    The loss is the mean squared error of the velocity. Uniform noise of the width of a level is added to the data
    (``dequantize``), so that it has a density.

    Attributes:
        times: Distribution of times in training: ``"uniform"``, or ``"logit_normal"``, with more times in the middle
            (Esser et al. 2024, arXiv:2403.03206).
        num_levels: Levels of the data in [-1, 1].
    """

    times: str = "uniform"
    num_levels: int = 256

    samplers: ClassVar[tuple[str, ...]] = ("euler", "heun")
    learned_variance: ClassVar[bool] = False
    max_steps: ClassVar[None] = None  # any number

    def __post_init__(self):
        check_choice("times", self.times, ("uniform", "logit_normal"))
        check_integer("num_levels", self.num_levels, minimum=2)

    def losses(
        self, network: Network, clean: Float[Array, "B ..."], key: Key[Array, ""]
    ) -> dict[str, Float[Array, " B"]]:
        """Computes the ``loss`` of each image at a random time; see ``GaussianDiffusion.losses``."""
        times_key, noise_key, data_key = jax.random.split(key, 3)
        if self.times == "uniform":
            times = jax.random.uniform(times_key, (len(clean),), jnp.float32)
        else:
            times = logit_normal_times(times_key, len(clean))
        noise = jax.random.normal(noise_key, clean.shape, clean.dtype)
        data = self._dequantized(clean, data_key)
        velocity = self._velocity(network)(straight_path(noise, data, times), times)
        return {"loss": _mean_of_rows((velocity - (data - noise)) ** 2)}

    def sample(
        self, network: Network, keys: Key[Array, " B"], shape: tuple[int, ...], num_steps: int, sampler: str
    ) -> tuple[Float[Array, "B ..."], Float[Array, "S B ..."]]:
        """Samples images, and returns the noisy images on the way too, the noisiest first.

        Args:
            network, keys, shape: As in ``GaussianDiffusion.sample``.
            num_steps: Steps of equal length.
            sampler: ``"euler"`` or ``"heun"``.
        """
        check_choice("sampler", sampler, self.samplers)
        return integrate_path(self._velocity(network), _first_noise(keys, shape), num_steps, sampler)

    def negative_log_likelihood(
        self, network: Network, clean: Float[Array, "B ..."], key: Key[Array, ""], num_steps: int = 100
    ) -> Float[Array, " B"]:
        """Estimates a bound of the negative log-likelihood of each image, in nats; see ``flow_matching_log_prob``.

        Args:
            network: As in ``losses``.
            clean: Images in [-1, 1], with ``num_levels`` levels, ``[B, ...]``.
            key: A random key.
            num_steps: Steps of Heun's method.
        """
        signs_key, data_key = jax.random.split(key)
        data = self._dequantized(clean, data_key)
        densities = flow_matching_log_prob(self._velocity(network), data, signs_key, num_steps)
        return -densities - math.prod(clean.shape[1:]) * math.log(2 / (self.num_levels - 1))

    def _velocity(self, network: Network) -> Network:
        return lambda xs, times: network(xs, 1000 * times)

    def _dequantized(self, clean: jax.Array, key: jax.Array) -> jax.Array:
        half = 1 / (self.num_levels - 1)
        return clean + jax.random.uniform(key, clean.shape, clean.dtype, -half, half)


def _first_noise(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return normal_rows(fold_rows(keys, 0xFFFF), jnp.zeros((len(keys), *shape)))


def _mean_of_rows(xs: jax.Array) -> jax.Array:
    return jnp.mean(xs.reshape(len(xs), -1), axis=-1)
