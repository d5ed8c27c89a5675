"""Probes of Keras on the JAX backend."""

import contextlib
import importlib
import inspect

import jax.numpy as jnp
import keras as ks
from keras import layers

from benchmarks.features.cell_probes import elman_probes, gru_probes, is_convolution, reset_place
from benchmarks.features.layer import FEATURES, H0, HIDDEN, X0, XS, Layer, Library, close, supported
from benchmarks.features.layer_probes import (
    bfloat16,
    continues,
    drops_between_layers,
    general_probes,
    gradient_megabytes,
    is_one_mask,
    memory_probes,
    merge_modes,
    ragged_probes,
)


def libraries() -> list[Library]:
    ks.utils.set_random_seed(0)
    stack, dropping = stacked(0.0), stacked(0.5)
    probes = {
        **general_probes(lstm()),
        **ragged_probes(lstm(), lstm(bidirectional=True)),
        **memory_probes(lstm, "RematScope", remat=True),
        **elman_probes(lambda activation, xs: layers.SimpleRNN(HIDDEN, activation, return_sequences=True)(xs)),
        **gru_probes(lambda: [gru(False), gru(True)]),
        "conv_lstm": lambda: is_convolution(conv_lstm),
        "resets": reset_state,
        "recurrent_dropout": recurrent_dropout,
        "stacked": lambda: continues(lambda xs, carry: carry_first(stack(xs, initial_state=carry))),
        "layer_dropout": lambda: drops_between_layers(lambda seed: dropping(XS, training=True)[1:]),
        "merge": lambda: merge_modes(merged, dict(concat="concat", sum="sum", mean="ave", max="max", product="mul")),
        "bfloat16": lambda: bfloat16(lstm(dtype="mixed_bfloat16")),
        "saved_memory": lambda: supported(lambda: gradient_megabytes(lstm, remat=True)) or "no, RematScope fails",
        "cudnn": cudnn,
    }
    return [Library([layers, ks], probes)]


def carry_first(outputs):
    ys, *last = outputs
    return last, ys


def lstm(features=FEATURES, hidden_size=HIDDEN, bidirectional=False, remat=False, dtype=None) -> Layer:
    options = dict(return_sequences=True, return_state=True, zero_output_for_mask=True, dtype=dtype)
    with ks.RematScope(mode="full") if remat else contextlib.nullcontext():
        pair = [layers.LSTM(hidden_size, go_backwards=backwards, **options) for backwards in (False, True)]
    pair = [layers.Bidirectional(pair[0])] if bidirectional else pair
    for layer in pair:
        layer.build((None, None, features))

    def with_weights(layer, w):
        return ks.StatelessScope(state_mapping=list(zip(layer.trainable_variables, w, strict=True)))

    def run(w, xs, lengths=None, reverse=False, carry=None):
        mask = None if lengths is None else jnp.arange(xs.shape[1]) < lengths[:, None]
        with with_weights(pair[reverse], w):
            last, ys = carry_first(pair[reverse](xs, mask=mask, initial_state=carry))
        return last, jnp.flip(ys, axis=1) if reverse else ys

    def step(w, x, carry):
        with with_weights(pair[0], w):
            return pair[0].cell(x, carry)[1]

    return Layer([v.value for v in pair[0].trainable_variables], run, step)


def gru(after):
    cell = layers.GRUCell(HIDDEN, reset_after=after)
    new = cell(X0, [jnp.asarray(H0)])[0]
    return reset_place(new, cell.kernel, cell.recurrent_kernel, "zrn")


def conv_lstm(rank, xs):
    ks.utils.set_random_seed(0)
    return (layers.ConvLSTM1D, layers.ConvLSTM2D)[rank - 1](HIDDEN, 3, padding="same", return_sequences=True)(xs)


def reset_state():
    layer = layers.LSTM(HIDDEN, return_sequences=True, stateful=True)
    first, second = layer(XS), layer(XS)
    layer.reset_state()
    return not close(first, second) and close(first, layer(XS)) and "between calls"


def recurrent_dropout():
    plain = dict(activation=None, kernel_initializer="zeros", recurrent_initializer="identity")
    layer = layers.SimpleRNN(32, recurrent_dropout=0.5, **plain)
    return is_one_mask(layer(XS, initial_state=jnp.ones((4, 32)), training=True))


def stacked(rate):
    cells = [layers.LSTMCell(HIDDEN), layers.LSTMCell(2, dropout=rate)]
    return layers.RNN(cells, return_sequences=True, return_state=True)


def merged(merge):
    ks.utils.set_random_seed(0)
    return layers.Bidirectional(layers.GRU(HIDDEN, return_sequences=True), merge_mode=merge)(XS)


def cudnn():
    rnn = importlib.import_module("keras.src.backend.jax.rnn")
    source = {name: inspect.getsource(getattr(rnn, name)) for name in ("lstm", "gru")}
    names = [name.upper() for name in source if "jax.experimental.rnn" in source[name]]
    return ", ".join(names) + (", not ragged" if "if mask is not None:" in source["lstm"] else "")
