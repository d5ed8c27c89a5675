"""Parameters, FLOPs and activation sizes of a model by module, computed without allocating arrays."""

import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from jaxnets.tasks import Task


class ModuleCost(NamedTuple):
    """The cost of one top-level module.

    Attributes:
        name: The name of the module, such as ``layer_0``.
        parameters: Number of parameters.
        flops: Floating-point operations of matrix products and convolutions in one forward pass. A multiply-add counts
            as 2.
        activation_bytes: Size of the outputs of these operations (Radosavovic et al. 2020, arXiv:2003.13678), which is
            about the memory that a gradient needs.
    """

    name: str
    parameters: int
    flops: int
    activation_bytes: int


def count(model: nn.Module, given: Any) -> list[ModuleCost]:
    """Computes the costs of a model's modules.

    Args:
        model: The model.
        given: An array or ``jax.ShapeDtypeStruct``, which is passed for every required argument of the model.
    """
    if getattr(model, "implementation", None) == "auto":  # blockwise attention is a loop of unknown length
        model = model.clone(implementation="xla")
    if given.dtype == np.uint8:  # tasks convert images to float32
        given = jax.ShapeDtypeStruct(given.shape, np.float32)
    required = [p for p in inspect.signature(model.__call__).parameters.values() if p.default is p.empty]
    inputs = [given] * len([p for p in required if p.kind is p.POSITIONAL_OR_KEYWORD])
    names: list[str] = []  # in the order of creation; tracing sorts the keys of a dict

    def init(*inputs):
        variables = model.init(jax.random.key(0), *inputs)
        names.extend(variables["params"])
        return variables

    variables = jax.eval_shape(init, *inputs)
    return _costs(names, variables["params"], jax.make_jaxpr(model.apply)(variables, *inputs).jaxpr)


def count_task(task: Task, batch: Any) -> list[ModuleCost]:
    """Computes the costs of a task's model for one example.

    The endpoint ``predict`` is counted. If it is missing, or leaves out modules, as that of an autoencoder leaves out
    the decoder, the forward pass that initializes the parameters is counted instead.
    """
    names: list[str] = []

    def init(batch):
        variables = task.learner.variables(task.learner.init(jax.random.key(0), batch))
        names.extend(variables["params"])
        return variables

    traced, variables = jax.make_jaxpr(init, return_shape=True)(batch)
    whole = _costs(names, variables["params"], traced.jaxpr)
    predict = task.endpoints.get("predict")
    if predict is None:
        return whole
    rows = {len(leaf) for leaf in jax.tree.leaves(batch)}
    example = jax.tree.map(lambda leaf: leaf[:1], batch) if len(rows) == 1 else batch
    predicted = _costs(names, variables["params"], jax.make_jaxpr(predict.function)(variables, example).jaxpr)
    used = {cost.name for cost in predicted if cost.flops}
    return predicted if used >= {cost.name for cost in whole if cost.flops} - {OTHER_NAME} else whole


def _costs(names: list[str], params: Any, jaxpr: Any) -> list[ModuleCost]:
    operations = _by_module(_count_equations(jaxpr, _equation_flops), names)
    output_bytes = _by_module(_count_equations(jaxpr, _equation_bytes), names)
    sizes = {name: sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params[name])) for name in names}
    costs = [ModuleCost(name, sizes[name], operations[name], output_bytes[name]) for name in names]
    return [*costs, ModuleCost(OTHER_NAME, 0, operations[OTHER], output_bytes[OTHER])] if operations[OTHER] else costs


OTHER, OTHER_NAME = "", "other"


def _by_module(by_scope: Counter, names: list[str]) -> Counter:
    """Sums counts by name scope into counts by module, with ``OTHER`` for scopes outside all modules."""
    by_module: Counter = Counter()
    for scope, count in by_scope.items():
        by_module[next((name for name in names if name in scope), OTHER)] += count
    return by_module


def flops(function: Any, *arguments: Any) -> Counter:
    """Counts the floating-point operations of matrix products and convolutions by name scope.

    A multiply-add counts as 2. The operations of the traced program are counted, where the body of a scan counts once
    per iteration (in XLA's cost analysis it counts once). The body of a ``while`` loop counts once. For ``cond`` the
    most expensive branch counts.
    """
    return _count_equations(jax.make_jaxpr(function)(*arguments).jaxpr, _equation_flops)


def activation_bytes(function: Any, *arguments: Any) -> Counter:
    """Counts the bytes of the outputs of matrix products and convolutions by name scope, as ``flops`` does."""
    return _count_equations(jax.make_jaxpr(function)(*arguments).jaxpr, _equation_bytes)


def _count_equations(jaxpr: Any, measure: Callable[[Any], int]) -> Counter:
    work: Counter = Counter()
    _count(jaxpr, 1, (), work, measure)
    return work


def _equation_flops(equation: Any) -> int:
    outputs = int(np.prod(equation.outvars[0].aval.shape))
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2 * outputs * int(np.prod([left[axis] for axis in contracted]))
    kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
    return 2 * outputs * (int(np.prod(kernel)) // kernel[numbers.rhs_spec[0]])


def _equation_bytes(equation: Any) -> int:
    output = equation.outvars[0].aval
    return int(np.prod(output.shape)) * output.dtype.itemsize


def _count(jaxpr: Any, times: int, scope: tuple[str, ...], work: Counter, measure: Callable[[Any], int]) -> None:
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        full_scope = scope + tuple(str(equation.source_info.name_stack).split("/"))
        if name in ("dot_general", "conv_general_dilated"):
            work[full_scope] += times * measure(equation)
        elif name == "cond":
            branches: list[Counter] = [Counter() for _ in equation.params["branches"]]
            for branch, branch_work in zip(equation.params["branches"], branches, strict=True):
                _count(branch.jaxpr, times, full_scope, branch_work, measure)
            work.update(max(branches, key=lambda branch_work: sum(branch_work.values())))
        else:
            inner = times * equation.params["length"] if name == "scan" else times
            for value in equation.params.values():
                inside = getattr(value, "jaxpr", value)  # closed or open
                if hasattr(inside, "eqns"):
                    _count(inside, inner, full_scope, work, measure)


def table(costs: list[ModuleCost], caption: str) -> str:
    """Formats costs as a table for a terminal."""
    total = ModuleCost("total", *(sum(column) for column in zip(*(cost[1:] for cost in costs), strict=True)))
    width = max(len(row.name) for row in [*costs, total])
    lines = [
        f"{row.name:<{width}}  {row.parameters:>14,}  {row.flops:>18,}  {row.activation_bytes:>18,}"
        for row in [*costs, total]
    ]
    header = f"{'module':<{width}}  {'parameters':>14}  {'forward FLOPs':>18}  {'activation bytes':>18}"
    rule = "-" * len(header)
    return "\n".join([caption, header, rule, *lines[:-1], rule, lines[-1]])
