"""Probes of equinox, which has cells for ``lax.scan`` but no layers."""

import equinox as eqx
import jax
import jax.numpy as jnp

from benchmarks.features.cell_probes import gru_probes, reset_place
from benchmarks.features.layer import FEATURES, H0, HIDDEN, KEY, X0, XS, Layer, Library, supported
from benchmarks.features.layer_probes import (
    batch_axes,
    bfloat16,
    calls_cudnn,
    general_probes,
    memory_probes,
    step_matches_run,
)


def libraries() -> list[Library]:
    layer = lstm()
    probes = {
        **general_probes(layer),
        **memory_probes(lstm, "filter_checkpoint", remat=True),
        **gru_probes(lambda: [gru()]),
        "carry": lambda: step_matches_run(layer) and "one step only",
        "batch_axes": lambda: supported(lambda: batch_axes(layer)) or (batch_axes(mapped(layer)) and "by vmap"),
        "bfloat16": lambda: bfloat16(layer, XS.astype(jnp.bfloat16)),
        "cudnn": lambda: calls_cudnn("equinox.nn._rnn"),
    }
    return [Library([eqx.nn, eqx], probes)]


def lstm(features=FEATURES, hidden_size=HIDDEN, remat=False) -> Layer:
    """Returns the cell in a ``lax.scan``, as in the documentation of equinox."""
    weights, static = eqx.partition(eqx.nn.LSTMCell(features, hidden_size, key=KEY), eqx.is_array)
    step = lambda w, x, carry: jax.vmap(eqx.combine(w, static))(x, tuple(carry))

    def run(w, xs, carry=None):
        def body(carry, x):
            carry = step(w, x, carry)
            return carry, carry[0]

        body = eqx.filter_checkpoint(body) if remat else body
        carry = (jnp.zeros((len(xs), hidden_size)),) * 2 if carry is None else carry
        last, ys = jax.lax.scan(body, carry, jnp.swapaxes(xs, 0, 1))
        return last, jnp.swapaxes(ys, 0, 1)

    return Layer(weights, run, step)


def mapped(layer: Layer) -> Layer:
    """Maps the layer over a second batch axis if the inputs have one."""
    run = lambda w, xs: jax.vmap(lambda xs: layer.run(w, xs))(xs) if xs.ndim == 4 else layer.run(w, xs)
    return layer._replace(run=run)


def gru():
    cell = eqx.nn.GRUCell(FEATURES, HIDDEN, use_bias=False, key=KEY)
    return reset_place(jax.vmap(cell)(X0, H0), cell.weight_ih.T, cell.weight_hh.T)
