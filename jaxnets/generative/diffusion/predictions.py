r"""Quantities that the network of a diffusion model predicts: the noise, the clean example, or the velocity.

With :math:`x = a x_0 + b \epsilon`, where :math:`a = \sqrt{\bar\alpha_t}` and :math:`b = \sqrt{1 - \bar\alpha_t}`, the
velocity is :math:`v = a \epsilon - b x_0` (Salimans and Ho 2022, arXiv:2202.00512).
"""

import numpy as np

from jaxnets.generative.diffusion.schedules import NoiseSchedule, at_times
from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.checks import check_choice

PREDICTIONS = ("noise", "clean", "velocity")


def prediction_target(
    schedule: NoiseSchedule,
    kind: str,
    clean: Float[Array, "B ..."],
    noise: Float[Array, "B ..."],
    steps: Integer[Array, " B"],
) -> Float[Array, "B ..."]:
    """Returns what the network should predict.

    Args:
        schedule: T steps.
        kind: ``"noise"``, ``"clean"`` or ``"velocity"``.
        clean: The clean examples, ``[B, ...]``.
        noise: Standard normal noise, ``[B, ...]``.
        steps: Integers from 0 to T - 1, ``[B]``.
    """
    check_choice("kind", kind, PREDICTIONS)
    if kind != "velocity":
        return noise if kind == "noise" else clean
    signal, std = _signal_and_std(schedule, steps, clean)
    return signal * noise - std * clean


def predicted_clean(
    schedule: NoiseSchedule,
    kind: str,
    output: Float[Array, "B ..."],
    noisy: Float[Array, "B ..."],
    steps: Integer[Array, " B"],
) -> Float[Array, "B ..."]:
    r"""Returns the clean examples that a prediction implies.

    .. math:: x_0 = (x - b \epsilon) / a = a x - b v

    Args:
        schedule: T steps.
        kind: ``"noise"``, ``"clean"`` or ``"velocity"``.
        output: The prediction, ``[B, ...]``.
        noisy: x, ``[B, ...]``.
        steps: Integers from 0 to T - 1, ``[B]``.
    """
    check_choice("kind", kind, PREDICTIONS)
    if kind == "clean":
        return output
    signal, std = _signal_and_std(schedule, steps, noisy)
    return (noisy - std * output) / signal if kind == "noise" else signal * noisy - std * output


def _signal_and_std(schedule: NoiseSchedule, steps: Integer[Array, " B"], xs: Float[Array, "B ..."]):
    tables = np.sqrt(schedule.alphas_cumprod), np.sqrt(1 - schedule.alphas_cumprod)
    return tuple(at_times(table, steps, xs) for table in tables)
