"""Common interface to the LSTM and the probes of a library, and the arrays on which they run.

A probe returns one cell of the table: True for "yes", False for "no", or a text.
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
REFUSALS = (ValueError, TypeError, RuntimeError, AttributeError)

Probes = dict[str, Callable[[], Any]]


class Library(NamedTuple):
    """A library.

    Attributes:
        namespaces: Modules with its public names.
        probes: Probes by feature.
    """

    namespaces: list[Any]
    probes: Probes


class Autodiff(NamedTuple):
    grad: Callable[..., Any]
    jvp: Callable[..., Any]
    vmap: Callable[..., Any]
    stack: Callable[..., Any]


JAX = Autodiff(jax.grad, jax.jvp, jax.vmap, jnp.stack)


class Layer(NamedTuple):
    """An LSTM of one library.

    Attributes:
        weights: A tree of arrays.
        run: ``(weights, xs [B, T, D], lengths=, reverse=, carry=) -> ((h, c), ys)``, with the options of the library.
        step: ``(weights, x, carry) -> (h, c)``.
        autodiff: Transformations for ``run``.
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


def refused(probe: Callable[[], Any]) -> Any:
    """Returns the result of a probe, or False if the library raises an error."""
    try:
        return probe()
    except REFUSALS:
        return False
