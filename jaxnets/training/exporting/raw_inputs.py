"""What a reader makes of raw inputs, as a function that is exported with the model.

A float32 holds 24 bits: of 1,700,000,000.25 it keeps 1,700,000,000 +- 64. So rows that are standardized come as three
float32 of which each is what those before leave, and the mean is subtracted from their sum exactly.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.inputs import Columns, Inputs, Pixels, Rows
from jaxnets.exported import REST
from jaxnets.training.errors import RunError

MEAN, STD = "inputs/mean", "inputs/std"

# Larger and smaller ones would leave the range of float32 while they are added.
SCALES = (1e-30, 1e37)

Arrays = dict[str, Any]


def constants(inputs: Inputs | None) -> dict[str, jax.Array]:
    """What the function takes beside the model's weights: a mean as float32 ``[D, 4]`` to be added up, and std ``[D]``.

    Raises:
        RunError: float32 does not hold them.
    """
    if not isinstance(inputs, Rows | Columns):
        return {}
    if inputs.origin is None or inputs.offset is None or inputs.std is None:
        return {}
    means = [Fraction(origin) + Fraction(offset) for origin, offset in zip(inputs.origin, inputs.offset, strict=True)]
    for feature, (mean, std) in enumerate(zip(means, inputs.std, strict=True)):
        if not (SCALES[0] <= std <= SCALES[1] and abs(mean) <= SCALES[1]):
            raise RunError(
                f"feature {feature} of the data: the standard deviation of an exported run must be from {SCALES[0]:g} "
                f"to {SCALES[1]:g}, got {std:g}, with mean {float(mean):g}; change the feature's unit"
            )
    return {MEAN: jnp.asarray([_parts(mean, 4) for mean in means]), STD: jnp.asarray(inputs.std, jnp.float32)}


def reads(
    inputs: Inputs | None, reads: Mapping[str, tuple[str, ...]], batch: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[dict[str, tuple[str, ...]], dict[str, jax.ShapeDtypeStruct]]:
    """What is read when inputs are raw: the names of first axes, and the shapes in a batch of the run.

    Args:
        inputs: What becomes of raw inputs.
        reads: Of the task.
        batch: As the reader makes it.
    """
    axes, shapes = dict(reads), dict(batch)
    like = batch["inputs"]
    if isinstance(inputs, Pixels):
        shape = like.shape
        if inputs.width is not None:
            shape = (shape[0], shape[1] // inputs.width, inputs.width)
            axes["inputs"] = ("batch", "height")
        shapes["inputs"] = jax.ShapeDtypeStruct(shape, jnp.float32)
    if isinstance(inputs, Columns):
        axes["inputs"] = ("batch",)  # the number of features is that of the model
    if constants(inputs):
        axes[REST] = axes["inputs"]
        shapes[REST] = jax.ShapeDtypeStruct((*like.shape, 2), jnp.float32)
    return axes, shapes


def function(inputs: Inputs | None) -> Callable[[Mapping[str, jax.Array], Arrays], Arrays]:
    """``(constants, raw arrays) -> arrays that the model reads``."""
    if isinstance(inputs, Rows):
        return _rows
    if isinstance(inputs, Columns):
        return lambda constants, raw: {
            **{name: array for name, array in raw.items() if name != REST},
            "inputs": _standardized(constants, raw),
        }
    if isinstance(inputs, Pixels):
        return lambda _, raw: {**raw, "inputs": _pixels(inputs, raw["inputs"])}
    return lambda _, raw: raw


def _pixels(inputs: Pixels, raw: jax.Array) -> jax.Array:
    divisor = jnp.float32(inputs.divisor)
    if inputs.either:
        divisor = jnp.where(jnp.max(raw, axis=(1, 2), keepdims=True) > 1, divisor, 1)
    divided = raw / jnp.broadcast_to(divisor, raw.shape)
    return divided if inputs.width is None else divided.reshape(raw.shape[0], -1, 1)


def _rows(constants: Mapping[str, jax.Array], raw: Arrays) -> Arrays:
    """Rows that end in NaN are that much shorter, whatever their ``lengths`` or ``valid`` say."""
    given = {name: array for name, array in raw.items() if name != REST}
    inputs = raw["inputs"]
    steps = jax.lax.broadcasted_iota(jnp.int32, inputs.shape[:2], 1)
    known = jnp.any(~jnp.isnan(inputs), axis=-1)
    end = jnp.max(jnp.where(known, steps + 1, 0), axis=1)
    if "lengths" in raw:
        given["lengths"] = jnp.minimum(raw["lengths"], end)
        real = steps < given["lengths"][:, None]
    elif "valid" in raw:
        given["valid"] = real = raw["valid"] & (steps < end[:, None])
    else:
        real = jnp.ones_like(known)
    return {**given, "inputs": jnp.where(real[..., None], _standardized(constants, raw), 0)}


def _standardized(constants: Mapping[str, jax.Array], raw: Arrays) -> jax.Array:
    """Inputs ``[..., D]``, standardized where there is a rest of them."""
    inputs = raw["inputs"]
    if REST not in raw:
        return inputs
    wide = lambda constant: jnp.broadcast_to(constant, inputs.shape)
    mean = [-wide(constants[MEAN][:, part]) for part in range(4)]
    return _total([inputs, raw[REST][..., 0], raw[REST][..., 1], *mean]) / wide(constants[STD])


def _total(terms: list[jax.Array]) -> jax.Array:
    """A sum as if it were computed with four times the digits (Ogita, Rump and Oishi 2005, algorithm 4.8, K = 4)."""
    terms = list(terms)
    for _ in range(3):
        for i in range(1, len(terms)):
            terms[i], terms[i - 1] = _two_sum(terms[i], terms[i - 1])
    return sum(terms[1:], terms[0])


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A sum, and what it lacks by rounding (Knuth)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _parts(value: Fraction, count: int) -> list[np.float32]:
    """float32 numbers whose sum is ``value``, each the nearest to what those before leave."""
    found = []
    for _ in range(count):
        found.append(np.float32(float(value)))
        value -= Fraction(float(found[-1]))
    return found
