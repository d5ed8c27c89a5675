"""Contract of a library's file: an LSTM as a ``Layer`` and a dictionary of probes; and the data on which both run.

A probe computes one cell of the table: True and False become "yes" and "no", and a string is written unchanged.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

FEATURES, HIDDEN, TIME = 3, 4, 6
LENGTHS = np.array([6, 2, 4, 3])
XS = np.random.default_rng(0).normal(size=(4, TIME, FEATURES)).astype(np.float32)
X0, H0 = XS[:, 0], np.random.default_rng(1).normal(size=(4, HIDDEN)).astype(np.float32)
KEY = jax.random.key(0)
UNSUPPORTED = (ValueError, TypeError, RuntimeError, AttributeError)

Probes = dict[str, Callable[[], Any]]


class Library(NamedTuple):
    """The modules that hold a library's public names, and the probes that run the library."""

    spaces: list[Any]
    probes: Probes


class Autodiff(NamedTuple):
    """The transformations of a framework, with the signatures of JAX."""

    grad: Callable[..., Any]
    jvp: Callable[..., Any]
    vmap: Callable[..., Any]
    stack: Callable[..., Any]


JAX = Autodiff(jax.grad, jax.jvp, jax.vmap, jnp.stack)


class Layer(NamedTuple):
    """The LSTM of one library behind a common interface.

    Attributes:
        weights: A tree of arrays.
        run: ``(weights, xs [B, T, D], lengths=, reverse=, carry=) -> ((h, c), ys)``, with the arguments that the
            library supports.
        step: ``(weights, x, carry) -> (h, c)``.
        autodiff: The transformations that apply to ``run``.
    """

    weights: Any
    run: Callable[..., Any]
    step: Callable[..., Any]
    autodiff: Autodiff = JAX


def array(a: Any) -> np.ndarray:
    return np.asarray(a.detach() if hasattr(a, "detach") else a)


def close(a: Any, b: Any, tolerance: float = 1e-5) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.allclose(array(x), array(y), rtol=tolerance, atol=tolerance) for x, y in pairs)


def supported(probe: Callable[[], Any]) -> Any:
    """Returns the result of the probe, or False if the library raises an error.

    An error in a probe outside this function counts as a mistake of the probe.
    """
    try:
        return probe()
    except UNSUPPORTED:
        return False
