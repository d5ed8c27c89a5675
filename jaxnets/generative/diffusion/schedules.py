"""Noise schedules of Gaussian diffusion, as float64 tables on the host."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.checks import check_choice, check_integer

SPACINGS = ("leading", "trailing")


class NoiseSchedule(NamedTuple):
    r"""Tables of a forward process, ``[T]`` each.

    .. math:: q(x_t | x_{t-1}) = N(\sqrt{1 - \beta_t}\, x_{t-1}, \beta_t I)

    Attributes:
        timesteps: Times as the network sees them, integers: 0 ... T - 1, or some of them after ``subsequence``.
        betas: :math:`\beta_t`, float64.
        alphas_cumprod: :math:`\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)`, float64.
        alphas_cumprod_prev: :math:`\bar\alpha_{t-1}`, float64; the first is 1.
    """

    timesteps: np.ndarray
    betas: np.ndarray
    alphas_cumprod: np.ndarray
    alphas_cumprod_prev: np.ndarray


def linear_betas(num_steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """Returns betas from ``first`` to ``last`` in equal steps (Ho et al. 2020, arXiv:2006.11239), float64 ``[T]``."""
    check_integer("num_steps", num_steps)
    return np.linspace(first, last, num_steps, dtype=np.float64)


def cosine_betas(num_steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> np.ndarray:
    r"""Returns the betas of the cosine schedule (Nichol and Dhariwal 2021, arXiv:2102.09672), float64 ``[T]``:

    .. math::
        \beta_t = \min\Big(1 - \frac{f((t + 1) / T)}{f(t / T)}, \beta_{max}\Big), \quad
        f(u) = \cos^2\Big(\frac{u + s}{1 + s} \frac\pi2\Big)

    Args:
        num_steps: T.
        offset: s.
        max_beta: :math:`\beta_{max}`.
    """
    check_integer("num_steps", num_steps)
    signal = np.cos((np.arange(num_steps + 1) / num_steps + offset) / (1 + offset) * math.pi / 2) ** 2
    return np.minimum(1 - signal[1:] / signal[:-1], max_beta)


def noise_schedule(betas: Sequence[float] | np.ndarray) -> NoiseSchedule:
    """Computes the tables of a schedule.

    Args:
        betas: Variances of the added noise, ``[T]``, between 0 and 1, such as ``linear_betas()``.

    Raises:
        ValueError: A beta is not between 0 and 1, or there is none.
    """
    found = np.asarray(betas, np.float64)
    if found.ndim != 1 or not len(found):
        raise ValueError(f"`betas` must be numbers of shape [T], got shape {found.shape}")
    wrong = np.flatnonzero(~((found > 0) & (found < 1)))
    if len(wrong):
        raise ValueError(f"`betas` must be between 0 and 1, got {found[wrong[0]]:g} at step {wrong[0]}")
    return _of_alphas_cumprod(np.arange(len(found)), np.cumprod(1 - found))


def subsequence(schedule: NoiseSchedule, num_steps: int, spacing: str = "trailing") -> NoiseSchedule:
    r"""Returns the schedule of some of the steps, with :math:`\beta_i = 1 - \bar\alpha_{t_i} / \bar\alpha_{t_{i-1}}`.

    Args:
        schedule: A schedule of T steps.
        num_steps: S, at most T.
        spacing: ``"leading"``: times 0, k, 2k, ... with k = T // S, as DDIM (Song et al. 2021, arXiv:2010.02502).
            ``"trailing"``: times ..., T - 1 - T / S, T - 1, rounded, which begin with the most noise (Lin et al. 2024,
            arXiv:2305.08891).

    Raises:
        ValueError: There are more steps than in the schedule.
    """
    check_integer("num_steps", num_steps)
    check_choice("spacing", spacing, SPACINGS)
    total = len(schedule.betas)
    if num_steps > total:
        raise ValueError(f"`num_steps` must be at most the {total} steps of the schedule, got {num_steps}")
    if spacing == "leading":
        chosen = np.arange(num_steps) * (total // num_steps)
    else:
        chosen = np.round(total - np.arange(num_steps)[::-1] * (total / num_steps)).astype(np.int64) - 1
    return _of_alphas_cumprod(schedule.timesteps[chosen], schedule.alphas_cumprod[chosen])


def at_times(table: np.ndarray, times: Integer[Array, " B"], xs: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """Returns the entries of a table ``[T]`` at times ``[B]``, ``[B, 1, ...]`` in the rank and dtype of ``xs``."""
    return jnp.asarray(table, xs.dtype)[times].reshape(-1, *(1,) * (xs.ndim - 1))


def add_noise(
    schedule: NoiseSchedule, clean: Float[Array, "B ..."], noise: Float[Array, "B ..."], steps: Integer[Array, " B"]
) -> jax.Array:
    r"""Samples the forward process: :math:`x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon`.

    Args:
        schedule: T steps.
        clean: :math:`x_0`, ``[B, ...]``.
        noise: :math:`\epsilon`, standard normal, ``[B, ...]``.
        steps: t, integers from 0 to T - 1, ``[B]``.
    """
    signal, std = np.sqrt(schedule.alphas_cumprod), np.sqrt(1 - schedule.alphas_cumprod)
    return at_times(signal, steps, clean) * clean + at_times(std, steps, clean) * noise


def _of_alphas_cumprod(timesteps: np.ndarray, alphas_cumprod: np.ndarray) -> NoiseSchedule:
    previous = np.concatenate([[1.0], alphas_cumprod[:-1]])
    return NoiseSchedule(timesteps.astype(np.int32), 1 - alphas_cumprod / previous, alphas_cumprod, previous)
