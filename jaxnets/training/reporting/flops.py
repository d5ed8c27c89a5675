"""Counts of a model: parameters, and work and activations of a forward pass, by part, without allocating anything."""

import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from jaxnets.tasks import Task


class Part(NamedTuple):
    """Attributes:
    name: The parameters' first name, such as ``layer_0``.
    parameters: How many numbers.
    flops: Of the products and convolutions of one forward pass; a multiply-add is 2.
    activation_bytes: What those put out (Radosavovic et al. 2020, arXiv:2003.13678): about what a gradient keeps.
    """

    name: str
    parameters: int
    flops: int
    activation_bytes: int


def count(model: nn.Module, given: Any) -> list[Part]:
    """The parts of a model for a given input (an array or ``jax.ShapeDtypeStruct``), or for as many as it needs."""
    if getattr(model, "implementation", None) == "auto":  # blocks are a loop whose length is not known
        model = model.clone(implementation="xla")
    if given.dtype == np.uint8:  # images, which a task hands on as numbers from 0 to 1 or thereabouts
        given = jax.ShapeDtypeStruct(given.shape, np.float32)
    needed = [p for p in inspect.signature(model.__call__).parameters.values() if p.default is p.empty]
    inputs = [given] * len([p for p in needed if p.kind is p.POSITIONAL_OR_KEYWORD])
    names: list[str] = []  # in the order in which the model makes them; a traced dict comes back sorted

    def init(*inputs):
        variables = model.init(jax.random.key(0), *inputs)
        names.extend(variables["params"])
        return variables

    return _parts(names, jax.eval_shape(init, *inputs), model.apply, *inputs)


def of_task(task: Task, batch: Any) -> list[Part]:
    """The parts of a task's model, whose forward pass is the task's prediction for a batch; none without one."""
    predict = task.endpoints.get("predict")
    if predict is None:
        return []
    names: list[str] = []

    def init():
        variables = task.learner.variables(task.learner.init(jax.random.key(0), batch))
        names.extend(variables["params"])
        return variables

    return _parts(names, jax.eval_shape(init), predict.function, batch)


def _parts(names: list[str], variables: Any, function: Callable, *inputs: Any) -> list[Part]:
    params = variables["params"]
    jaxpr = jax.make_jaxpr(function)(variables, *inputs).jaxpr
    work, put_out = (_by_part(_counted(jaxpr, measure), names) for measure in (_flops_of, _bytes_of))
    sizes = {name: sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params[name])) for name in names}
    parts = [Part(name, sizes[name], work[name], put_out[name]) for name in names]
    return [*parts, Part("other", 0, work[OTHER], put_out[OTHER])] if work[OTHER] else parts


OTHER = ""


def _by_part(work: Counter, names: list[str]) -> Counter:
    """Numbers by scope as numbers by the name in it, or by ``OTHER``."""
    parts: Counter = Counter()
    for scope, number in work.items():
        parts[next((name for name in names if name in scope), OTHER)] += number
    return parts


def flops(function: Any, *arguments: Any) -> Counter:
    """Floating point operations of matrix products and convolutions, by scope of names, a multiply-add as 2.

    They are counted from the traced program, where the body of a scan counts as often as it runs (XLA's own cost
    analysis counts it once). A ``while`` loop of unknown length counts once, of ``cond`` the dearest branch.
    """
    return _counted(jax.make_jaxpr(function)(*arguments).jaxpr, _flops_of)


def activation_bytes(function: Any, *arguments: Any) -> Counter:
    """Bytes that matrix products and convolutions put out, by scope of names, counted as ``flops`` are."""
    return _counted(jax.make_jaxpr(function)(*arguments).jaxpr, _bytes_of)


def _counted(jaxpr: Any, measure: Callable[[Any], int]) -> Counter:
    work: Counter = Counter()
    _count(jaxpr, 1, (), work, measure)
    return work


def _flops_of(equation: Any) -> int:
    outputs = int(np.prod(equation.outvars[0].aval.shape))
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2 * outputs * int(np.prod([left[axis] for axis in contracted]))
    kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
    return 2 * outputs * (int(np.prod(kernel)) // kernel[numbers.rhs_spec[0]])


def _bytes_of(equation: Any) -> int:
    output = equation.outvars[0].aval
    return int(np.prod(output.shape)) * output.dtype.itemsize


def _count(jaxpr: Any, times: int, scope: tuple[str, ...], work: Counter, measure: Callable[[Any], int]) -> None:
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        here = scope + tuple(str(equation.source_info.name_stack).split("/"))
        if name in ("dot_general", "conv_general_dilated"):
            work[here] += times * measure(equation)
        elif name == "cond":
            branches: list[Counter] = [Counter() for _ in equation.params["branches"]]
            for branch, found in zip(equation.params["branches"], branches, strict=True):
                _count(branch.jaxpr, times, here, found, measure)
            work.update(max(branches, key=lambda found: sum(found.values())))
        else:
            inner = times * equation.params["length"] if name == "scan" else times
            for value in equation.params.values():
                inside = getattr(value, "jaxpr", value)  # closed or open
                if hasattr(inside, "eqns"):
                    _count(inside, inner, here, work, measure)


def table(parts: list[Part], caption: str) -> str:
    """The parts as text for a terminal."""
    total = Part("total", *(sum(column) for column in zip(*(part[1:] for part in parts), strict=True)))
    width = max(len(row.name) for row in [*parts, total])
    lines = [
        f"{row.name:<{width}}  {row.parameters:>14,}  {row.flops:>18,}  {row.activation_bytes:>18,}"
        for row in [*parts, total]
    ]
    head = f"{'part':<{width}}  {'parameters':>14}  {'FLOPs forward':>18}  {'activation bytes':>18}"
    rule = "-" * len(head)
    return "\n".join([caption, head, rule, *lines[:-1], rule, lines[-1]])
