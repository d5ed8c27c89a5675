"""What libraries offer for recurrent networks: a table in which every cell is found by running the installed library.

    python -m benchmarks.features --markdown

"yes": a documented class, function or argument does it, and the numbers are right. "no": the numbers are wrong, the
library refuses, or it has neither a public name nor an argument of a recurrent layer of that kind. "?": it has such a
name, which this program does not know yet. Everything runs on the CPU, in two minutes; a library that is not
installed is left empty.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.extend import core as jex

from jaxnets import program, recurrent
from jaxnets import weights as foreign

FLAGS = flags.FLAGS

flags.DEFINE_bool("markdown", False, "Print a Markdown table.")

FEATURES, HIDDEN, TIME = 3, 4, 6
LENGTHS = np.array([6, 2, 4, 3])
XS = np.random.default_rng(0).normal(size=(4, TIME, FEATURES)).astype(np.float32)
X0, H0 = XS[:, 0], np.random.default_rng(1).normal(size=(4, HIDDEN)).astype(np.float32)
KEY = jax.random.key(0)
REFUSALS = (ValueError, TypeError, RuntimeError, AttributeError)
RECURRENT = r"rnn|lstm|gru|mgu|cell|core|unroll|bidirectional|^scan$|^pack_|^pad_"

# A feature, and what a name or an argument of that kind would be called; "" where every library is run.
ROWS: dict[str, dict[str, tuple[str, str]]] = {
    "Cells": {
        "elman": ("Elman, tanh", r"elman|simple|vanilla|rnn"),
        "elman_relu": ("Elman, relu", r"elman|simple|vanilla|rnn"),
        "gru_before": ("GRU, reset before the product", ""),
        "gru_after": ("GRU, reset after the product (cuDNN's)", ""),
        "mgu": ("MGU (Zhou 2016)", r"mgu|minimal"),
        "lstm": ("LSTM", ""),
        "projection": ("LSTM with projection", r"(lstm|rnn)\w*\.\w*proj|proj\w*lstm"),
        "coupled": ("LSTM with coupled gates", r"coupl|cifg"),
        "peephole": ("LSTM with peepholes", r"peep"),
        "norm_lstm": ("LSTM with layer norm", r"norm\w*(lstm|rnn)|(lstm|rnn)\w*\.?\w*norm"),
        "norm_gru": ("GRU with layer norm", r"norm\w*(gru|rnn)|(gru|rnn)\w*\.?\w*norm"),
        "conv_lstm": ("ConvLSTM, 1-D and 2-D", r"conv\w*lstm"),
        "min": ("minGRU, minLSTM", r"min_?gru|min_?lstm"),
        "lru": ("LRU", r"lru\b|linear_?recurrent"),
    },
    "Ragged batches": {
        "own_end": ("carry after each row's own end", r"lengths|mask"),
        "empty_row": ("rows of length 0", r"lengths|mask"),
        "reverse": ("reversed from each row's own end", r"lengths|mask"),
        "both": ("bidirectional", r"lengths|mask"),
        "zeros": ("outputs 0 in the padding", r"lengths|mask"),
        "nan": ("NaN in the padding changes nothing", r"lengths|mask"),
    },
    "Carries": {
        "carry": ("carry in and out of a sequence", ""),
        "step": ("one step (streaming)", ""),
        "resets": ("resets inside a sequence (episodes)", r"\breset(?!_after|_gate|_param)|episode"),
        "learned": ("learned initial carry", r"(learn|train)\w*(carry|initial|hidden)"),
    },
    "Around the cell": {
        "zoneout": ("zoneout", r"zoneout"),
        "variational": ("recurrent dropout, one mask for all steps", r"recurrent_?dropout|variational"),
        "residual": ("residual connection, y + x", r"residual"),
        "stacked": ("stacked layers with their carries", r"stacked|deep|num_layers"),
        "between": ("dropout between layers", r"stacked|deep|num_layers"),
        "skip": ("skip connections (Graves 2013)", r"skip_connection"),
        "merge": ("bidirectional, merged by", r"bidirectional"),
    },
    "Use": {
        "time_major": ("time-major option", r"time_?major|batch_first"),
        "batch_axes": ("several batch axes (LSTM)", ""),
        "ensemble": ("vmap over the parameters", ""),
        "forward_mode": ("forward-mode derivative", ""),
        "second": ("second derivative", ""),
        "half": ("bfloat16 products, float32 carry (LSTM)", ""),
        "memory": ("MB to differentiate an LSTM (T 2048, B 4, H 64)", ""),
        "least": ("the same, with an option to keep less", ""),
        "convert": ("weights from and to", r"(from|to|load|import|convert)_\w*(torch|keras|haiku|flax)"),
        "cudnn": ("calls cuDNN on a GPU (read in its source)", ""),
    },
}

Probes = dict[str, Callable[[], Any]]


class Library(NamedTuple):
    """Where a library's public names are, and what is found by running it."""

    spaces: list[Any]
    probes: Probes


class Layer(NamedTuple):
    """An LSTM of one library, to be called like that of any other.

    Attributes:
        weights: A tree of arrays.
        run: ``(weights, xs [B, T, D], lengths=, reverse=, carry=) -> ((h, c), ys)``, as far as the library can.
        step: ``(weights, x, carry) -> (h, c)``.
    """

    weights: Any
    run: Callable[..., Any]
    step: Callable[..., Any]


# ---- probes of any library


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


def is_lstm(layer: Layer) -> bool:
    """h = o tanh(c) with a gate o between 0 and 1."""
    (h, c), ys = layer.run(layer.weights, XS)
    gate = array(h) / np.tanh(array(c))
    return bool(np.all((gate > 0) & (gate < 1))) and close(ys[:, -1], h)


def elmans(run: Callable[[str, Any], Any]) -> Probes:
    """``run(activation, xs)`` gives the outputs of an Elman network, for large inputs: 1 and -1, or large and 0."""
    ends = lambda activation: (lambda ys: (ys.min(), ys.max()))(array(run(activation, 1000 * XS)))
    return {
        "elman": lambda: close(ends("tanh"), (-1, 1)),
        "elman_relu": lambda: ends("relu")[0] == 0 and bool(ends("relu")[1] > 10),
    }


