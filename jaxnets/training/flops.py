"""Counts of a model: parameters and the work of one forward pass, by part, without allocating anything."""

import inspect
from collections import Counter
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn


class Part(NamedTuple):
    """Attributes:
    name: The parameters' first name, such as ``layer_0``.
    parameters: How many numbers.
    flops: Of the products and convolutions of one forward pass; a multiply-add is 2.
    """

    name: str
    parameters: int
    flops: int


def count(model: nn.Module, given: Any) -> list[Part]:
    """The parts of a model for a given input (an array or ``jax.ShapeDtypeStruct``), or for as many as it needs."""
    if getattr(model, "implementation", None) == "auto":  # blocks are a loop whose length is not known
        model = model.clone(implementation="xla")
    needed = [p for p in inspect.signature(model.__call__).parameters.values() if p.default is p.empty]
    inputs = [given] * len([p for p in needed if p.kind is p.POSITIONAL_OR_KEYWORD])
    names: list[str] = []  # in the order in which the model makes them; a traced dict comes back sorted

    def init(*inputs):
        variables = model.init(jax.random.key(0), *inputs)
        names.extend(variables["params"])
        return variables

    variables = jax.eval_shape(init, *inputs)
    params = variables["params"]
    work = flops(model.apply, variables, *inputs)
    by_part = Counter(dict.fromkeys(names, 0))
    rest = 0
    for scope, number in work.items():
        name = next((name for name in names if name in scope), None)
        if name is None:
            rest += number
        else:
            by_part[name] += number
    sizes = {name: sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params[name])) for name in names}
    parts = [Part(name, sizes[name], by_part[name]) for name in names]
    return [*parts, Part("other", 0, rest)] if rest else parts


def flops(function: Any, *arguments: Any) -> Counter:
    """Floating point operations of matrix products and convolutions, by scope of names, a multiply-add as 2.

    They are counted from the traced program, where the body of a scan counts as often as it runs (XLA's own cost
    analysis counts it once). A ``while`` loop of unknown length counts once, of ``cond`` the dearest branch.
    """
    work: Counter = Counter()
    _count(jax.make_jaxpr(function)(*arguments).jaxpr, 1, (), work)
    return work


def _count(jaxpr: Any, times: int, scope: tuple[str, ...], work: Counter) -> None:
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        here = scope + tuple(str(equation.source_info.name_stack).split("/"))
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            depth = int(np.prod([left[axis] for axis in contracted]))
            work[here] += 2 * times * depth * int(np.prod(equation.outvars[0].aval.shape))
        elif name == "conv_general_dilated":
            kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
            per_output = int(np.prod(kernel)) // kernel[numbers.rhs_spec[0]]
            work[here] += 2 * times * per_output * int(np.prod(equation.outvars[0].aval.shape))
        elif name == "cond":
            branches: list[Counter] = [Counter() for _ in equation.params["branches"]]
            for branch, found in zip(equation.params["branches"], branches, strict=True):
                _count(branch.jaxpr, times, here, found)
            work.update(max(branches, key=lambda found: sum(found.values())))
        else:
            inner = times * equation.params["length"] if name == "scan" else times
            for value in equation.params.values():
                inside = getattr(value, "jaxpr", value)  # closed or open
                if hasattr(inside, "eqns"):
                    _count(inside, inner, here, work)


def table(parts: list[Part], caption: str) -> str:
    """The parts as text for a terminal."""
    rows = [*parts, Part("total", sum(p.parameters for p in parts), sum(p.flops for p in parts))]
    width = max(len(row.name) for row in rows)
    lines = [f"{row.name:<{width}}  {row.parameters:>14,}  {row.flops:>18,}" for row in rows]
    head = f"{'part':<{width}}  {'parameters':>14}  {'FLOPs forward':>18}"
    rule = "-" * len(head)
    return "\n".join([caption, head, rule, *lines[:-1], rule, lines[-1]])
