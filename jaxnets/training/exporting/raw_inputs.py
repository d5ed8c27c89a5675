"""Preprocessing of raw inputs as a function that is exported with the model.

float32 has 24 bits: the number 1,700,000,000.25 is rounded to a multiple of 128. Rows to be standardized are therefore
sums of three float32, each the rounding error of the previous ones, and the mean is subtracted from the exact sum.
"""

from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.inputs import Columns, Inputs, Pixels, Rows, Windows
from jaxnets.exported import REST
from jaxnets.training.errors import RunError

MEAN, STD = "inputs/mean", "inputs/std"

# Range of standard deviations and means. Beyond it, sums in float32 would overflow or underflow.
SCALES = (1e-30, 1e37)

Arrays = dict[str, Any]


def constants(inputs: Inputs | None) -> dict[str, jax.Array]:
    """Returns the statistics that ``function`` needs as weights.

    Returns:
        The mean as sums of four float32, ``[D, 4]``, and the standard deviation ``[D]``; empty if inputs are not
        standardized.

    Raises:
        RunError: The statistics are outside the range of float32.
    """
    if not isinstance(inputs, Rows | Columns | Windows):
        return {}
    if inputs.origin is None or inputs.offset is None or inputs.std is None:
        return {}
    means = [Fraction(origin) + Fraction(offset) for origin, offset in zip(inputs.origin, inputs.offset, strict=True)]
    for feature, (mean, std) in enumerate(zip(means, inputs.std, strict=True)):
        if not (SCALES[0] <= std <= SCALES[1] and abs(mean) <= SCALES[1]):
            raise RunError(
                f"feature {feature} of the data must have a standard deviation from {SCALES[0]:g} to {SCALES[1]:g} and "
                f"a mean up to {SCALES[1]:g} for an export, got {std:g} and {float(mean):g}; change its unit"
            )
    return {MEAN: jnp.asarray([_split(mean, 4) for mean in means]), STD: jnp.asarray(inputs.std, jnp.float32)}


def reads(
    inputs: Inputs | None, reads: Mapping[str, tuple[str, ...]], batch: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[dict[str, tuple[str, ...]], dict[str, jax.ShapeDtypeStruct]]:
    """Returns the names of the first axes, and the shapes in a batch, of raw inputs.

    Args:
        inputs: The preprocessing of raw inputs.
        reads: The names of the first axes of the endpoint's inputs.
        batch: The shapes of a preprocessed batch.
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
        axes["inputs"] = ("batch",)  # the model fixes the number of features
    if isinstance(inputs, Windows):
        axes.pop("observed", None)  # computed from missing values
    if constants(inputs):
        axes[REST] = axes["inputs"]
        shapes[REST] = jax.ShapeDtypeStruct((*like.shape, 2), jnp.float32)
    return axes, shapes


def function(inputs: Inputs | None, batch: Collection[str] = ()) -> Callable[[Mapping[str, jax.Array], Arrays], Arrays]:
    """Returns the function ``(constants, raw arrays) -> inputs of the model``.

    Args:
        inputs: The preprocessing of raw inputs.
        batch: Names of the arrays of a batch.
    """
    if isinstance(inputs, Rows):
        return _rows
    if isinstance(inputs, Columns):
        return lambda constants, raw: {
            **{name: array for name, array in raw.items() if name != REST},
            "inputs": _standardized(constants, raw),
        }
    if isinstance(inputs, Pixels):
        return lambda _, raw: {**raw, "inputs": _pixels(inputs, raw["inputs"])}
    if isinstance(inputs, Windows):
        return lambda constants, raw: _windows(inputs, constants, raw, "observed" in batch)
    return lambda _, raw: raw


def _pixels(inputs: Pixels, raw: jax.Array) -> jax.Array:
    divisor = jnp.float32(inputs.divisor)
    if inputs.either:
        divisor = jnp.where(jnp.max(raw, axis=(1, 2), keepdims=True) > 1, divisor, 1)
    divided = raw / jnp.broadcast_to(divisor, raw.shape)
    return divided if inputs.width is None else divided.reshape(raw.shape[0], -1, 1)


def _rows(constants: Mapping[str, jax.Array], raw: Arrays) -> Arrays:
    """Standardizes padded rows. Trailing NaN steps are padding, regardless of ``lengths`` and ``valid``."""
    arrays = {name: array for name, array in raw.items() if name != REST}
    inputs = raw["inputs"]
    steps = jax.lax.broadcasted_iota(jnp.int32, inputs.shape[:2], 1)
    has_number = jnp.any(~jnp.isnan(inputs), axis=-1)
    end = jnp.max(jnp.where(has_number, steps + 1, 0), axis=1)
    if "lengths" in raw:
        arrays["lengths"] = jnp.minimum(raw["lengths"], end)
        valid = steps < arrays["lengths"][:, None]
    elif "valid" in raw:
        arrays["valid"] = valid = raw["valid"] & (steps < end[:, None])
    else:
        valid = jnp.ones_like(has_number)
    return {**arrays, "inputs": jnp.where(valid[..., None], _standardized(constants, raw), 0)}


def _windows(inputs: Windows, constants: Mapping[str, jax.Array], raw: Arrays, has_mask: bool) -> Arrays:
    """Standardizes windows and their covariates. NaN is a missing value; it becomes 0."""
    arrays = {name: array for name, array in raw.items() if name != REST}
    for name, here in inputs.columns.items():
        if name in arrays:
            own = {key: constants[key][here] for key in (MEAN, STD) if key in constants}
            rest = raw.get(REST) if name == "inputs" else jnp.zeros((*arrays[name].shape, 2), jnp.float32)
            values = {"inputs": arrays[name], **({REST: rest} if own else {})}
            arrays[name] = jnp.where(jnp.isnan(arrays[name]), 0, _standardized(own, values))
    return {**arrays, "observed": ~jnp.isnan(raw["inputs"])} if has_mask else arrays


def _standardized(constants: Mapping[str, jax.Array], raw: Arrays) -> jax.Array:
    """Standardizes inputs ``[..., D]`` if the raw arrays include their rounding errors ``REST``."""
    inputs = raw["inputs"]
    if REST not in raw:
        return inputs
    broadcast = lambda constant: jnp.broadcast_to(constant, inputs.shape)
    negative_mean = [-broadcast(constants[MEAN][:, i]) for i in range(4)]
    return _total([inputs, raw[REST][..., 0], raw[REST][..., 1], *negative_mean]) / broadcast(constants[STD])


def _total(terms: list[jax.Array]) -> jax.Array:
    """Sums terms as in fourfold precision (Ogita, Rump and Oishi 2005, algorithm 4.8, K = 4)."""
    terms = list(terms)
    for _ in range(3):
        for i in range(1, len(terms)):
            terms[i], terms[i - 1] = _two_sum(terms[i], terms[i - 1])
    return sum(terms[1:], terms[0])


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the rounded sum and its rounding error (Knuth)."""
    total = a + b
    rounded_b = total - a
    return total, (a - (total - rounded_b)) + (b - rounded_b)


def _split(value: Fraction, count: int) -> list[np.float32]:
    """Splits ``value`` into a sum of ``count`` float32, each nearest to the remainder."""
    terms = []
    for _ in range(count):
        terms.append(np.float32(float(value)))
        value -= Fraction(float(terms[-1]))
    return terms