def reset_place(new: Any, wx: Any, wh: Any, order: str = "rzn") -> str:
    """Where a GRU without biases resets, by its state after (H0, X0); kernels of reset, update and candidate."""
    wx, wh = (dict(zip(order, np.split(array(w), 3, axis=-1), strict=True)) for w in (wx, wh))
    r, z = (array(jax.nn.sigmoid(X0 @ wx[gate] + H0 @ wh[gate])) for gate in "rz")
    for place, product in {"before": (r * H0) @ wh["n"], "after": r * (H0 @ wh["n"])}.items():
        n = np.tanh(X0 @ wx["n"] + product)
        if close(new, z * H0 + (1 - z) * n) or close(new, (1 - z) * H0 + z * n):
            return place
    return "nowhere"


def grus(places: Callable[[], list[str]]) -> Probes:
    return {"gru_before": lambda: "before" in places(), "gru_after": lambda: "after" in places()}


def is_mgu(new: Any, kernels: Any, bias: float = 0.0) -> bool | str:
    """Whether it is the paper's; kernels of gate and candidate, the gate with this bias."""
    (fx, nx), (fh, nh) = (np.split(array(w), 2, axis=-1) for w in kernels)
    f = array(jax.nn.sigmoid(X0 @ fx + H0 @ fh + bias))
    variant = f * H0 + (1 - f) * np.tanh(X0 @ nx + f * (H0 @ nh))
    paper = (1 - f) * H0 + f * np.tanh(X0 @ nx + (f * H0) @ nh)
    return close(new, paper) or (close(new, variant) and "another variant")


def is_affine(f: Callable[[Any], Any]) -> bool:
    none, one, two = (f(jnp.full(HIDDEN, a)) for a in (0.0, 1.0, 2.0))
    return close(two - one, one - none)


def convolutions(run: Callable[[int, Any], Any]) -> bool:
    """Whether an input reaches its neighbours alone, and moves with its outputs, in 1 and in 2 dimensions."""
    for rank in (1, 2):
        xs = np.zeros((1, 2, *(9,) * rank, FEATURES), np.float32)
        xs[:, :, 4] = 1.0
        ys, moved = array(run(rank, xs)), array(run(rank, np.roll(xs, 1, axis=2)))
        if ys.shape != (*xs.shape[:-1], HIDDEN) or not close(np.roll(ys, 1, axis=2)[:, :, 4:7], moved[:, :, 4:7]):
            return False
        if close(ys[:, :, 5], ys[:, :, 8]) or not close(ys[:, :, 0], ys[:, :, 8]):
            return False
    return True


def alone(layer: Layer, row: int, **options: Any) -> Any:
    return layer.run(layer.weights, XS[row : row + 1, : LENGTHS[row]], **options)


def ends_right(layer: Layer, carry: Any) -> bool:
    return all(close([a[row : row + 1] for a in carry], alone(layer, row)[0]) for row in range(4))


def as_alone(layer: Layer, **options: Any) -> bool:
    _, ys = layer.run(layer.weights, XS, lengths=LENGTHS, **options)
    return all(close(ys[row : row + 1, : LENGTHS[row]], alone(layer, row, **options)[1]) for row in range(4))


def nan(layer: Layer, autodiff: Any) -> str | bool:
    bad = np.where((np.arange(TIME) < LENGTHS[:, None])[..., None], XS, np.float32("nan"))
    real = lambda w, xs: [y[:n] for y, n in zip(layer.run(w, xs, lengths=LENGTHS)[1], LENGTHS, strict=True)]
    if not close(real(layer.weights, bad), real(layer.weights, XS)):
        return False
    gradient = lambda xs: autodiff.grad(lambda w: sum((y**2).sum() for y in real(w, xs)))(layer.weights)
    return close(gradient(bad), gradient(XS)) or "in outputs only"


def ragged(layer: Layer, both: Layer, autodiff: Any) -> Probes:
    run = lambda lengths=LENGTHS: layer.run(layer.weights, XS, lengths=lengths)
    empty = lambda: close([a[1] for a in run(np.array([6, 0, 4, 3]))[0]], [np.zeros(HIDDEN)] * 2)
    return {
        "own_end": lambda: ends_right(layer, run()[0]),
        "empty_row": lambda: refused(empty),
        "reverse": lambda: as_alone(layer, reverse=True),
        "both": lambda: as_alone(both),
        "zeros": lambda: not array(run()[1])[np.arange(TIME) >= LENGTHS[:, None]].any(),
        "nan": lambda: nan(layer, autodiff),
    }


def continues(run: Callable[[Any, Any], Any]) -> bool:
    """Whether ``run(xs, carry) -> (carry, ys)`` over two halves of a sequence is the run over all of it."""
    carry, first = run(XS[:, :3], None)
    whole = run(XS, None)[1]
    return close([first, run(XS[:, 3:], carry)[1]], [whole[:, :3], whole[:, 3:]])


def steps(layer: Layer) -> bool:
    carry, _ = layer.run(layer.weights, XS[:, :1])
    for time in range(1, TIME):
        carry = layer.step(layer.weights, XS[:, time], carry)
    return close(list(carry), list(layer.run(layer.weights, XS)[0]))


def resets_right(run: Callable[[Any, Any], Any]) -> bool:
    """Whether the outputs of ``run(xs, resets)`` from a reset on are those of a sequence that begins there."""
    starts = [3, 1, 5, 2]
    ys = run(XS, np.arange(TIME) == np.array(starts)[:, None])
    fresh = lambda row, start: run(XS[row : row + 1, start:], np.zeros((1, TIME - start), bool))
    return all(close(ys[row : row + 1, start:], fresh(row, start)) for row, start in enumerate(starts))


def is_one_mask(state: Any) -> bool:
    """Of ones that each of 6 steps multiplied with a mask of 0 and 2: one mask leaves 0 or 64, six leave hardly any."""
    return set(np.unique(array(state))) == {0.0, 64.0} and array(state).mean() > 16


