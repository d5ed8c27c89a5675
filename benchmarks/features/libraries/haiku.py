"""Probes of haiku."""

import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import numpy as np

from benchmarks.features.cell_probes import convolutions, elmans, grus, reset_place
from benchmarks.features.layer import FEATURES, H0, HIDDEN, KEY, LENGTHS, X0, XS, Layer, Library
from benchmarks.features.layer_probes import (
    calls_cudnn,
    continues,
    drops_between,
    ends_right,
    general,
    half,
    memory,
    resets_right,
    time_major,
)


def libraries() -> list[Library]:
    probes = {
        **general(lstm()),
        **memory(lstm, "hk.remat", remat=True),
        **elmans(lambda activation, xs: elman(xs, False)),  # VanillaRNN has no argument for the activation
        **grus(lambda: [gru()]),
        "conv_lstm": lambda: convolutions(conv_lstm),
        "own_end": select_last,
        "resets": lambda: resets_right(with_resets),
        "stacked": lambda: continues(stacked),
        "between": lambda: drops_between(dropped) and "as a function",
        "skip": skip,
        "time_major": lambda: time_major(elman),
        "half": mixed,
        "cudnn": lambda: calls_cudnn("haiku._src.recurrent"),
    }
    return [Library([hk], probes)]


def pure(f):
    return hk.without_apply_rng(hk.transform(f))


def value(f, seed=0):
    """Returns f() with fixed initial parameters and with the random numbers of ``seed``."""
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


def select_last():
    layer = lstm()
    network = pure(lambda: unroll(hk.LSTM(HIDDEN), XS, return_all_states=True)[0])
    carry = [a[np.arange(4), LENGTHS - 1] for a in network.apply(layer.weights)]
    return ends_right(layer, carry) and "by hand"


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
        return half(lstm())
    finally:
        hk.mixed_precision.clear_policy(hk.LSTM)
