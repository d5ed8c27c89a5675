"""Probes of rnn-jax: cells and encoders of equinox over one sequence. Version 0.0.2 needs Python 3.12."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

if sys.version_info < (3, 12):
    raise ImportError("rnn-jax 0.0.2 has syntax of Python 3.12")
DEBUG_NANS = jax.config.jax_debug_nans

import rnn_jax  # noqa: E402
from rnn_jax import cells, layers, ssm  # noqa: E402

# The import of rnn_jax sets this option for the whole process.
jax.config.update("jax_debug_nans", DEBUG_NANS)

from benchmarks.features.cell_probes import elman_probes, gru_probes, linear_recurrence, reset_place  # noqa: E402
from benchmarks.features.layer import (  # noqa: E402
    FEATURES,
    H0,
    HIDDEN,
    KEY,
    X0,
    XS,
    Layer,
    Library,
    array,
    close,
    supported,
)
from benchmarks.features.layer_probes import (  # noqa: E402
    batch_axes,
    bfloat16,
    calls_cudnn,
    general_probes,
    memory_probes,
    step_matches_run,
)
from benchmarks.features.libraries.equinox import mapped  # noqa: E402


def libraries() -> list[Library]:
    layer, activations = lstm(), {"tanh": jax.nn.tanh, "relu": jax.nn.relu}
    probes = {
        **general_probes(layer),
        **memory_probes(lstm, "filter_checkpoint", remat=True),
        **elman_probes(lambda activation, xs: elman(activations[activation], xs)),
        **gru_probes(lambda: [gru()]),
        "coupled": lambda: False,  # the name of a cell of coupled oscillators matches
        "lru": lru,
        "carry": lambda: step_matches_run(layer) and starts_from_carry(layer) and "initial only",
        "stacked": lambda: stacked() and "without carries",
        "layer_dropout": lambda: False,  # the classes have no option for it
        "merge": merge,
        "batch_axes": lambda: supported(lambda: batch_axes(layer)) or (batch_axes(mapped(layer)) and "by vmap"),
        "bfloat16": lambda: supported(lambda: bfloat16(layer, XS.astype(jnp.bfloat16))),
        "cudnn": lambda: calls_cudnn("rnn_jax.layers.encoder", "rnn_jax.cells.gated"),
    }
    return [Library([cells, layers, ssm, rnn_jax], probes)]


def encode(cell, xs, carry=None):
    encoder = layers.RNNEncoder(cell)
    return jax.vmap(encoder)(jnp.asarray(xs)) if carry is None else jax.vmap(encoder)(jnp.asarray(xs), tuple(carry))


def lstm(features=FEATURES, hidden_size=HIDDEN, remat=False) -> Layer:
    """The encoder of an LSTM. It returns no final carry, so the cell computes the carry in a ``lax.scan``."""
    weights, static = eqx.partition(cells.LongShortTermMemoryCell(features, hidden_size, key=KEY), eqx.is_array)
    cell_of = lambda w: eqx.combine(w, static)
    step = lambda w, x, carry: jax.vmap(cell_of(w))(jnp.asarray(x), tuple(carry))[0]

    def run(w, xs, carry=None):
        cell = Rematerialized(cell_of(w)) if remat else cell_of(w)
        start = (jnp.zeros((len(xs), hidden_size)),) * 2 if carry is None else tuple(carry)
        last, _ = jax.lax.scan(lambda carry, x: (step(w, x, carry), None), start, jnp.swapaxes(xs, 0, 1))
        return last, encode(cell, xs, carry)

    return Layer(weights, run, step)


class Rematerialized(cells.BaseCell):
    cell: cells.BaseCell

    def __init__(self, cell):
        super().__init__(cell.idim, cell.hdim)
        self.cell, self.states_shapes, self.complex_state = cell, cell.states_shapes, cell.complex_state

    def __call__(self, x, state):
        return eqx.filter_checkpoint(self.cell)(x, state)


def starts_from_carry(layer) -> bool:
    carry, _ = layer.run(layer.weights, XS[:, :3])
    return close(layer.run(layer.weights, XS[:, 3:], carry=carry)[1], layer.run(layer.weights, XS)[1][:, 3:])


def elman(activation, xs):
    return encode(cells.ElmanRNNCell(FEATURES, HIDDEN, nonlinearity=activation, key=KEY), xs)


def gru():
    cell = cells.GatedRecurrentUnit(FEATURES, HIDDEN, use_bias=False, key=KEY)
    new = jax.vmap(cell)(jnp.asarray(X0), (jnp.asarray(H0),))[1]
    return reset_place(new, cell.gru.weight_ih.T, cell.gru.weight_hh.T)


def lru() -> bool | str:
    """Compares the outputs with a recurrence that is computed step by step."""
    layer = ssm.LinearRecurrentUnit(FEATURES, HIDDEN, nonlinearity=lambda a: a, key=KEY)
    decay = np.exp(-np.exp(array(layer.nu_log)) + 1j * np.exp(array(layer.theta_log)))
    kernel = array(layer.W_in) * np.exp(array(layer.gamma_log))[:, None]
    outputs = lambda xs: (linear_recurrence(decay, xs @ kernel.T) @ array(layer.W_out).T).real + xs @ layer.W_skip.T
    is_right = lambda xs: close(jax.vmap(layer)(jnp.asarray(xs)), outputs(xs), 1e-4)
    return is_right(XS) or (is_right(XS[:, :2]) and "wrong after 2 steps")


def stacked() -> bool:
    pair = [cells.LongShortTermMemoryCell(width, HIDDEN, key=KEY) for width in (FEATURES, HIDDEN)]
    _, hidden = jax.vmap(layers.DeepRNN(pair, 1, key=KEY))(jnp.asarray(XS))
    return close(hidden[1], encode(pair[1], encode(pair[0], XS)))


def merge() -> str:
    """Checks that the bidirectional network returns the states of both directions in the order of the inputs."""
    forward, backward = (cells.LongShortTermMemoryCell(FEATURES, HIDDEN, key=key) for key in jax.random.split(KEY))
    network = layers.BidirectionalRNN(forward, backward, 1, key=KEY)
    _, states = jax.vmap(network)(jnp.asarray(XS))
    expected = [encode(forward, XS), encode(backward, XS[:, ::-1])[:, ::-1]]
    return "returns both" if close(list(states), expected) else "no"
