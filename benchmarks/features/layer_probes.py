"""Probes of layers: ragged batches, carries, dropout, merging, derivatives and memory."""

import functools
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

from benchmarks.features.cell_probes import is_lstm
from benchmarks.features.layer import FEATURES, HIDDEN, LENGTHS, TIME, XS, Layer, Probes, array, close, refused


def general(layer: Layer) -> Probes:
    """Returns the probes for every library."""
    return {
        "lstm": lambda: is_lstm(layer),
        "carry": lambda: continues(lambda xs, carry: layer.run(layer.weights, xs, carry=carry)),
        "step": lambda: steps(layer),
        "batch_axes": lambda: refused(lambda: batch_axes(layer)),
        "ensemble": lambda: refused(lambda: ensemble(layer)),
        "forward_mode": lambda: forward_mode(layer),
        "second": lambda: second_derivative(layer),
    }


# ---- ragged batches


def ragged(layer: Layer, both: Layer) -> Probes:
    """Returns the probes for libraries with lengths or masks; ``both`` is a bidirectional layer."""
    run = lambda lengths=LENGTHS: layer.run(layer.weights, XS, lengths=lengths)
    empty = lambda: close([a[1] for a in run(np.array([6, 0, 4, 3]))[0]], [np.zeros(HIDDEN)] * 2)
    return {
        "own_end": lambda: ends_right(layer, run()[0]),
        "empty_row": lambda: refused(empty),
        "reverse": lambda: as_alone(layer, reverse=True),
        "both": lambda: as_alone(both),
        "zeros": lambda: not array(run()[1])[np.arange(TIME) >= LENGTHS[:, None]].any(),
        "nan": lambda: nan_changes_nothing(layer),
    }


def alone(layer: Layer, row: int, **options: Any) -> Any:
    return layer.run(layer.weights, XS[row : row + 1, : LENGTHS[row]], **options)


def ends_right(layer: Layer, carry: Any) -> bool:
    return all(close([a[row : row + 1] for a in carry], alone(layer, row)[0]) for row in range(4))


def as_alone(layer: Layer, **options: Any) -> bool:
    _, ys = layer.run(layer.weights, XS, lengths=LENGTHS, **options)
    return all(close(ys[row : row + 1, : LENGTHS[row]], alone(layer, row, **options)[1]) for row in range(4))


def nan_changes_nothing(layer: Layer) -> str | bool:
    bad = np.where((np.arange(TIME) < LENGTHS[:, None])[..., None], XS, np.float32("nan"))
    valid = lambda w, xs: [y[:n] for y, n in zip(layer.run(w, xs, lengths=LENGTHS)[1], LENGTHS, strict=True)]
    if not close(valid(layer.weights, bad), valid(layer.weights, XS)):
        return False
    gradient = lambda xs: layer.autodiff.grad(lambda w: sum((y**2).sum() for y in valid(w, xs)))(layer.weights)
    return close(gradient(bad), gradient(XS)) or "in outputs only"


# ---- carries


def continues(run: Callable[[Any, Any], Any]) -> bool:
    """Returns whether ``run(xs, carry) -> (carry, ys)`` gives the same outputs for a sequence in two halves."""
    carry, first = run(XS[:, :3], None)
    whole = run(XS, None)[1]
    return close([first, run(XS[:, 3:], carry)[1]], [whole[:, :3], whole[:, 3:]])


def steps(layer: Layer) -> bool:
    carry, _ = layer.run(layer.weights, XS[:, :1])
    for time in range(1, TIME):
        carry = layer.step(layer.weights, XS[:, time], carry)
    return close(list(carry), list(layer.run(layer.weights, XS)[0]))


def resets_right(run: Callable[[Any, Any], Any]) -> bool:
    """Returns whether the outputs of ``run(xs, resets)`` after a reset equal those of a sequence that starts there."""
    starts = [3, 1, 5, 2]
    ys = run(XS, np.arange(TIME) == np.array(starts)[:, None])
    fresh = lambda row, start: run(XS[row : row + 1, start:], np.zeros((1, TIME - start), bool))
    return all(close(ys[row : row + 1, start:], fresh(row, start)) for row, start in enumerate(starts))


# ---- layers


