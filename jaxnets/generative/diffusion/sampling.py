"""Sampling from a diffusion model, inpainting and changes of images, for any denoiser."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.generative.diffusion.posterior import learned_log_variance
from jaxnets.generative.diffusion.predictions import predicted_clean
from jaxnets.generative.diffusion.samplers import SamplerSteps
from jaxnets.generative.diffusion.schedules import NoiseSchedule
from jaxnets.ops.array_types import Array, Bool, Float, Integer, Key
from jaxnets.ops.checks import check_fraction

# (noisy examples [B, ...], steps [B], from 0 to S - 1) -> denoised examples
Denoise = Callable[[Float[Array, "B ..."], Integer[Array, " B"]], "Denoised"]
Constrain = Callable[[Float[Array, "B ..."], Float[Array, ""], Key[Array, " B"]], Float[Array, "B ..."]]


class Denoised(NamedTuple):
    """The result of a denoiser.

    Attributes:
        clean: Denoised examples, ``[B, ...]``.
        log_variance: Logarithms of the variances of the result of a step, ``[B, ...]``, for a model that has learned
            them; None: those of the sampler.
    """

    clean: jax.Array
    log_variance: jax.Array | None = None


def denoiser(
    network: Callable[[Float[Array, "B ..."], Integer[Array, " B"]], Float[Array, "B ..."]],
    schedule: NoiseSchedule,
    kind: str = "noise",
    *,
    learned_variance: bool = False,
    clip: float | None = 1.0,
) -> Denoise:
    """Returns the denoiser of a network.

    Args:
        network: Maps noisy examples ``[B, ..., C]`` and times, integers ``[B]``, to predictions ``[B, ..., C]``.
        schedule: All steps, or a ``subsequence``.
        kind: What the network predicts: ``"noise"``, ``"clean"`` or ``"velocity"``.
        learned_variance: Whether predictions have twice as many channels, of which the second half are the inputs of
            ``learned_log_variance``.
        clip: Largest absolute value of denoised examples; None: no limit.
    """

    def denoise(noisy: jax.Array, steps: jax.Array) -> Denoised:
        output, log_variance = network(noisy, jnp.asarray(schedule.timesteps)[steps]), None
        if learned_variance:
            output, weights = jnp.split(output, 2, axis=-1)
            log_variance = learned_log_variance(schedule, weights, steps)
        clean = predicted_clean(schedule, kind, output, noisy, steps)
        return Denoised(clean if clip is None else jnp.clip(clean, -clip, clip), log_variance)

    return denoise


def sample(
    denoise: Denoise,
    steps: SamplerSteps,
    noisy: Float[Array, "B ..."],
    keys: Key[Array, " B"],
    *,
    constrain: Constrain | None = None,
) -> Float[Array, "B ..."]:
    """Samples from a diffusion model.

    Args:
        denoise: The denoiser, with the steps of the same schedule.
        steps: Of a sampler, such as ``ddim(schedule)``.
        noisy: The examples before the first step, ``[B, ...]``; standard normal noise for new examples.
        keys: Random keys ``[B]``, one for each example, so that examples are independent of the batch.
        constrain: ``(x, alpha_cumprod, keys) -> x``, applied to the result of each step; None: nothing.

    Returns:
        Examples ``[B, ...]``.
    """
    return sample_path(denoise, steps, noisy, keys, constrain=constrain)[0]


def sample_path(
    denoise: Denoise,
    steps: SamplerSteps,
    noisy: Float[Array, "B ..."],
    keys: Key[Array, " B"],
    *,
    constrain: Constrain | None = None,
) -> tuple[Float[Array, "B ..."], Float[Array, "S B ..."]]:
    """Samples from a diffusion model, and returns the noisy examples on the way too.

    Args:
        denoise, steps, noisy, keys, constrain: As in ``sample``.

    Returns:
        Examples ``[B, ...]``, and the noisy examples before each step, in the order of ``steps``, ``[S, B, ...]``.
    """
    chex.assert_shape(keys, noisy.shape[:1])
    count = len(steps.noisy)
    tables = jax.tree.map(lambda table: jnp.asarray(table, noisy.dtype), steps)

    def advance(carry, inputs):
        start, before = carry
        index, row = inputs
        found = denoise(start, jnp.full(len(start), index))
        chex.assert_equal_shape([found.clean, start])
        step_keys = fold_rows(keys, index)
        x = row.noisy * start + row.denoised * found.clean + row.previous * before
        std = row.std if found.log_variance is None else jnp.where(index > 0, jnp.exp(0.5 * found.log_variance), 0)
        x = x + std * normal_rows(step_keys, x)
        if constrain is not None:
            x = constrain(x, row.alphas_cumprod_prev, fold_rows(step_keys, 1))
        return (x, found.clean), start

    inputs = (jnp.arange(count), tables)
    (x, _), path = jax.lax.scan(advance, (noisy, jnp.zeros_like(noisy)), inputs, reverse=True)
    return x, path


def inpaint(
    denoise: Denoise,
    steps: SamplerSteps,
    images: Float[Array, "B ..."],
    known: Bool[Array, "B ..."],
    keys: Key[Array, " B"],
) -> Float[Array, "B ..."]:
    """Samples the unknown part of images. After each step, the known part is replaced by the noisy image.

    This is algorithm 1 of RePaint (Lugmayr et al. 2022, arXiv:2201.09865) without resampling.

    Args:
        denoise, steps, keys: As in ``sample``.
        images: In the range of the model, ``[B, ...]``.
        known: True where the image is to be kept, broadcastable to ``[B, ...]``.

    Returns:
        ``[B, ...]``, equal to ``images`` where they are known.
    """
    images = jnp.where(known, images, 0)  # the unknown part may be anything

    def constrain(x, alpha_cumprod, keys):
        noisy = jnp.sqrt(alpha_cumprod) * images + jnp.sqrt(1 - alpha_cumprod) * normal_rows(keys, x)
        return jnp.where(known, noisy, x)

    noise = normal_rows(fold_rows(keys, len(steps.noisy)), images)
    return sample(denoise, steps, noise, keys, constrain=constrain)


def image_to_image(
    denoise: Denoise,
    steps: SamplerSteps,
    images: Float[Array, "B ..."],
    keys: Key[Array, " B"],
    strength: float,
) -> Float[Array, "B ..."]:
    """Adds noise to images and removes it again (SDEdit, Meng et al. 2022, arXiv:2108.01073).

    Args:
        denoise, steps, keys: As in ``sample``.
        images: In the range of the model, ``[B, ...]``.
        strength: Fraction of the steps that are run, between 0 and 1, at least one step. A large one changes more.

    Returns:
        Images ``[B, ...]``.
    """
    check_fraction("strength", strength)
    count = max(1, round(strength * len(steps.noisy)))
    last = SamplerSteps(*(np.array(table[:count]) for table in steps))
    last.denoised[-1] += last.previous[-1]  # of first order, since there is no previous step
    last.previous[-1] = 0
    signal, std = (
        jnp.asarray(np.sqrt(square), images.dtype) for square in (last.alphas_cumprod[-1], 1 - last.alphas_cumprod[-1])
    )
    noisy = signal * images + std * normal_rows(fold_rows(keys, len(steps.noisy)), images)
    return sample(denoise, last, noisy, keys)


def normal_rows(keys: Key[Array, " B"], xs: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """Draws standard normal noise in the shape of ``xs``, each row by its own key."""
    return jax.vmap(lambda key: jax.random.normal(key, xs.shape[1:], xs.dtype))(keys)


def fold_rows(keys: Key[Array, " B"], number: int | Integer[Array, ""]) -> Key[Array, " B"]:
    """Returns ``jax.random.fold_in(key, number)`` of each row."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)
