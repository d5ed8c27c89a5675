"""Probes of torch."""

import importlib
import inspect

import jax
import torch as th
from torch.nn.utils import rnn as packing

from benchmarks.features.cell_probes import elman_probes, gru_probes, reset_place
from benchmarks.features.layer import FEATURES, H0, HIDDEN, TIME, X0, XS, Autodiff, Layer, Library
from benchmarks.features.layer_probes import (
    calls_cudnn,
    continues,
    drops_between_layers,
    forward_mode,
    general_probes,
    ragged_probes,
    rows_match_alone,
    time_major,
)


def libraries() -> list[Library]:
    th.manual_seed(0)
    layer, bidirectional = lstm(), lstm(bidirectional=True)
    stack, projected, elman = new(th.nn.LSTM, num_layers=2), new(th.nn.LSTM, proj_size=2), new(th.nn.RNN)

    def major(xs, flag):
        elman.batch_first = not flag
        return call(elman, xs)[1].detach()

    probes = {
        **general_probes(layer),
        **ragged_probes(layer, bidirectional),
        **elman_probes(lambda activation, xs: call(new(th.nn.RNN, nonlinearity=activation), xs)[1]),
        **gru_probes(lambda: [gru()]),
        "projection": lambda: [a.shape[-1] for a in jax.tree.leaves(call(projected, XS))] == [2, HIDDEN, 2],
        "reverse": lambda: rows_match_alone(bidirectional) and "bidirectional only",
        "stacked": lambda: continues(lambda xs, carry: call(stack, xs, carry)),
        "layer_dropout": lambda: drops_between_layers(dropped),
        "merge": lambda: bidirectional.run(bidirectional.weights, XS)[1].shape[-1] == 2 * HIDDEN and "concat",
        "time_major": lambda: time_major(major),
        "forward_mode": lambda: forward(layer),
        "bfloat16": lambda: autocast(layer),
        # torch has no counterpart to the memory analysis of XLA.
        "memory": lambda: "–",
        "saved_memory": lambda: "–",
        "cudnn": cudnn,
    }
    return [Library([th.nn, packing, th], probes)]


def new(kind, **options):
    return kind(FEATURES, HIDDEN, batch_first=True, **options)


def call(module, xs, carry=None):
    ys, last = module(th.as_tensor(xs), carry)
    return last, ys


def gradient(f):
    """Counterpart of ``jax.grad``. ``torch.func.grad`` does not accept packed sequences."""

    def gradient_of_f(w):
        w = {name: a if a.requires_grad else a.clone().requires_grad_() for name, a in w.items()}
        return dict(zip(w, th.autograd.grad(f(w), list(w.values()), create_graph=True), strict=True))

    return gradient_of_f


def lstm(bidirectional=False) -> Layer:
    module = new(th.nn.LSTM, bidirectional=bidirectional)
    cell = th.nn.LSTMCell(FEATURES, HIDDEN)

    def run(w, xs, lengths=None, carry=None):
        xs = th.as_tensor(xs)
        if lengths is not None:
            xs = packing.pack_padded_sequence(xs, th.as_tensor(lengths), batch_first=True, enforce_sorted=False)
        ys, last = th.func.functional_call(module, w, (xs, carry and tuple(a[None] for a in carry)))
        if lengths is not None:
            ys, _ = packing.pad_packed_sequence(ys, batch_first=True, total_length=TIME)
        return tuple(a[0] for a in last), ys

    def step(w, x, carry):
        renamed = {name.removesuffix("_l0"): value for name, value in w.items()}
        return th.func.functional_call(cell, renamed, (th.as_tensor(x), carry))

    weights = {name: value.detach() for name, value in module.named_parameters()}
    return Layer(weights, run, step, Autodiff(gradient, th.func.jvp, th.func.vmap, th.stack))


def gru():
    cell = th.nn.GRUCell(FEATURES, HIDDEN, bias=False)
    return reset_place(cell(th.as_tensor(X0), th.as_tensor(H0)), cell.weight_ih.T, cell.weight_hh.T)


def dropped(seed):
    """Final h of both layers, with the same weights in every call."""
    th.manual_seed(0)
    stack = new(th.nn.LSTM, num_layers=2, dropout=0.5)
    th.manual_seed(seed)
    return tuple(call(stack, XS)[0][0])


def forward(layer):
    with th.backends.mkldnn.flags(enabled=False):
        without = forward_mode(layer)
    return forward_mode(layer) or (without and "with oneDNN off")


def autocast(layer):
    with th.autocast("cpu", dtype=th.bfloat16):
        return all(a.dtype == th.float32 for a in layer.run(layer.weights, XS)[0])


def cudnn():
    modes = inspect.getsource(importlib.import_module("torch.backends.cudnn.rnn").get_cudnn_mode)
    return calls_cudnn("torch.nn.modules.rnn") and all(mode in modes for mode in ("LSTM", "GRU", "RNN_TANH"))
