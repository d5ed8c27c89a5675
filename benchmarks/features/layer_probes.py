"""Probes of a layer over a sequence: ragged batches, carries, wrappers of cells, derivatives and memory."""

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
from benchmarks.features.layer import FEATURES, HIDDEN, LENGTHS, TIME, XS, Layer, Probes, array, close, supported


def general_probes(layer: Layer) -> Probes:
    """Probes that apply to every library."""
    return {
        "lstm": lambda: is_lstm(layer),
        "carry": lambda: continues(lambda xs, carry: layer.run(layer.weights, xs, carry=carry)),
        "step": lambda: step_matches_run(layer),
        "batch_axes": lambda: supported(lambda: batch_axes(layer)),
        "ensemble": lambda: supported(lambda: ensemble(layer)),
        "forward_mode": lambda: forward_mode(layer),
        "second_derivative": lambda: second_derivative(layer),
    }


# ---- ragged batches


def ragged_probes(layer: Layer, bidirectional: Layer) -> Probes:
    """Probes of a library whose layers take lengths or masks."""
    run = lambda lengths=LENGTHS: layer.run(layer.weights, XS, lengths=lengths)
    empty = lambda: close([a[1] for a in run(np.array([6, 0, 4, 3]))[0]], [np.zeros(HIDDEN)] * 2)
    return {
        "last_carry": lambda: last_carry_is_right(layer, run()[0]),
        "empty_row": lambda: supported(empty),
        "reverse": lambda: rows_match_alone(layer, reverse=True),
        "bidirectional": lambda: rows_match_alone(bidirectional),
        "zeros": lambda: not array(run()[1])[np.arange(TIME) >= LENGTHS[:, None]].any(),
        "nan": lambda: nan_padding(layer),
    }


def run_alone(layer: Layer, row: int, **options: Any) -> Any:
    """Runs one row without its padding."""
    return layer.run(layer.weights, XS[row : row + 1, : LENGTHS[row]], **options)


def last_carry_is_right(layer: Layer, carry: Any) -> bool:
    return all(close([a[row : row + 1] for a in carry], run_alone(layer, row)[0]) for row in range(4))


def rows_match_alone(layer: Layer, **options: Any) -> bool:
    _, ys = layer.run(layer.weights, XS, lengths=LENGTHS, **options)
    return all(close(ys[row : row + 1, : LENGTHS[row]], run_alone(layer, row, **options)[1]) for row in range(4))


def nan_padding(layer: Layer) -> str | bool:
    """Compares valid outputs and gradients with NaN in the padding to those with finite padding."""
    bad = np.where((np.arange(TIME) < LENGTHS[:, None])[..., None], XS, np.float32("nan"))
    valid = lambda w, xs: [y[:n] for y, n in zip(layer.run(w, xs, lengths=LENGTHS)[1], LENGTHS, strict=True)]
    if not close(valid(layer.weights, bad), valid(layer.weights, XS)):
        return False
    gradient = lambda xs: layer.autodiff.grad(lambda w: sum((y**2).sum() for y in valid(w, xs)))(layer.weights)
    return close(gradient(bad), gradient(XS)) or "outputs only"


# ---- carries


def continues(run: Callable[[Any, Any], Any]) -> bool:
    """Checks that two halves of a sequence, joined by the carry, give the outputs of the whole sequence.

    Args:
        run: ``(xs, carry) -> (carry, ys)``.
    """
    carry, first = run(XS[:, :3], None)
    whole = run(XS, None)[1]
    return close([first, run(XS[:, 3:], carry)[1]], [whole[:, :3], whole[:, 3:]])


def step_matches_run(layer: Layer) -> bool:
    carry, _ = layer.run(layer.weights, XS[:, :1])
    for time in range(1, TIME):
        carry = layer.step(layer.weights, XS[:, time], carry)
    return close(list(carry), list(layer.run(layer.weights, XS)[0]))


def resets_are_right(run: Callable[[Any, Any], Any]) -> bool:
    """Checks that the outputs after a reset equal those of a sequence that starts at the reset.

    Args:
        run: ``(xs, resets) -> ys``.
    """
    starts = [3, 1, 5, 2]
    ys = run(XS, np.arange(TIME) == np.array(starts)[:, None])
    fresh = lambda row, start: run(XS[row : row + 1, start:], np.zeros((1, TIME - start), bool))
    return all(close(ys[row : row + 1, start:], fresh(row, start)) for row, start in enumerate(starts))


# ---- wrappers of cells


def is_one_mask(state: Any) -> bool:
    """Checks that one dropout mask was applied at every step.

    The state starts at one and is multiplied by a mask of 0 and 2 in each of 6 steps. One common mask gives 0 or 64
    with equal probability; six independent masks give 64 with probability 1/64.
    """
    return set(np.unique(array(state))) == {0.0, 64.0} and array(state).mean() > 16


def drops_between_layers(run: Callable[[int], Any]) -> bool:
    """Checks that the seed changes the second layer but not the first.

    Args:
        run: ``(seed) -> carries`` of two layers.
    """
    (first, second), (again, other) = run(0), run(1)
    return close(first, again) and not close(second, other)


MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "concat": lambda a, b: jnp.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "max": jnp.maximum,
    "product": lambda a, b: a * b,
}


def merge_modes(run: Callable[[Any], Any], modes: dict[str, Any]) -> str:
    """Returns the names of the merge modes that a bidirectional layer computes correctly.

    Args:
        run: ``(mode) -> ys``, with the same weights in every call.
        modes: The library's argument for each name in ``MERGES``.
    """
    pair = np.split(array(run(modes["concat"])), 2, axis=-1)
    is_right = lambda name: close(run(modes[name]), MERGES[name](*pair))
    return ", ".join(name for name in modes if supported(functools.partial(is_right, name)))


# ---- use


def time_major(run: Callable[[Any, bool], Any]) -> bool:
    return close(run(XS, False), array(run(XS.swapaxes(0, 1), True)).swapaxes(0, 1))


def batch_axes(layer: Layer) -> bool:
    _, ys = layer.run(layer.weights, XS.reshape(2, 2, TIME, FEATURES))
    return close(ys.reshape(4, TIME, HIDDEN), layer.run(layer.weights, XS)[1])


def ensemble(layer: Layer) -> bool:
    """Compares ``vmap`` over two sets of weights with two separate runs."""
    double = jax.tree.map(lambda a: 2 * a, layer.weights)
    two = jax.tree.map(lambda a, b: layer.autodiff.stack([a, b]), layer.weights, double)
    ys = layer.autodiff.vmap(lambda w: layer.run(w, XS)[1])(two)
    return close([ys[0], ys[1]], [layer.run(w, XS)[1] for w in (layer.weights, double)])


def sum_of_squares(layer: Layer) -> Callable[[Any], Any]:
    return lambda w: (layer.run(w, XS)[1] ** 2).sum()


def finite_difference(f: Callable[[Any], Any], w: Any) -> Any:
    """Central difference of f at w in the direction w."""
    ahead, behind = (f(jax.tree.map(lambda a, by=by: a * by, w)) for by in (1.01, 0.99))
    return jax.tree.map(lambda a, b: (a - b) / 0.02, ahead, behind)


def forward_mode(layer: Layer) -> bool:
    f, w = sum_of_squares(layer), layer.weights
    return supported(lambda: close(layer.autodiff.jvp(f, (w,), (w,))[1], finite_difference(f, w), 1e-2))


def second_derivative(layer: Layer) -> bool:
    gradient, w = layer.autodiff.grad(sum_of_squares(layer)), layer.weights
    product = lambda v: sum((a * b).sum() for a, b in zip(*map(jax.tree.leaves, (gradient(v), w)), strict=True))
    return supported(lambda: close(layer.autodiff.grad(product)(w), finite_difference(gradient, w), 2e-2))


def bfloat16(layer: Layer, xs: Any = XS) -> str | bool:
    """Checks a layer with bfloat16 compute and float32 weights.

    The operands of its products must be bfloat16, and its carry must be float32 without rounding to bfloat16.
    """
    compiled = jax.jit(layer.run).lower(layer.weights, xs).compile({"xla_allow_excess_precision": False})
    carry, _ = compiled(layer.weights, xs)
    jaxpr = jax.make_jaxpr(layer.run)(layer.weights, xs).jaxpr
    operands = {str(operand.aval.dtype) for product in dot_generals(jaxpr) for operand in product.invars}
    if operands != {"bfloat16"} or {str(a.dtype) for a in carry} != {"float32"}:
        return False
    return not close(carry[1], carry[1].astype(jnp.bfloat16), 1e-9) or "carry rounded"


def dot_generals(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for inner in jex.jaxprs_in_params(equation.params):
            yield from dot_generals(inner)


def memory_probes(build: Callable[..., Layer], option: str, **options: Any) -> Probes:
    """Probes of the memory of the gradient, by default and with the library's option to save memory.

    Args:
        build: ``(features=, hidden_size=, **options) -> Layer``.
        option: The name of the option in the table.
        **options: The arguments of ``build`` that select the option.
    """
    return {
        "memory": lambda: gradient_megabytes(build),
        "saved_memory": lambda: f"{gradient_megabytes(build, **options)} ({option})",
    }


def gradient_megabytes(build: Callable[..., Layer], **options: Any) -> str:
    """Temporary memory of the compiled gradient with respect to the weights."""
    layer = build(features=64, hidden_size=64, **options)
    gradient = jax.jit(jax.grad(lambda w, xs: jnp.mean(layer.run(w, xs)[1] ** 2)))
    lowered = gradient.lower(layer.weights, jax.ShapeDtypeStruct((4, 2048, 64), jnp.float32))
    analysis = lowered.compile().memory_analysis()
    assert analysis is not None
    return f"{analysis.temp_size_in_bytes / 1e6:.1f}"


def calls_cudnn(*modules: str) -> bool:
    """Searches the source of the modules for cuDNN and for ``jax.experimental.rnn``, which calls cuDNN."""
    files = [importlib.import_module(module).__file__ or "" for module in modules]
    return any(re.search(r"cudnn|jax\.experimental\.rnn", Path(file).read_text()) for file in files)
