"""What the file of a library gives: its LSTM, called like that of any other, and its probes; and what both are run on.

A probe finds one cell of the table: True and False are written as "yes" and "no", and a text says it in words.
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
    """Where a library's public names are, and what is found by running it."""

    spaces: list[Any]
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
        run: ``(weights, xs [B, T, D], lengths=, reverse=, carry=) -> ((h, c), ys)``, as far as the library can.
        step: ``(weights, x, carry) -> (h, c)``.
        autodiff: What differentiates ``run``.
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
    """What the probe finds; False where the library raises, which is an answer here and a mistake elsewhere."""
    try:
        return probe()
    except REFUSALS:
        return False
