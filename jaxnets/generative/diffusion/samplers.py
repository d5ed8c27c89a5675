r"""Samplers of Gaussian diffusion, each a table of the coefficients of its steps.

A step from :math:`x_i` to :math:`x_{i-1}` is linear in the noisy example, in the denoised example
:math:`\hat x_0(x_i)` of this and of the previous step, and in standard normal noise:

.. math:: x_{i-1} = a_i x_i + b_i \hat x_0(x_i) + c_i \hat x_0(x_{i+1}) + s_i z_i
"""

from typing import NamedTuple

import numpy as np

from jaxnets.generative.diffusion.posterior import log_variances, posterior_coefficients
from jaxnets.generative.diffusion.schedules import NoiseSchedule
from jaxnets.ops.checks import check_number


class SamplerSteps(NamedTuple):
    r"""The steps of a sampler, float64 ``[S]`` each; sampling begins with the last entry, which has the most noise.

    Attributes:
        noisy: a, factors of the noisy example.
        denoised: b, factors of the denoised example.
        previous: c, factors of the denoised example of the previous step; 0 in the last entry.
        std: s, standard deviations of the noise; 0 in the first entry.
        alphas_cumprod: :math:`\bar\alpha` of the noisy example.
        alphas_cumprod_prev: :math:`\bar\alpha` of the result; 1 in the first entry.
    """

    noisy: np.ndarray
    denoised: np.ndarray
    previous: np.ndarray
    std: np.ndarray
    alphas_cumprod: np.ndarray
    alphas_cumprod_prev: np.ndarray


def ancestral(schedule: NoiseSchedule, variance: str = "fixed_large") -> SamplerSteps:
    """Returns the steps of ancestral sampling from the posterior (Ho et al. 2020, algorithm 2).

    Args:
        schedule: All steps, or a ``subsequence``.
        variance: ``"fixed_small"`` or ``"fixed_large"``, see ``log_variances``.
    """
    denoised, noisy = posterior_coefficients(schedule)
    std = np.exp(0.5 * log_variances(schedule, variance))
    std[0] = 0
    return _steps(schedule, noisy, denoised, np.zeros_like(std), std)


def ddim(schedule: NoiseSchedule, eta: float = 0.0) -> SamplerSteps:
    r"""Returns the steps of DDIM (Song et al. 2021, arXiv:2010.02502, equation 12).

    .. math::
        x_{i-1} = \sqrt{\bar\alpha_{i-1}}\, \hat x_0 + \sqrt{1 - \bar\alpha_{i-1} - s_i^2}\, \hat\epsilon + s_i z_i,
        \quad s_i = \eta \sqrt{\tilde\beta_i}

    with the noise :math:`\hat\epsilon` that the denoised example implies and :math:`\tilde\beta` the variance of the
    posterior.

    Args:
        schedule: All steps, or a ``subsequence``.
        eta: 0 is deterministic; 1 has the variance ``"fixed_small"`` of ``ancestral``.
    """
    check_number("eta", eta)
    now, after = schedule.alphas_cumprod, schedule.alphas_cumprod_prev
    variance = eta**2 * schedule.betas * (1 - after) / (1 - now)
    direction = 1 - after - variance
    if np.min(direction) < -1e-12:
        raise ValueError(f"`eta` must not exceed the noise that a step removes, got {eta}")
    noisy = np.sqrt(np.maximum(direction, 0) / (1 - now))
    return _steps(schedule, noisy, np.sqrt(after) - noisy * np.sqrt(now), np.zeros_like(now), np.sqrt(variance))


def dpm_solver(schedule: NoiseSchedule) -> SamplerSteps:
    r"""Returns the steps of DPM-Solver++(2M), of second order (Lu et al. 2022, arXiv:2211.01095, algorithm 2).

    With :math:`\alpha = \sqrt{\bar\alpha}`, :math:`\sigma = \sqrt{1 - \bar\alpha}`,
    :math:`\lambda = \log \alpha / \sigma` and :math:`h_i = \lambda_{i-1} - \lambda_i`:

    .. math::
        x_{i-1} = \frac{\sigma_{i-1}}{\sigma_i} x_i - \alpha_{i-1} (e^{-h_i} - 1)
        \Big(\big(1 + \tfrac{1}{2 r_i}\big) \hat x_0(x_i) - \tfrac{1}{2 r_i} \hat x_0(x_{i+1})\Big),
        \quad r_i = \frac{h_{i+1}}{h_i}

    The first and the last step are of first order, as DDIM.

    Args:
        schedule: All steps, or a ``subsequence``.
    """
    now, after = schedule.alphas_cumprod, schedule.alphas_cumprod_prev
    first_order = ddim(schedule)
    weights = np.zeros_like(now)
    if len(now) > 2:
        log_snr = 0.5 * (np.log(now) - np.log1p(-now))  # lambda
        step = log_snr[:-1] - log_snr[1:]  # h of the entries from the second on
        weights[1:-1] = 0.5 * step[:-1] / step[1:]
    # The factor of the denoised example, alpha (1 - exp(-h)), is that of DDIM.
    factor = first_order.denoised
    return _steps(schedule, first_order.noisy, factor * (1 + weights), -factor * weights, np.zeros_like(after))


def _steps(schedule: NoiseSchedule, noisy, denoised, previous, std) -> SamplerSteps:
    return SamplerSteps(noisy, denoised, previous, std, schedule.alphas_cumprod, schedule.alphas_cumprod_prev)
