"""Probes that identify a cell by the numbers that it computes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.features.layer import FEATURES, H0, HIDDEN, X0, XS, Layer, Probes, array, close


def elman_probes(run: Callable[[str, Any], Any]) -> Probes:
    """Probes of the activation of an Elman network.

    Large inputs drive the outputs to -1 and 1 with tanh, and to 0 and large values with relu.

    Args:
        run: ``(activation, xs) -> ys`` of an Elman network.
    """

    def extremes(activation: str) -> tuple[float, float]:
        ys = array(run(activation, 1000 * XS))
        return ys.min(), ys.max()

    return {
        "elman": lambda: close(extremes("tanh"), (-1, 1)),
        "elman_relu": lambda: extremes("relu")[0] == 0 and bool(extremes("relu")[1] > 10),
    }


def reset_place(new: Any, wx: Any, wh: Any, order: str = "rzn") -> str:
    """Returns the place of the reset gate in a GRU without biases: "before" or "after" the recurrent product.

    Args:
        new: The state after one step from (H0, X0).
        wx: The input kernel.
        wh: The recurrent kernel.
        order: The order of the reset gate (r), the update gate (z) and the candidate (n) in the kernels.
    """
    wx, wh = (dict(zip(order, np.split(array(w), 3, axis=-1), strict=True)) for w in (wx, wh))
    r, z = (array(jax.nn.sigmoid(X0 @ wx[gate] + H0 @ wh[gate])) for gate in "rz")
    for place, product in {"before": (r * H0) @ wh["n"], "after": r * (H0 @ wh["n"])}.items():
        n = np.tanh(X0 @ wx["n"] + product)
        if close(new, z * H0 + (1 - z) * n) or close(new, (1 - z) * H0 + z * n):
            return place
    return "nowhere"


def gru_probes(places: Callable[[], list[str]]) -> Probes:
    return {"gru_before": lambda: "before" in places(), "gru_after": lambda: "after" in places()}


def is_mgu(new: Any, kernels: Any, bias: float = 0.0) -> bool | str:
    """Compares a step from (H0, X0) with the minimal gated unit of Zhou et al. (2016).

    Args:
        new: The state after the step.
        kernels: The input and the recurrent kernel, each with the gate before the candidate.
        bias: The bias of the gate.
    """
    (fx, nx), (fh, nh) = (np.split(array(w), 2, axis=-1) for w in kernels)
    f = array(jax.nn.sigmoid(X0 @ fx + H0 @ fh + bias))
    variant = f * H0 + (1 - f) * np.tanh(X0 @ nx + f * (H0 @ nh))
    paper = (1 - f) * H0 + f * np.tanh(X0 @ nx + (f * H0) @ nh)
    return close(new, paper) or (close(new, variant) and "another variant")


def is_lstm(layer: Layer) -> bool:
    """Checks h = o tanh(c) with 0 < o < 1."""
    (h, c), ys = layer.run(layer.weights, XS)
    gate = array(h) / np.tanh(array(c))
    return bool(np.all((gate > 0) & (gate < 1))) and close(ys[:, -1], h)


def is_affine(f: Callable[[Any], Any]) -> bool:
    zero, one, two = (f(jnp.full(HIDDEN, a)) for a in (0.0, 1.0, 2.0))
    return close(two - one, one - zero)


def linear_recurrence(decay: Any, inputs: Any) -> np.ndarray:
    """Returns the states of h[t] = decay[t] h[t - 1] + inputs[t] with h[-1] = 0, step by step.

    Args:
        decay: An array that broadcasts to the shape of the inputs.
        inputs: An array of shape ``[B, T, N]``.
    """
    inputs = array(inputs)
    decay, h, states = np.broadcast_to(array(decay), inputs.shape), np.zeros_like(inputs[:, 0]), []
    for time in range(inputs.shape[1]):
        h = decay[:, time] * h + inputs[:, time]
        states.append(h)
    return np.stack(states, axis=1)


def is_convolution(run: Callable[[int, Any], Any]) -> bool:
    """Checks in 1 and 2 dimensions that an input changes only its neighborhood, and that a shift moves the outputs."""
    for rank in (1, 2):
        xs = np.zeros((1, 2, *(9,) * rank, FEATURES), np.float32)
        xs[:, :, 4] = 1.0
        ys, shifted = array(run(rank, xs)), array(run(rank, np.roll(xs, 1, axis=2)))
        if ys.shape != (*xs.shape[:-1], HIDDEN) or not close(np.roll(ys, 1, axis=2)[:, :, 4:7], shifted[:, :, 4:7]):
            return False
        if close(ys[:, :, 5], ys[:, :, 8]) or not close(ys[:, :, 0], ys[:, :, 8]):
            return False
    return True
