"""Probes of haiku."""

import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import numpy as np

from benchmarks.features.cell_probes import elman_probes, gru_probes, is_convolution, reset_place
from benchmarks.features.layer import FEATURES, H0, HIDDEN, KEY, LENGTHS, X0, XS, Layer, Library
from benchmarks.features.layer_probes import (
    bfloat16,
    calls_cudnn,
    continues,
    drops_between_layers,
    general_probes,
    last_carry_is_right,
    memory_probes,
    resets_are_right,
    time_major,
)


def libraries() -> list[Library]:
    probes = {
        **general_probes(lstm()),
        **memory_probes(lstm, "hk.remat", remat=True),
        **elman_probes(lambda activation, xs: elman(xs, False)),  # the activation cannot be chosen
        **gru_probes(lambda: [gru()]),
        "conv_lstm": lambda: is_convolution(conv_lstm),
        "last_carry": indexed,
        "resets": lambda: resets_are_right(with_resets),
        "stacked": lambda: continues(stacked),
        "layer_dropout": lambda: drops_between_layers(dropped) and "as a function",
        "skip": skip,
        "time_major": lambda: time_major(elman),
        "bfloat16": mixed,
        "cudnn": lambda: calls_cudnn("haiku._src.recurrent"),
    }
    return [Library([hk], probes)]


def pure(f):
    return hk.without_apply_rng(hk.transform(f))


def value(f, seed=0):
    """Value of f with parameters from ``KEY`` and random numbers from the seed."""
    function = hk.transform(f)
    return function.apply(function.init(KEY), jax.random.key(seed))


def unroll(core, xs, state=None, remat=False, **options):
    state = core.initial_state(len(jax.tree.leaves(xs)[0])) if state is None else state
    core = hk.remat(core) if remat else core
    ys, last = hk.dynamic_unroll(core, xs, state, **{"time_major": False, **options})
    return last, ys


def lstm(features=FEATURES, hidden_size=HIDDEN, remat=False) -> Layer:
    def network(xs, reverse=False, carry=None):
        return unroll(hk.LSTM(hidden_size), xs, carry and hk.LSTMState(*carry), remat, reverse=reverse)

    layer = pure(network)
    step = pure(lambda x, carry: hk.LSTM(hidden_size)(x, hk.LSTMState(*carry))[1]).apply
    run = lambda w, xs, reverse=False, carry=None: layer.apply(w, xs, reverse, carry)
    return Layer(layer.init(KEY, jnp.zeros((1, 1, features))), run, step)


def elman(xs, time_major):
    return value(lambda: unroll(hk.VanillaRNN(HIDDEN), xs, 0 * H0, time_major=time_major)[1])


def gru():
    cell = pure(lambda: hk.GRU(HIDDEN)(X0, H0)[0])
    w = cell.init(KEY)
    return reset_place(cell.apply(w), w["gru"]["w_i"], w["gru"]["w_h"], "zrn")


def conv_lstm(rank, xs):
    kind = (hk.Conv1DLSTM, hk.Conv2DLSTM)[rank - 1]
    return value(lambda: unroll(kind(xs.shape[2:-1], HIDDEN, 3), xs)[1])


def indexed():
    layer = lstm()
    network = pure(lambda: unroll(hk.LSTM(HIDDEN), XS, return_all_states=True)[0])
    carry = [a[np.arange(4), LENGTHS - 1] for a in network.apply(layer.weights)]
    return last_carry_is_right(layer, carry) and "by hand"


def with_resets(xs, resets):
    return value(lambda: unroll(hk.ResetCore(hk.LSTM(HIDDEN)), (xs, resets))[1])


def stacked(xs, carry):
    return value(lambda: unroll(hk.DeepRNN([hk.LSTM(HIDDEN), hk.LSTM(2)]), xs, carry))


def dropped(seed):
    drop = lambda x: hk.dropout(hk.next_rng_key(), 0.5, x)
    return value(lambda: unroll(hk.DeepRNN([hk.LSTM(HIDDEN), drop, hk.LSTM(2)]), XS)[0], seed)


def skip():
    network = pure(lambda: unroll(hk.deep_rnn_with_skip_connections([hk.LSTM(HIDDEN), hk.LSTM(2)]), XS)[1])
    w = network.init(KEY)
    return len(w["lstm_1/linear"]["w"]) == FEATURES + HIDDEN + 2 and network.apply(w).shape[-1] == HIDDEN + 2


def mixed():
    hk.mixed_precision.set_policy(hk.LSTM, jmp.get_policy("params=float32,compute=bfloat16,output=float32"))
    try:
        return bfloat16(lstm())
    finally:
        hk.mixed_precision.clear_policy(hk.LSTM)