def drops_between(run: Callable[[int], Any]) -> bool:
    """``run(seed)`` gives both layers' carries: another seed leaves the first alone, and changes the second."""
    (first, second), (again, other) = run(0), run(1)
    return close(first, again) and not close(second, other)


MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "concat": lambda a, b: jnp.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "max": jnp.maximum,
    "product": lambda a, b: a * b,
}


def merges(run: Callable[[Any], Any], names: dict[str, Any]) -> str:
    """The merges that ``run(name)`` computes, of one bidirectional layer with the same weights every time."""
    pair = np.split(array(run(names["concat"])), 2, axis=-1)
    right = lambda name: close(run(names[name]), MERGES[name](*pair))
    return ", ".join(name for name in names if refused(functools.partial(right, name)))


def time_major(run: Callable[[Any, bool], Any]) -> bool:
    return close(run(XS, False), array(run(XS.swapaxes(0, 1), True)).swapaxes(0, 1))


def batch_axes(layer: Layer) -> bool:
    _, ys = layer.run(layer.weights, XS.reshape(2, 2, TIME, FEATURES))
    return close(ys.reshape(4, TIME, HIDDEN), layer.run(layer.weights, XS)[1])


def ensemble(layer: Layer, autodiff: Any) -> bool:
    double = jax.tree.map(lambda a: 2 * a, layer.weights)
    two = jax.tree.map(lambda a, b: autodiff.stack([a, b]), layer.weights, double)
    ys = autodiff.vmap(lambda w: layer.run(w, XS)[1])(two)
    return close([ys[0], ys[1]], [layer.run(w, XS)[1] for w in (layer.weights, double)])


def differentiated(layer: Layer, autodiff: Any) -> Probes:
    """Along the weights themselves, against differences."""
    f, w = lambda w: (layer.run(w, XS)[1] ** 2).sum(), layer.weights
    gradient = autodiff.grad(f)
    product = lambda v: sum((a * b).sum() for a, b in zip(*map(jax.tree.leaves, (gradient(v), w)), strict=True))

    def difference(f):
        ahead, behind = (f(jax.tree.map(lambda a, by=by: a * by, w)) for by in (1.01, 0.99))
        return jax.tree.map(lambda a, b: (a - b) / 0.02, ahead, behind)

    return {
        "forward_mode": lambda: refused(lambda: close(autodiff.jvp(f, (w,), (w,))[1], difference(f), 1e-2)),
        "second": lambda: refused(lambda: close(autodiff.grad(product)(w), difference(gradient), 2e-2)),
    }


JAX = SimpleNamespace(grad=jax.grad, jvp=jax.jvp, vmap=jax.vmap, stack=jnp.stack)


def half(layer: Layer, xs: Any = XS) -> str | bool:
    """A layer told to compute in bfloat16 from float32 weights: the operands of its products, and its carry."""
    compiled = jax.jit(layer.run).lower(layer.weights, xs).compile({"xla_allow_excess_precision": False})
    carry, _ = compiled(layer.weights, xs)
    jaxpr = jax.make_jaxpr(layer.run)(layer.weights, xs).jaxpr
    operands = {str(operand.aval.dtype) for product in products(jaxpr) for operand in product.invars}
    if operands != {"bfloat16"} or {str(a.dtype) for a in carry} != {"float32"}:
        return False
    return not close(carry[1], carry[1].astype(jnp.bfloat16), 1e-9) or "carry rounded"


