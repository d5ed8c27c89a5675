"""Probes of flax: Linen and NNX."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from benchmarks.features.cell_probes import elman_probes, gru_probes, is_convolution, is_mgu, reset_place
from benchmarks.features.layer import FEATURES, H0, HIDDEN, KEY, X0, XS, Layer, Library, Probes, array, close
from benchmarks.features.layer_probes import (
    MERGES,
    bfloat16,
    calls_cudnn,
    general_probes,
    memory_probes,
    merge_modes,
    ragged_probes,
    time_major,
)


def libraries() -> list[Library]:
    return [Library([linen, flax], linen_probes()), Library([nnx, flax], nnx_probes())]


def common_probes(build, run, new, simple, merged) -> Probes:
    """Probes that apply to both Linen and NNX.

    Args:
        build: ``(**options) -> Layer``, an LSTM.
        run: ``(cell, xs, **options) -> ys`` of an ``RNN``.
        new: ``(cell) -> state`` after one step from (H0, X0).
        simple: ``(activation, **options) -> cell``.
        merged: ``(function) -> ys`` of a ``Bidirectional``.
    """

    def residual():
        plain, added = (array(new(simple("tanh", residual=flag))) for flag in (False, True))
        return "Elman only, adds the state" if close(added, np.tanh(np.arctanh(plain) + H0), 1e-4) else "?"

    return {
        **general_probes(build()),
        **ragged_probes(build(), build(bidirectional=True)),
        **memory_probes(build, "remat", remat=True),
        **elman_probes(lambda activation, xs: run(simple(activation), xs)),
        "residual": residual,
        "merge": lambda: merge_modes(merged, MERGES) == ", ".join(MERGES) and "any function",
        "time_major": lambda: time_major(lambda xs, flag: run(simple("tanh"), xs, time_major=flag)),
        "bfloat16": lambda: bfloat16(build(dtype=jnp.bfloat16)),
    }


def layer_run(apply):
    """Makes ``Layer.run`` from ``apply(weights, xs, **options)`` of an ``RNN``, which has the carry (c, h)."""

    def run(w, xs, lengths=None, reverse=False, carry=None):
        options = dict(seq_lengths=lengths, reverse=reverse, keep_order=True, return_carry=True)
        last, ys = apply(w, jnp.asarray(xs), initial_carry=carry and carry[::-1], **options)
        return last[::-1], ys

    return run


def linen_lstm(features=FEATURES, hidden_size=HIDDEN, bidirectional=False, remat=False, dtype=None) -> Layer:
    cell = (linen.remat(linen.LSTMCell) if remat else linen.LSTMCell)(hidden_size, dtype=dtype)
    rnn: Any = linen.RNN(cell)
    if bidirectional:
        rnn = linen.Bidirectional(rnn, linen.RNN(linen.LSTMCell(hidden_size)))
    step = lambda w, x, carry: cell.apply({"params": w["params"]["cell"]}, carry[::-1], x)[0][::-1]
    return Layer(rnn.init(KEY, jnp.zeros((1, 1, features))), layer_run(rnn.apply), step)


def linen_kernels(cell, gates):
    w = cell.init(KEY, H0, X0)["params"]
    return (np.concatenate([w[side + gate]["kernel"] for gate in gates], axis=-1) for side in "ih")


def linen_probes() -> Probes:
    run = lambda cell, xs, **options: linen.RNN(cell, **options).init_with_output(KEY, xs)[0]
    new = lambda cell: cell.init_with_output(KEY, H0, X0)[0][1]
    simple = lambda name, **options: linen.SimpleCell(HIDDEN, activation_fn=getattr(linen, name), **options)
    gru, mgu = linen.GRUCell(HIDDEN), linen.MGUCell(HIDDEN)
    first, second = (linen.RNN(linen.GRUCell(HIDDEN)) for _ in range(2))
    pair = lambda f: linen.Bidirectional(forward_rnn=first, backward_rnn=second, merge_fn=f)
    merged = lambda f: pair(f).init_with_output(KEY, XS)[0]
    stack = linen.Sequential([first, linen.Dropout(0.5, deterministic=False), second])
    dropped = lambda seed: stack.init_with_output({"params": KEY, "dropout": jax.random.key(seed)}, XS)[0]
    return {
        **common_probes(linen_lstm, run, new, simple, merged),
        **gru_probes(lambda: [reset_place(new(gru), *linen_kernels(gru, "rzn"))]),
        "mgu": lambda: is_mgu(new(mgu), linen_kernels(mgu, "fn"), bias=1.0),
        "conv_lstm": lambda: is_convolution(lambda rank, xs: run(linen.ConvLSTMCell(HIDDEN, (3,) * rank), xs)),
        "layer_dropout": lambda: not close(dropped(0), dropped(1)) and "in Sequential",
        "cudnn": lambda: calls_cudnn("flax.linen.recurrent"),
    }


def nnx_lstm(features=FEATURES, hidden_size=HIDDEN, bidirectional=False, remat=False, dtype=None) -> Layer:
    remat_cell = type("Remat", (nnx.LSTMCell,), {"__call__": nnx.remat(nnx.LSTMCell.__call__)})
    kind = remat_cell if remat else nnx.LSTMCell
    axes = nnx.StateAxes([(nnx.Param, None), (..., nnx.Carry)])  # NNX carries the weights by default
    new = lambda: nnx.RNN(kind(features, hidden_size, dtype=dtype, rngs=nnx.Rngs(0)), state_axes=axes)
    rnn: Any = nnx.Bidirectional(new(), new()) if bidirectional else new()
    graph, weights, *rest = nnx.split(rnn, nnx.Param, ...)
    module = lambda w: nnx.merge(graph, w, *rest, copy=True)
    run = layer_run(lambda w, xs, **options: module(w)(xs, **options))
    return Layer(weights, run, lambda w, x, carry: module(w).cell(carry[::-1], x)[0][::-1])


def nnx_probes() -> Probes:
    cell = lambda kind, width=FEATURES, **options: kind(width, HIDDEN, rngs=nnx.Rngs(0), **options)
    run = lambda cell, xs, **options: nnx.RNN(cell, **options)(jnp.asarray(xs))
    new = lambda cell: cell(jnp.asarray(H0), X0)[1]
    simple = lambda name, **options: cell(nnx.SimpleCell, activation_fn=getattr(nnx, name), **options)
    gru = cell(nnx.GRUCell)
    merged = lambda f: nnx.Bidirectional(nnx.RNN(gru), nnx.RNN(gru), merge_fn=f)(jnp.asarray(XS))
    stack = nnx.Sequential(nnx.RNN(gru), nnx.Dropout(0.5, rngs=nnx.Rngs(0)), nnx.RNN(cell(nnx.GRUCell, HIDDEN)))
    dropped = lambda: stack(jnp.asarray(XS))  # a new mask in every call
    return {
        **common_probes(nnx_lstm, run, new, simple, merged),
        **gru_probes(lambda: [reset_place(new(gru), gru.dense_i.kernel[...], gru.dense_h.kernel[...])]),
        "layer_dropout": lambda: not close(dropped(), dropped()) and "in Sequential",
        "cudnn": lambda: calls_cudnn("flax.nnx.nn.recurrent"),
    }
