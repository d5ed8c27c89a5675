"""Probes of torchrecurrent. Its layers run a Python loop over time."""

import contextlib
import itertools
from typing import Any

import torch as th
import torchrecurrent as tr

from benchmarks.features.cell_probes import is_affine, is_mgu, reset_place
from benchmarks.features.layer import FEATURES, H0, HIDDEN, X0, XS, Autodiff, Layer, Library, array, close, supported
from benchmarks.features.layer_probes import (
    calls_cudnn,
    continues,
    drops_between_layers,
    general_probes,
    time_major,
)
from benchmarks.features.libraries.torch import autocast, gradient


def libraries() -> list[Library]:
    th.manual_seed(0)
    layer = lstm()
    probes = {
        **general_probes(layer),
        "gru_before": lambda: gru("before"),
        "gru_after": lambda: gru("after"),
        "elman": lambda: any(is_elman(cell, th.tanh) for cell in cells(1)),
        "elman_relu": lambda: any(is_elman(cell, th.relu) for cell in cells(1)),
        "lstm": lambda: without_forget_gate() and "without forget gate",
        "mgu": mgu,
        "projection": lambda: tr.ResLSTMCell(FEATURES, HIDDEN).weight_proj.shape != (HIDDEN, HIDDEN),
        "peephole": peephole,
        "resets": lambda: False,  # `reset_coefficient` of MiRU2 is a constant of its equations
        "stacked": lambda: continues(stacked),
        "layer_dropout": lambda: drops_between_layers(dropped),
        "residual": residual,
        "time_major": lambda: time_major(major),
        "bfloat16": lambda: supported(lambda: autocast_products(layer)),
        # torch has no counterpart to the memory analysis of XLA.
        "memory": lambda: "–",
        "saved_memory": lambda: "–",
        "cudnn": lambda: calls_cudnn("torchrecurrent.base", "torchrecurrent.cells.originallstm_cell"),
    }
    return [Library([tr], probes)]


def new(kind, **options):
    th.manual_seed(0)
    return kind(FEATURES, HIDDEN, batch_first=True, **options)


def call(module, xs, carry=None):
    ys, last = module(th.as_tensor(xs), carry)
    return last, ys.detach()


def lstm() -> Layer:
    """The LSTM of 1997, because the library has none with a forget gate."""
    module = new(tr.OriginalLSTM)
    cell = tr.OriginalLSTMCell(FEATURES, HIDDEN)

    def run(w, xs, carry=None):
        inputs = (th.as_tensor(xs), carry and tuple(a[None] for a in carry))
        ys, last = th.func.functional_call(module, w, inputs)
        return tuple(a[0] for a in last), ys

    def step(w, x, carry):
        renamed = {name.removeprefix("cells.0."): value for name, value in w.items()}
        return th.func.functional_call(cell, renamed, (th.as_tensor(x), carry))

    weights = {name: value.detach() for name, value in module.named_parameters()}
    return Layer(weights, run, step, Autodiff(gradient, th.func.jvp, th.func.vmap, th.stack))


def cells(gates: int) -> list[Any]:
    """Returns the exported cells with one state whose two kernels have this number of gates."""
    found = []
    for name in (name for name in dir(tr) if name.endswith("Cell")):
        with contextlib.suppress(ValueError):  # one cell requires equal sizes of input and state
            found.append(getattr(tr, name)(FEATURES, HIDDEN))
    shapes = {"weight_ih": (gates * HIDDEN, FEATURES), "weight_hh": (gates * HIDDEN, HIDDEN)}
    fits = lambda cell: all(tuple(getattr(cell, name, th.empty(0)).shape) == shape for name, shape in shapes.items())
    return [cell for cell in found if not cell.uses_double_state() and fits(cell)]


def step_of(cell):
    new = cell(th.as_tensor(X0), th.as_tensor(H0))
    return new if isinstance(new, th.Tensor) else new[0]


def is_elman(cell, activation) -> bool:
    """Compares one step with the activation of a sum of products; biases are initialized to zero."""
    return close(step_of(cell), activation(th.as_tensor(X0) @ cell.weight_ih.T + th.as_tensor(H0) @ cell.weight_hh.T))


def gru(place: str) -> str | bool:
    """Returns the cell that computes a GRU with this place of the reset gate, in any order of its gates."""
    orders = ["".join(order) for order in itertools.permutations("rzn")]
    for cell in cells(3):
        if any(reset_place(step_of(cell), cell.weight_ih.T, cell.weight_hh.T, order) == place for order in orders):
            return f"as {type(cell).__name__.removesuffix('Cell')}"
    return False


def autocast_products(layer) -> bool:
    """Checks that autocast rounds the products but neither the dtype nor the values of the carry."""
    exact = layer.run(layer.weights, XS)[0]
    with th.autocast("cpu", dtype=th.bfloat16):
        carry = layer.run(layer.weights, XS)[0]
    rounded = [a.to(th.bfloat16).float() for a in carry]
    return autocast(layer) and close(carry, exact, 2e-2) and not close(carry, exact) and not close(carry, rounded)


def without_forget_gate() -> bool:
    """Compares one step from (H0, 1) with c + i g and o tanh(c)."""
    cell = tr.OriginalLSTMCell(FEATURES, HIDDEN)
    x, h, c = th.as_tensor(X0), th.as_tensor(H0), th.ones(4, HIDDEN)
    i, g, o = (x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh).chunk(3, 1)
    c_new = c + i.sigmoid() * g.tanh()
    return close(cell(x, (h, c)), (o.sigmoid() * c_new.tanh(), c_new))


def residual() -> bool | str:
    """Checks h = o W x in a ResLSTM without the projection of its state: a gated shortcut."""
    cell = tr.ResLSTMCell(FEATURES, HIDDEN)
    with th.no_grad():
        cell.weight_proj.fill_(0.0)
    gate = array(cell(th.as_tensor(X0))[0] / (th.as_tensor(X0) @ cell.weight_res.T))
    return bool(((gate > 0) & (gate < 1)).all()) and "gated, in ResLSTM"


def mgu():
    cell = tr.MGUCell(FEATURES, HIDDEN)
    return is_mgu(cell(th.as_tensor(X0), th.as_tensor(H0)), [cell.weight_ih.T, cell.weight_hh.T])


def peephole() -> bool:
    """Checks that the new c is affine in c only if the peephole weights are zero."""
    cell = tr.PeepholeLSTMCell(FEATURES, HIDDEN)

    def is_affine_in_c(weight):
        with th.no_grad():
            cell.weight_ph.fill_(weight)
        new_c = lambda c: array(cell(th.as_tensor(X0), (th.as_tensor(H0), th.as_tensor(array(c) + 0 * H0)))[1])
        return is_affine(new_c)

    return is_affine_in_c(0.0) and not is_affine_in_c(1.0)


def stacked(xs, carry):
    return call(new(tr.OriginalLSTM, num_layers=2), xs, carry)


def dropped(seed):
    """Final h of both layers, with the same weights in every call."""
    stack = new(tr.OriginalLSTM, num_layers=2, dropout=0.5)
    th.manual_seed(seed)
    return tuple(call(stack, XS)[0][0].detach())


def major(xs, flag):
    layer = new(tr.OriginalLSTM)
    layer.batch_first = not flag
    return call(layer, xs)[1]