def is_one_mask(state: Any) -> bool:
    """Returns whether 6 steps multiplied a state of ones by one mask with values 0 and 2.

    The result of one mask is 0 or 64 with equal probability. Six different masks set nearly all units to 0.
    """
    return set(np.unique(array(state))) == {0.0, 64.0} and array(state).mean() > 16


def drops_between(run: Callable[[int], Any]) -> bool:
    """Returns whether another seed changes only the second of the two carries that ``run(seed)`` returns."""
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
    """Returns the names of the correct merges ``run(names[name])`` of a bidirectional layer with fixed weights."""
    pair = np.split(array(run(names["concat"])), 2, axis=-1)
    right = lambda name: close(run(names[name]), MERGES[name](*pair))
    return ", ".join(name for name in names if refused(functools.partial(right, name)))


# ---- axes, derivatives, dtypes, memory


def time_major(run: Callable[[Any, bool], Any]) -> bool:
    return close(run(XS, False), array(run(XS.swapaxes(0, 1), True)).swapaxes(0, 1))


def batch_axes(layer: Layer) -> bool:
    _, ys = layer.run(layer.weights, XS.reshape(2, 2, TIME, FEATURES))
    return close(ys.reshape(4, TIME, HIDDEN), layer.run(layer.weights, XS)[1])


def ensemble(layer: Layer) -> bool:
    double = jax.tree.map(lambda a: 2 * a, layer.weights)
    two = jax.tree.map(lambda a, b: layer.autodiff.stack([a, b]), layer.weights, double)
    ys = layer.autodiff.vmap(lambda w: layer.run(w, XS)[1])(two)
    return close([ys[0], ys[1]], [layer.run(w, XS)[1] for w in (layer.weights, double)])


def squares(layer: Layer) -> Callable[[Any], Any]:
    return lambda w: (layer.run(w, XS)[1] ** 2).sum()


def difference(f: Callable[[Any], Any], w: Any) -> Any:
    """Returns the central difference of f at w, in the direction of w."""
    ahead, behind = (f(jax.tree.map(lambda a, by=by: a * by, w)) for by in (1.01, 0.99))
    return jax.tree.map(lambda a, b: (a - b) / 0.02, ahead, behind)


def forward_mode(layer: Layer) -> bool:
    f, w = squares(layer), layer.weights
    return refused(lambda: close(layer.autodiff.jvp(f, (w,), (w,))[1], difference(f, w), 1e-2))


def second_derivative(layer: Layer) -> bool:
    gradient, w = layer.autodiff.grad(squares(layer)), layer.weights
    product = lambda v: sum((a * b).sum() for a, b in zip(*map(jax.tree.leaves, (gradient(v), w)), strict=True))
    return refused(lambda: close(layer.autodiff.grad(product)(w), difference(gradient, w), 2e-2))


def half(layer: Layer, xs: Any = XS) -> str | bool:
    """Returns whether the operands of all products are bfloat16 and the carry is a float32 that is not rounded."""
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


def memory(build: Callable[..., Layer], option: str, **options: Any) -> Probes:
    """Returns the probes of memory, by default and with ``options`` that reduce it, labeled ``option``."""
    return {
        "memory": lambda: megabytes(build),
        "least": lambda: f"{megabytes(build, **options)} ({option})",
    }


def megabytes(build: Callable[..., Layer], **options: Any) -> str:
    """Returns the temporary memory of the compiled gradient of the weights, in MB."""
    layer = build(features=64, hidden_size=64, **options)
    gradient = jax.jit(jax.grad(lambda w, xs: jnp.mean(layer.run(w, xs)[1] ** 2)))
    lowered = gradient.lower(layer.weights, jax.ShapeDtypeStruct((4, 2048, 64), jnp.float32))
    analysis = lowered.compile().memory_analysis()
    assert analysis is not None
    return f"{analysis.temp_size_in_bytes / 1e6:.1f}"


def calls_cudnn(*modules: str) -> bool:
    """Returns whether the source of a module mentions cuDNN or ``jax.experimental.rnn``, which calls it."""
    files = [importlib.import_module(module).__file__ or "" for module in modules]
    return any(re.search(r"cudnn|jax\.experimental\.rnn", Path(file).read_text()) for file in files)