def products(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for inner in jex.jaxprs_in_params(equation.params):
            yield from products(inner)


def megabytes(build: Callable[..., Layer], **options: Any) -> str:
    """Temporary memory of the compiled gradient with respect to the weights."""
    layer = build(features=64, hidden=64, **options)
    gradient = jax.jit(jax.grad(lambda w, xs: jnp.mean(layer.run(w, xs)[1] ** 2)))
    lowered = gradient.lower(layer.weights, jax.ShapeDtypeStruct((4, 2048, 64), jnp.float32))
    analysis = lowered.compile().memory_analysis()
    assert analysis is not None
    return f"{analysis.temp_size_in_bytes / 1e6:.1f}"


def common(layer: Layer, autodiff: Any) -> Probes:
    return {
        "lstm": lambda: is_lstm(layer),
        "carry": lambda: continues(lambda xs, carry: layer.run(layer.weights, xs, carry=carry)),
        "step": lambda: steps(layer),
        "batch_axes": lambda: refused(lambda: batch_axes(layer)),
        "ensemble": lambda: refused(lambda: ensemble(layer, autodiff)),
        **differentiated(layer, autodiff),
    }


def of_jax(build: Callable[..., Layer]) -> Probes:
    return {**common(build(), JAX), "memory": lambda: megabytes(build)}


def calls_cudnn(*modules: str) -> bool:
    """Whether these modules' source mentions cuDNN or ``jax.experimental.rnn``, which calls it."""
    files = [importlib.import_module(module).__file__ or "" for module in modules]
    return any(re.search(r"cudnn|jax\.experimental\.rnn", Path(file).read_text()) for file in files)


# ---- the libraries


def flax_linen() -> Library:
    nn = importlib.import_module("flax.linen")

    def build(features=FEATURES, hidden=HIDDEN, both=False, remat=False, dtype=None) -> Layer:
        cell = (nn.remat(nn.LSTMCell) if remat else nn.LSTMCell)(hidden, dtype=dtype)
        rnn = nn.Bidirectional(nn.RNN(cell), nn.RNN(nn.LSTMCell(hidden))) if both else nn.RNN(cell)

        def run(w, xs, lengths=None, reverse=False, carry=None):
            options = dict(seq_lengths=lengths, reverse=reverse, keep_order=True, return_carry=True)
            last, ys = rnn.apply(w, jnp.asarray(xs), initial_carry=carry and carry[::-1], **options)
            return last[::-1], ys

        step = lambda w, x, carry: cell.apply({"params": w["params"]["cell"]}, carry[::-1], x)[0][::-1]
        return Layer(rnn.init(KEY, jnp.zeros((1, 1, features))), run, step)

    def kernels(cell, names):
        w = cell.init(KEY, H0, X0)["params"]
        return (np.concatenate([w[side + name]["kernel"] for name in names], axis=-1) for side in "ih")

    run = lambda cell, xs, **options: nn.RNN(cell, **options).init_with_output(KEY, xs)[0]
    new = lambda cell: cell.init_with_output(KEY, H0, X0)[0][1]
    simple = lambda activation, **options: nn.SimpleCell(HIDDEN, activation_fn=getattr(nn, activation), **options)
    gru, mgu = nn.GRUCell(HIDDEN), nn.MGUCell(HIDDEN)
    rnns = [nn.RNN(nn.GRUCell(HIDDEN)) for _ in range(2)]
    stack = nn.Sequential([rnns[0], nn.Dropout(0.5, deterministic=False), rnns[1]])
    both = lambda f: nn.Bidirectional(*rnns, f).init_with_output(KEY, XS)[0]
    drop = lambda seed: stack.init_with_output({"params": KEY, "dropout": jax.random.key(seed)}, XS)[0]
    probes = {
        **flax(build, run, simple, new),
        **grus(lambda: [reset_place(new(gru), *kernels(gru, "rzn"))]),
        "mgu": lambda: is_mgu(new(mgu), kernels(mgu, "fn"), bias=1.0),
        "conv_lstm": lambda: convolutions(lambda rank, xs: run(nn.ConvLSTMCell(HIDDEN, (3,) * rank), xs)),
        "between": lambda: not close(drop(0), drop(1)) and "in Sequential",
        "merge": lambda: merges(both, MERGES) == ", ".join(MERGES) and "any function",
        "least": lambda: f"{megabytes(build, remat=True)} (remat)",
        "cudnn": lambda: calls_cudnn("flax.linen.recurrent"),
    }
    return Library([nn, importlib.import_module("flax")], probes)


def flax_nnx() -> Library:
    nnx = importlib.import_module("flax.nnx")
    remat_cell = type("Remat", (nnx.LSTMCell,), {"__call__": nnx.remat(nnx.LSTMCell.__call__)})

    def build(features=FEATURES, hidden=HIDDEN, both=False, remat=False, dtype=None) -> Layer:
        kind = remat_cell if remat else nnx.LSTMCell
        axes = nnx.StateAxes({nnx.Param: None, ...: nnx.Carry})  # by default NNX carries the weights from step to step
        new = lambda: nnx.RNN(kind(features, hidden, dtype=dtype, rngs=nnx.Rngs(0)), state_axes=axes)
        graph, weights, rest = nnx.split(nnx.Bidirectional(new(), new()) if both else new(), nnx.Param, ...)
        module = lambda w: nnx.merge(graph, w, rest, copy=True)

        def run(w, xs, lengths=None, reverse=False, carry=None):
            options = dict(seq_lengths=lengths, reverse=reverse, keep_order=True, return_carry=True)
            last, ys = module(w)(jnp.asarray(xs), initial_carry=carry and carry[::-1], **options)
            return last[::-1], ys

        return Layer(weights, run, lambda w, x, carry: module(w).cell(carry[::-1], x)[0][::-1])

    def simple(activation, **options):
        return nnx.SimpleCell(FEATURES, HIDDEN, activation_fn=getattr(nnx, activation), rngs=nnx.Rngs(0), **options)

    run = lambda cell, xs, **options: nnx.RNN(cell, **options)(jnp.asarray(xs))
    new = lambda cell: cell(jnp.asarray(H0), X0)[1]
    gru, second_gru = (nnx.GRUCell(width, HIDDEN, rngs=nnx.Rngs(0)) for width in (FEATURES, HIDDEN))
    both = lambda f: nnx.Bidirectional(nnx.RNN(gru), nnx.RNN(gru), merge_fn=f)(jnp.asarray(XS))
    stack = nnx.Sequential(nnx.RNN(gru), nnx.Dropout(0.5, rngs=nnx.Rngs(0)), nnx.RNN(second_gru))
    probes = {
        **flax(build, run, simple, new),
        **grus(lambda: [reset_place(new(gru), gru.dense_i.kernel[...], gru.dense_h.kernel[...])]),
        "between": lambda: not close(stack(jnp.asarray(XS)), stack(jnp.asarray(XS))) and "in Sequential",
        "merge": lambda: merges(both, MERGES) == ", ".join(MERGES) and "any function",
        "least": lambda: f"{megabytes(build, remat=True)} (remat)",
        "cudnn": lambda: calls_cudnn("flax.nnx.nn.recurrent"),
    }
    return Library([nnx, importlib.import_module("flax")], probes)


def flax(build: Any, run: Any, simple: Any, new: Any) -> Probes:
    """What Linen and NNX are asked alike.

    Args:
        build: The LSTM as a ``Layer``.
        run: ``(cell, xs, **options) -> ys`` of an ``RNN``.
        simple: ``(activation, **options) -> cell``.
        new: ``(cell) -> `` its state after (H0, X0).
    """

    def residual():
        plain, added = (array(new(simple("tanh", residual=flag))) for flag in (False, True))
        return "Elman, of its state" if close(added, np.tanh(np.arctanh(plain) + H0), 1e-4) else "?"

    return {
        **of_jax(build),
        **ragged(build(), build(both=True), JAX),
        **elmans(lambda activation, xs: run(simple(activation), xs)),
        "residual": residual,
        "time_major": lambda: time_major(lambda xs, flag: run(simple("tanh"), xs, time_major=flag)),
        "half": lambda: half(build(dtype=jnp.bfloat16)),
    }


def haiku() -> Library:
    hk, jmp = importlib.import_module("haiku"), importlib.import_module("jmp")
    pure = lambda f: hk.without_apply_rng(hk.transform(f))

    def value(f, seed=0):
        function = hk.transform(f)
        return function.apply(function.init(KEY), jax.random.key(seed))

    def unroll(core, xs, state=None, **options):
        state = core.initial_state(len(jax.tree.leaves(xs)[0])) if state is None else state
        core = hk.remat(core) if options.pop("remat", False) else core
        ys, last = hk.dynamic_unroll(core, xs, state, **{"time_major": False, **options})
        return last, ys

    def build(features=FEATURES, hidden=HIDDEN, remat=False) -> Layer:
        def network(xs, reverse=False, carry=None):
            return unroll(hk.LSTM(hidden), xs, carry and hk.LSTMState(*carry), reverse=reverse, remat=remat)

        layer = pure(network)
        step = pure(lambda x, carry: hk.LSTM(hidden)(x, hk.LSTMState(*carry))[1]).apply
        run = lambda w, xs, reverse=False, carry=None: layer.apply(w, xs, reverse, carry)
        return Layer(layer.init(KEY, jnp.zeros((1, 1, features))), run, step)

    def picked():
        layer = build()
        network = pure(lambda: unroll(hk.LSTM(HIDDEN), XS, return_all_states=True)[0])
        carry = [a[np.arange(4), LENGTHS - 1] for a in network.apply(layer.weights)]
        return ends_right(layer, carry) and "by hand"

    def gru():
        cell = pure(lambda: hk.GRU(HIDDEN)(X0, H0)[0])
        w = cell.init(KEY)
        return [reset_place(cell.apply(w), w["gru"]["w_i"], w["gru"]["w_h"], "zrn")]

    def skip():
        network = pure(lambda: unroll(hk.deep_rnn_with_skip_connections([hk.LSTM(HIDDEN), hk.LSTM(2)]), XS)[1])
        w = network.init(KEY)
        return len(w["lstm_1/linear"]["w"]) == FEATURES + HIDDEN + 2 and network.apply(w).shape[-1] == HIDDEN + 2

    def mixed():
        hk.mixed_precision.set_policy(hk.LSTM, jmp.get_policy("params=float32,compute=bfloat16,output=float32"))
        try:
            return half(build())
        finally:
            hk.mixed_precision.clear_policy(hk.LSTM)

    conv = lambda rank, xs: (hk.Conv1DLSTM, hk.Conv2DLSTM)[rank - 1](xs.shape[2:-1], HIDDEN, 3)
    elman = lambda xs, major: value(lambda: hk.dynamic_unroll(hk.VanillaRNN(HIDDEN), xs, 0 * H0, time_major=major)[0])
    reset = pure(lambda xs, resets: unroll(hk.ResetCore(hk.LSTM(HIDDEN)), (xs, resets))[1])
    deep = pure(lambda xs, carry: unroll(hk.DeepRNN([hk.LSTM(HIDDEN), hk.LSTM(2)]), xs, carry))
    drop = lambda x: hk.dropout(hk.next_rng_key(), 0.5, x)
    between = lambda seed: value(lambda: unroll(hk.DeepRNN([hk.LSTM(HIDDEN), drop, hk.LSTM(2)]), XS), seed)[0]
    probes = {
        **of_jax(build),
        **elmans(lambda activation, xs: elman(xs, False)),
        **grus(gru),
        "conv_lstm": lambda: convolutions(lambda rank, xs: value(lambda: unroll(conv(rank, xs), xs))[1]),
        "own_end": picked,
        "resets": lambda: resets_right(lambda xs, at: reset.apply(reset.init(KEY, xs, at), xs, at)),
        "stacked": lambda: continues(lambda xs, carry: deep.apply(deep.init(KEY, XS, None), xs, carry)),
        "between": lambda: drops_between(between) and "as a function",
        "skip": skip,
        "time_major": lambda: time_major(elman),
        "half": mixed,
        "least": lambda: f"{megabytes(build, remat=True)} (hk.remat)",
        "cudnn": lambda: calls_cudnn("haiku._src.recurrent"),
    }
    return Library([hk], probes)


def keras() -> Library:
    ks = importlib.import_module("keras")
    layers = ks.layers
    ks.utils.set_random_seed(0)

    def build(features=FEATURES, hidden=HIDDEN, both=False, remat=False, dtype=None) -> Layer:
        options = dict(return_sequences=True, return_state=True, zero_output_for_mask=True, dtype=dtype)
        with ks.RematScope(mode="full") if remat else contextlib.nullcontext():
            pair = [layers.LSTM(hidden, go_backwards=backwards, **options) for backwards in (False, True)]
        pair = [layers.Bidirectional(pair[0])] if both else pair
        for layer in pair:
            layer.build((None, None, features))

        def given(layer, w):
            return ks.StatelessScope(state_mapping=list(zip(layer.trainable_variables, w, strict=True)))

        def run(w, xs, lengths=None, reverse=False, carry=None):
            mask = None if lengths is None else jnp.arange(xs.shape[1]) < lengths[:, None]
            with given(pair[reverse], w):
                ys, *last = pair[reverse](xs, mask=mask, initial_state=carry)
            return last, jnp.flip(ys, axis=1) if reverse else ys

        def step(w, x, carry):
            with given(pair[0], w):
                return pair[0].cell(x, carry)[1]

        return Layer([v.value for v in pair[0].trainable_variables], run, step)

    def gru(after):
        cell = layers.GRUCell(HIDDEN, reset_after=after)
        new = cell(X0, [jnp.asarray(H0)])[0]
        return reset_place(new, cell.kernel, cell.recurrent_kernel, "zrn")

    def reset_state():
        layer = layers.LSTM(HIDDEN, return_sequences=True, stateful=True)
        first, following = layer(XS), layer(XS)
        layer.reset_state()
        return not close(first, following) and close(first, layer(XS)) and "between calls"

    def variational():
        plain = dict(activation=None, kernel_initializer="zeros", recurrent_initializer="identity")
        layer = layers.SimpleRNN(32, recurrent_dropout=0.5, **plain)
        return is_one_mask(layer(XS, initial_state=jnp.ones((4, 32)), training=True))

    def both(merge):
        ks.utils.set_random_seed(0)
        return layers.Bidirectional(layers.GRU(HIDDEN, return_sequences=True), merge_mode=merge)(XS)

    def conv(rank, xs):
        ks.utils.set_random_seed(0)
        return (layers.ConvLSTM1D, layers.ConvLSTM2D)[rank - 1](HIDDEN, 3, padding="same", return_sequences=True)(xs)

    def cudnn():
        rnn = importlib.import_module("keras.src.backend.jax.rnn")
        source = {name: inspect.getsource(getattr(rnn, name)) for name in ("lstm", "gru")}
        names = [name.upper() for name in source if "jax.experimental.rnn" in source[name]]
        return ", ".join(names) + (", not ragged" if "if mask is not None:" in source["lstm"] else "")

    stack, dropping = (
        layers.RNN([layers.LSTMCell(HIDDEN), layers.LSTMCell(2, dropout=p)], return_sequences=True, return_state=True)
        for p in (0, 0.5)
    )
    probes = {
        **of_jax(build),
        **ragged(build(), build(both=True), JAX),
        **elmans(lambda activation, xs: layers.SimpleRNN(HIDDEN, activation, return_sequences=True)(xs)),
        **grus(lambda: [gru(False), gru(True)]),
        "conv_lstm": lambda: convolutions(conv),
        "resets": reset_state,
        "variational": variational,
        "stacked": lambda: continues(lambda xs, carry: (lambda ys, *last: (last, ys))(*stack(xs, initial_state=carry))),
        "between": lambda: drops_between(lambda seed: dropping(XS, training=True)[1:]),
        "merge": lambda: merges(both, dict(concat="concat", sum="sum", mean="ave", max="max", product="mul")),
        "half": lambda: half(build(dtype="mixed_bfloat16")),
        "least": lambda: refused(lambda: megabytes(build, remat=True)) or "no, RematScope fails",
        "cudnn": cudnn,
    }
    return Library([layers, ks], probes)


def torch() -> Library:
    th, packing = importlib.import_module("torch"), importlib.import_module("torch.nn.utils.rnn")
    th.manual_seed(0)

    def build(both=False) -> Layer:
        module = th.nn.LSTM(FEATURES, HIDDEN, batch_first=True, bidirectional=both)
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
            own = {name.removesuffix("_l0"): value for name, value in w.items()}
            return th.func.functional_call(cell, own, (th.as_tensor(x), carry))

        return Layer({name: value.detach() for name, value in module.named_parameters()}, run, step)

    def gradient(f):
        """As ``jax.grad``; ``torch.func.grad`` refuses packed sequences."""

        def of(w):
            w = {name: a if a.requires_grad else a.clone().requires_grad_() for name, a in w.items()}
            return dict(zip(w, th.autograd.grad(f(w), list(w.values()), create_graph=True), strict=True))

        return of

    def forward():
        probe = differentiated(layer, autodiff)["forward_mode"]
        with th.backends.mkldnn.flags(enabled=False):
            without = probe()
        return probe() or (without and "with oneDNN off")

    def autocast():
        with th.autocast("cpu", dtype=th.bfloat16):
            return all(a.dtype == th.float32 for a in layer.run(layer.weights, XS)[0])

    def cudnn():
        modes = inspect.getsource(importlib.import_module("torch.backends.cudnn.rnn").get_cudnn_mode)
        return calls_cudnn("torch.nn.modules.rnn") and all(mode in modes for mode in ("LSTM", "GRU", "RNN_TANH"))

    def between(seed):
        th.manual_seed(seed)
        return tuple(dropping(th.as_tensor(XS))[1][0])

    autodiff = SimpleNamespace(grad=gradient, jvp=th.func.jvp, vmap=th.func.vmap, stack=th.stack)
    layer, both, gru = build(), build(both=True), th.nn.GRUCell(FEATURES, HIDDEN, bias=False)
    new = lambda kind, **options: kind(FEATURES, HIDDEN, **{"batch_first": True, **options})
    call = lambda module, xs, carry=None: module(th.as_tensor(xs), carry)[::-1]
    stack, dropping = (new(th.nn.LSTM, num_layers=2, dropout=p) for p in (0.0, 0.5))
    projected, elman = new(th.nn.LSTM, proj_size=2), new(th.nn.RNN)

    def major(xs, flag):
        elman.batch_first = not flag
        return call(elman, xs)[1].detach()

    probes = {
        **common(layer, autodiff),
        **ragged(layer, both, autodiff),
        **elmans(lambda activation, xs: call(new(th.nn.RNN, nonlinearity=activation), xs)[1]),
        **grus(lambda: [reset_place(gru(*map(th.as_tensor, (X0, H0))), gru.weight_ih.T, gru.weight_hh.T)]),
        "projection": lambda: [a.shape[-1] for a in jax.tree.leaves(call(projected, XS))] == [2, HIDDEN, 2],
        "reverse": lambda: as_alone(both) and "bidirectional only",
        "stacked": lambda: continues(lambda xs, carry: call(stack, xs, carry)),
        "between": lambda: drops_between(between),
        "merge": lambda: both.run(both.weights, XS)[1].shape[-1] == 2 * HIDDEN and "concat",
        "time_major": lambda: time_major(major),
        "forward_mode": forward,
        "half": autocast,
        "memory": lambda: "–",
        "least": lambda: "–",
        "cudnn": cudnn,
    }
    return Library([th.nn, packing, th], probes)


def equinox() -> Library:
    eqx = importlib.import_module("equinox")

    def build(features=FEATURES, hidden=HIDDEN, remat=False) -> Layer:
        """The cell in a ``lax.scan``, as its documentation does it."""
        weights, static = eqx.partition(eqx.nn.LSTMCell(features, hidden, key=KEY), eqx.is_array)
        step = lambda w, x, carry: jax.vmap(eqx.combine(w, static))(x, tuple(carry))

        def run(w, xs, carry=None):
            def body(carry, x):
                carry = step(w, x, carry)
                return carry, carry[0]

            body = eqx.filter_checkpoint(body) if remat else body
            carry = (jnp.zeros((len(xs), hidden)),) * 2 if carry is None else carry
            last, ys = jax.lax.scan(body, carry, jnp.swapaxes(xs, 0, 1))
            return last, jnp.swapaxes(ys, 0, 1)

        return Layer(weights, run, step)

    cell, layer = eqx.nn.GRUCell(FEATURES, HIDDEN, use_bias=False, key=KEY), build()
    more = lambda w, xs: jax.vmap(lambda xs: layer.run(w, xs))(xs) if xs.ndim == 4 else layer.run(w, xs)
    mapped = layer._replace(run=more)
    probes = {
        **of_jax(build),
        **grus(lambda: [reset_place(jax.vmap(cell)(X0, H0), cell.weight_ih.T, cell.weight_hh.T)]),
        "carry": lambda: steps(layer) and "of one step",
        "batch_axes": lambda: refused(lambda: batch_axes(layer)) or (batch_axes(mapped) and "by vmap"),
        "half": lambda: half(layer, XS.astype(jnp.bfloat16)),
        "least": lambda: f"{megabytes(build, remat=True)} (filter_checkpoint)",
        "cudnn": lambda: calls_cudnn("equinox.nn._rnn"),
    }
    return Library([eqx.nn, eqx], probes)


def jaxnets() -> Library:
    def build(features=FEATURES, hidden=HIDDEN, both=False, **options) -> Layer:
        cell = recurrent.lstm(hidden)
        two = lambda w, xs, **how: recurrent.bidirectional((cell, cell), (w, w), jnp.asarray(xs), **how)
        one = lambda w, xs, **how: recurrent.scan(cell, w, jnp.asarray(xs), **{**options, **how})
        step = lambda w, x, carry: recurrent.step(cell, w, carry, x)[0]
        return Layer(cell.init(KEY, features), two if both else one, step)

    def run(cell, xs=XS, **options):
        return recurrent.scan(cell, cell.init(KEY, FEATURES), jnp.asarray(xs), **options)

    def step(cell, carry: Any, params=None):
        return recurrent.step(cell, params or cell.init(KEY, FEATURES), carry, jnp.asarray(X0))[0]

    def gru(place):
        cell = recurrent.gru(HIDDEN, place)
        w = cell.init(KEY, FEATURES)
        state = np.concatenate(list(w["recurrent"].values()), axis=-1)
        return reset_place(step(cell, H0), w["input"]["kernel"], state, "zrn")

    def mgu():
        cell = recurrent.mgu(HIDDEN)
        w = cell.init(KEY, FEATURES)
        state = np.concatenate(list(w["recurrent"].values()), axis=-1)
        return is_mgu(step(cell, H0), (w["input"]["kernel"], state))

    def peephole():
        cell = recurrent.peephole_lstm(HIDDEN)
        w = {**cell.init(KEY, FEATURES), "peephole": jnp.ones((3, HIDDEN))}
        state = lambda cell, w: lambda c: step(cell, (jnp.asarray(H0), c + 0 * H0), w)[1]
        return is_affine(state(plain, None)) and not is_affine(state(cell, w))

    def bounded(cell):
        """Whether c is a mean of numbers between -1 and 1, whatever the forget gate says."""
        return bool(abs(run(cell, np.abs(XS).repeat(20, axis=1))[0][1]).max() <= 1)

    def normed(cell):
        """Whether ten times the input is the same input."""
        return close(run(cell)[1], run(cell, 10 * XS)[1], 1e-3)

    def linear(cell):
        """Whether the new state is affine in the old one."""
        state = run(cell)[0]
        again = lambda h: step(cell, jax.tree.map(lambda a: h + 0 * a, state))
        return is_affine(lambda h: jnp.stack(jax.tree.leaves(again(h))))

    def learned():
        cell = recurrent.learned_carry(plain)
        gradient = jax.grad(lambda w: recurrent.scan(cell, w, jnp.asarray(XS))[1].sum())(cell.init(KEY, FEATURES))
        return all(bool(jnp.all(a != 0)) for a in jax.tree.leaves(gradient["carry"]))

    def zoneout():
        """With rate 1 every unit keeps its value."""
        cell = recurrent.zoneout(plain, 1.0)
        w, carry = cell.init(KEY, FEATURES), (jnp.ones((4, HIDDEN)),) * 2
        masks = recurrent.zoneout_masks(KEY, cell, w, jnp.asarray(XS), 1.0)
        return close(recurrent.scan(cell, w, (jnp.asarray(XS), masks), carry)[0], carry)

    def variational():
        cell = recurrent.recurrent_dropout(recurrent.elman(32, lambda a: a, identity=True))
        w, xs = cell.init(KEY, FEATURES), jnp.zeros_like(XS)
        w["dropout_masks"] = recurrent.recurrent_dropout_masks(KEY, cell, w, xs, 0.5)
        return is_one_mask(recurrent.scan(cell, w, xs, jnp.ones((4, 32)))[0])

    def stack(xs, carry=None, seed=0, **options):
        network = recurrent.StackedRNN(recurrent.lstm(HIDDEN), layers=2, **options)
        rngs = {"dropout": jax.random.key(seed)}
        return network.apply(network.init(KEY, XS), jnp.asarray(xs), carry, train=True, rngs=rngs)

    def skip():
        network = recurrent.StackedRNN(recurrent.lstm(HIDDEN), layers=2, connect="skip")
        ys, w = network.init_with_output(KEY, XS)
        width = w["params"]["layer_1"]["cell"]["input"]["kernel"].shape[0]
        return (ys[1].shape[-1], width) == (2 * HIDDEN, FEATURES + HIDDEN)

    def forward():
        default, plain = (differentiated(of, JAX)["forward_mode"]() for of in (layer, build(method="autodiff")))
        return default or (plain and 'method="autodiff"')

    plain, square = recurrent.lstm(HIDDEN), recurrent.lstm(FEATURES)
    layer, both = build(), lambda merge: build(both=True).run(layer.weights, XS, merge=merge)[1]
    elman = lambda activation: recurrent.elman(HIDDEN, {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation])
    state = lambda options: [a.shape[-1] for a in run(recurrent.lstm(HIDDEN, **options))[0]]
    converters = {"torch": torch_weights, "Keras": keras_weights}
    resets = lambda xs, at: layer.run(layer.weights, xs, resets=jnp.asarray(at))[1]
    major = lambda xs, flag: layer.run(layer.weights, xs, time_major=flag)[1]
    probes = {
        **of_jax(build),
        **ragged(layer, build(both=True), JAX),
        **elmans(lambda activation, xs: run(elman(activation), xs)[1]),
        **grus(lambda: [gru("before"), gru("after")]),
        "mgu": mgu,
        "projection": lambda: state(dict(projection=2)) == [2, HIDDEN],
        "coupled": lambda: bounded(recurrent.lstm(HIDDEN, coupled=True)) and not bounded(plain),
        "peephole": peephole,
        "norm_lstm": lambda: normed(recurrent.layer_norm_lstm(HIDDEN)) and not normed(plain),
        "norm_gru": lambda: normed(recurrent.layer_norm_gru(HIDDEN)) and not normed(recurrent.gru(HIDDEN)),
        "conv_lstm": lambda: convolutions(lambda rank, xs: run(recurrent.conv_lstm(HIDDEN, (3,) * rank), xs)[1]),
        "min": lambda: linear(recurrent.min_gru(HIDDEN)) and linear(recurrent.min_lstm(HIDDEN)) and not linear(plain),
        "lru": lambda: linear(recurrent.lru(HIDDEN)),
        "resets": lambda: resets_right(resets),
        "learned": learned,
        "zoneout": zoneout,
        "variational": variational,
        "residual": lambda: close(run(recurrent.residual(square))[1], run(square)[1] + XS),
        "stacked": lambda: continues(stack),
        "between": lambda: drops_between(lambda seed: stack(XS, seed=seed, dropout=0.5)[0]),
        "skip": skip,
        "merge": lambda: merges(both, {name: name for name in ("concat", "sum", "mean", "max")}),
        "time_major": lambda: time_major(major),
        "forward_mode": forward,
        "half": lambda: half(layer, XS.astype(jnp.bfloat16)),
        "least": lambda: f'{megabytes(build, keep="boundaries")} (keep="boundaries")',
        "convert": lambda: " and ".join(name for name, probe in converters.items() if probe()),
        "cudnn": lambda: calls_cudnn(*(f"jaxnets.recurrent.{name}" for name in ("scan", "chunked", "lstm", "gru"))),
    }
    return Library([recurrent, foreign], probes)


def torch_weights() -> bool:
    """Whether an LSTM of torch, and then the same weights taken back to torch, write the same outputs."""
    th = importlib.import_module("torch")
    module, again = (th.nn.LSTM(FEATURES, HIDDEN, batch_first=True) for _ in range(2))
    params = foreign.from_torch(module.state_dict())
    again.load_state_dict({name: th.as_tensor(np.array(a)) for name, a in foreign.to_torch(params).items()})
    _, ys = recurrent.StackedRNN(recurrent.lstm(HIDDEN)).apply({"params": params}, jnp.asarray(XS))
    expected = module(th.as_tensor(XS))[0]
    return close([ys, again(th.as_tensor(XS))[0]], [expected, expected])


def keras_weights() -> bool:
    layers = importlib.import_module("keras.layers")
    layer, again = (layers.LSTM(HIDDEN, return_sequences=True) for _ in range(2))
    expected, _ = layer(XS), again(XS)
    names = ("kernel", "recurrent_kernel", "bias")
    params = foreign.from_keras([{name: getattr(layer.cell, name).numpy() for name in names}])
    back = foreign.to_keras(params)[0]
    again.set_weights([back[name] for name in names])
    _, ys = recurrent.StackedRNN(recurrent.lstm(HIDDEN)).apply({"params": params}, jnp.asarray(XS))
    return close([ys, again(XS)], [expected, expected])


# ---- the table

COLUMNS: dict[str, tuple[str, list[Callable[[], Library]]]] = {
    "flax": ("flax", [flax_linen, flax_nnx]),
    "haiku": ("dm-haiku", [haiku]),
    "Keras on JAX": ("keras", [keras]),
    "torch": ("torch", [torch]),
    "equinox": ("equinox", [equinox]),
    "jaxnets": ("jaxnets", [jaxnets]),
}


def surface(spaces: list[Any]) -> set[str]:
    """A library's public names, and the arguments of its recurrent ones as ``name.argument``."""
    names = {name for space in spaces for name in dir(space) if not name.startswith("_")}
    arguments = set()
    for space in spaces:
        for name in filter(re.compile(RECURRENT, re.I).search, names & set(dir(space))):
            thing = getattr(space, name)
            for function in (thing, *(getattr(thing, call, None) for call in ("__call__", "call", "forward"))):
                with contextlib.suppress(TypeError, ValueError):
                    arguments |= {f"{name}.{argument}" for argument in inspect.signature(function).parameters}
    return names | arguments


def cell(library: Library, feature: str, term: str) -> str:
    if feature in library.probes:
        try:
            found = library.probes[feature]()
        except ImportError:  # of another library
            return ""
        except Exception as error:
            print(f"{feature}: {type(error).__name__}: {error}", file=sys.stderr)
            return "failed"
        return str({True: "yes", False: "no"}.get(found, found))
    named = sorted(name for name in surface(library.spaces) if re.search(term, name, re.I))
    return f"? {named[0]}" if named else "no"


def column(name: str) -> dict[str, str]:
    """Every feature's cell; Linen and NNX in one where they agree."""
    try:
        libraries = [make() for make in COLUMNS[name][1]]
    except ImportError as error:
        print(f"{name}: not installed, left empty ({error})", file=sys.stderr)
        return {}
    cells = {}
    for features in ROWS.values():
        for feature, (_, term) in features.items():
            found = [cell(library, feature, term) for library in libraries]
            cells[feature] = found[0] if len(set(found)) == 1 else f"{found[0]}; nnx {found[1]}"
    return cells


def main(overrides: program.Overrides) -> None:
    jax.config.update("jax_platforms", "cpu")
    os.environ["KERAS_BACKEND"] = "jax"
    warnings.simplefilter("ignore")
    columns = {name: column(name) for name in COLUMNS}
    version = lambda name: importlib.metadata.version(COLUMNS[name][0]) if columns[name] else ""
    rows = [["", *(f"{name} {version(name)}".strip() for name in columns)]]
    for group, features in ROWS.items():
        rows.append([f"**{group}**" if FLAGS.markdown else group.upper(), *("" for _ in columns)])
        rows += [[label, *(cells.get(key, "") for cells in columns.values())] for key, (label, _) in features.items()]
    if FLAGS.markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        print("\n".join(f"| {' | '.join(row)} |" for row in rows))
        return
    widths = [max(map(len, texts)) for texts in zip(*rows, strict=True)]
    print("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))


if __name__ == "__main__":
    program.run(main)
