"""A step of a recurrence taken apart, for a kernel whose blocks hold a slice of the units each.

What no carry enters is computed beforehand, at all times at once. What remains must be state products, and operations
that leave every unit to itself: a block of the kernel then evaluates it on its own units alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

# Operations on every unit by itself, of those that Mosaic knows (add_any is what gradients are summed with).
# fmt: off
ELEMENTWISE = {
    "abs", "add", "add_any", "and", "convert_element_type", "cos", "div", "eq", "erf", "exp", "exp2", "ge",
    "gt", "integer_pow", "le", "log", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "rsqrt",
    "select_n", "sign", "sin", "sqrt", "square", "sub", "tanh", "xor",
}
# fmt: on

# What calls another jaxpr, by the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


class Apart(NamedTuple):
    """A step ``(carry, one) -> (carry, outputs)`` of which only the sequential part is left.

    Arrays that a kernel reads are ``[B, k H]``, k blocks of units side by side; those of ``sequences`` begin with time.

    Attributes:
        constants: Arrays that are the same at all times.
        sequences: Arrays with time first.
        weights: ``[K, N]``, one for each state product, in the order of products.
        run: ``(carry, sequences, constants, dot) -> (carry, outputs)`` on lists of values. A value is a tuple of
            blocks ``[rows, units]``, float32 for sequences and constants, or a number; ``dot(i, operand)`` is the
            product of a value with weight i.
        outputs: How many blocks each output has.
        carries: How many leaves a carry has.
    """

    constants: list[jax.Array]
    sequences: list[jax.Array]
    weights: list[jax.Array]
    run: Callable
    outputs: list[int]
    carries: int


def take_apart(step: Callable, carry: Any, xs: Any) -> Apart:
    """Takes ``step(carry, x) -> (carry, outputs)`` apart.

    Args:
        step: Its leaves of carry and outputs are ``[B, H]``, or k H wide.
        carry: Arrays ``[B, H]``.
        xs: What the step reads at each time, with time first.

    Raises:
        ValueError: Units depend on each other by something else than state products.
    """
    leaves, tree = jax.tree.flatten(carry)
    batch, width = leaves[0].shape[0], leaves[0].shape[-1]
    if any(leaf.ndim != 2 or leaf.shape[-1] != width for leaf in leaves):
        raise ValueError(f"its carry is not all [B, H], but has shapes {[leaf.shape for leaf in leaves]}")
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), xs)

    def flat(carry, one):
        new, outputs = step(jax.tree.unflatten(tree, carry), one)
        return jax.tree.leaves(new), jax.tree.leaves(outputs)

    inlined = _inlined(jax.make_jaxpr(flat)(leaves, one))
    jaxpr, count = inlined.jaxpr, len(leaves)
    eqns = _live(jaxpr)
    reached = _reached(eqns, jaxpr.invars[:count])
    rest, beforehand = _parted(eqns, reached)
    times = _reached(beforehand, jaxpr.invars[count:])
    timed, fixed = _parted(beforehand, times)
    products = [eqn for eqn in rest if eqn.primitive.name == "dot_general"]
    if not products:
        raise ValueError("it has no state product")

    scalars = _numbers(beforehand)
    needed = _unique([var for eqn in rest for var in eqn.invars] + jaxpr.outvars)
    needed = [var for var in needed if var not in reached and var not in scalars]
    weight_vars = [eqn.invars[1] for eqn in products]
    constant_vars = [var for var in needed if var not in times and var not in weight_vars]
    sequence_vars = [var for var in needed if var in times]
    for eqn in rest:
        _check(eqn, width, weight_vars, times)
    for var in constant_vars + sequence_vars:
        if len(var.aval.shape) != 2 or var.aval.shape[0] not in (1, batch) or var.aval.shape[-1] % width:
            raise ValueError(f"it reads an array of shape {var.aval.shape}, not one [B, H]")

    known = dict(zip(jaxpr.constvars, inlined.consts, strict=True))
    _evaluate_plainly(fixed, known)

    def for_all_rows(a):
        return jnp.broadcast_to(a, (batch, a.shape[-1]))

    def at_one_time(one):
        env = {**known, **dict(zip(jaxpr.invars[count:], jax.tree.leaves(one), strict=True))}
        _evaluate_plainly(timed, env)
        return [for_all_rows(env[var]) for var in sequence_vars]

    weights = []
    for eqn in products:
        ((_,), (axis,)), _ = eqn.params["dimension_numbers"]
        weight = known[eqn.invars[1]]
        weights.append(weight if axis == 0 else weight.T)

    def run(carry, sequences, constants, dot):
        env: dict = {**scalars}
        env.update(zip(jaxpr.invars[:count], carry, strict=True))
        for var, blocks in zip(sequence_vars + constant_vars, sequences + constants, strict=True):
            env[var] = tuple(block != 0 if var.aval.dtype == bool else block.astype(var.aval.dtype) for block in blocks)
        found = iter(range(len(products)))
        for eqn in rest:
            inputs = [_value(env, var) for var in eqn.invars if var not in weight_vars]
            if eqn.primitive.name == "dot_general":
                outputs = [dot(next(found), inputs[0])]
            else:
                outputs = _on_blocks(eqn, inputs, width)
            env.update(zip(eqn.outvars, outputs, strict=True))
        results = [_value(env, var) for var in jaxpr.outvars]
        return results[:count], results[count:]

    return Apart(
        [for_all_rows(known[var]) for var in constant_vars],
        jax.vmap(at_one_time)(xs) if sequence_vars else [],
        weights,
        run,
        [var.aval.shape[-1] // width for var in jaxpr.outvars[count:]],
        count,
    )


def _inlined(closed: ClosedJaxpr) -> ClosedJaxpr:
    """The same without calls, and without computing anything twice."""
    computed: dict = {}

    def evaluate(jaxpr, consts, *arguments):
        env = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, arguments, strict=True))
        for eqn in jaxpr.eqns:
            inputs = [_value(env, var) for var in eqn.invars]
            if eqn.primitive.name in CALLS:
                inner = eqn.params[CALLS[eqn.primitive.name]]
                inner = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
                outputs = evaluate(inner.jaxpr, inner.consts, *inputs)
            else:
                given = tuple(
                    str(v) if isinstance(v, Literal) else id(x) for v, x in zip(eqn.invars, inputs, strict=True)
                )
                key = (eqn.primitive.name, given, str(eqn.params))
                outputs = computed.setdefault(key, (_bind(eqn, inputs), inputs))[0]
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [_value(env, var) for var in jaxpr.outvars]

    arguments = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in closed.jaxpr.invars]
    return jax.make_jaxpr(lambda *a: evaluate(closed.jaxpr, closed.consts, *a))(*arguments)


def _value(env: dict, var: Any) -> Any:
    return var.val if isinstance(var, Literal) else env[var]


def _bind(eqn: Any, inputs: Sequence[Any]) -> Sequence[Any]:
    outputs = eqn.primitive.bind(*inputs, **eqn.params)
    return outputs if eqn.primitive.multiple_results else [outputs]


def _live(jaxpr: Any) -> list:
    """The equations that the outputs need."""
    needed = {var for var in jaxpr.outvars if not isinstance(var, Literal)}
    kept = []
    for eqn in reversed(jaxpr.eqns):
        if needed.intersection(eqn.outvars):
            kept.append(eqn)
            needed.update(var for var in eqn.invars if not isinstance(var, Literal))
    return kept[::-1]


def _reached(eqns: list, variables: Sequence[Any]) -> set:
    """The variables, and all that is computed from them."""
    found = set(variables)
    for eqn in eqns:
        if any(not isinstance(var, Literal) and var in found for var in eqn.invars):
            found.update(eqn.outvars)
    return found


def _parted(eqns: list, variables: set) -> tuple[list, list]:
    """The equations that compute some of the variables, and the others."""
    computes = lambda eqn: not variables.isdisjoint(eqn.outvars)
    return [eqn for eqn in eqns if computes(eqn)], [eqn for eqn in eqns if not computes(eqn)]


def _numbers(eqns: list) -> dict:
    """Arrays that are one number everywhere: they need not be read."""
    return {
        eqn.outvars[0]: np.asarray(eqn.invars[0].val, eqn.outvars[0].aval.dtype)
        for eqn in eqns
        if eqn.primitive.name == "broadcast_in_dim" and isinstance(eqn.invars[0], Literal)
    }


def _unique(variables: Sequence[Any]) -> list:
    return list(dict.fromkeys(var for var in variables if not isinstance(var, Literal)))


def _check(eqn: Any, width: int, weights: list, times: set) -> None:
    """Raises a ValueError if the equation is not one that blocks of units can evaluate by themselves."""
    name = eqn.primitive.name
    if name == "dot_general":
        (mine, _), batch = eqn.params["dimension_numbers"]
        left, right = eqn.invars
        plain = tuple(mine) == (1,) and batch == ((), ()) and len(left.aval.shape) == len(right.aval.shape) == 2
        if not plain or isinstance(right, Literal) or right in times:
            raise ValueError("it has a product that is not one of a state with a weight")
        return
    last = len(eqn.outvars[0].aval.shape) - 1
    if name in ("split", "slice", "concatenate"):
        axis = eqn.params.get("axis", eqn.params.get("dimension", last))
        whole = all(var.aval.shape[-1] % width == 0 for var in eqn.outvars)
        starts = eqn.params.get("start_indices", (0,) * (last + 1))
        steps = eqn.params.get("strides")
        if axis == last and whole and starts[:-1] == (0,) * last and starts[-1] % width == 0 and steps is None:
            return
    elif name in ELEMENTWISE:
        shapes = {tuple(var.aval.shape) for var in (*eqn.invars, *eqn.outvars)} - {()}
        if all(len(shape) == 2 and shape[-1] % width == 0 for shape in shapes):
            return
    raise ValueError(f"it computes something of several units at once ({name})")


def _evaluate_plainly(eqns: list, env: dict) -> None:
    for eqn in eqns:
        inputs = [_value(env, var) for var in eqn.invars]
        env.update(zip(eqn.outvars, _bind(eqn, inputs), strict=True))


def _on_blocks(eqn: Any, inputs: list, width: int) -> list:
    """The values of an equation's outputs, from those of its inputs."""
    name, params = eqn.primitive.name, eqn.params
    if name == "concatenate":
        shape = next(value[0] for value in inputs if isinstance(value, tuple)).shape
        return [sum((_blocks(v, var, width, shape) for v, var in zip(inputs, eqn.invars, strict=True)), ())]
    if name == "split":
        ends = np.cumsum([size // width for size in params["sizes"]])
        return [inputs[0][end - size // width : end] for end, size in zip(ends, params["sizes"], strict=True)]
    if name == "slice":
        return [inputs[0][params["start_indices"][-1] // width : params["limit_indices"][-1] // width]]
    block = next(value[0] for value in inputs if isinstance(value, tuple))
    shaped = [_blocks(value, var, width, block.shape) for value, var in zip(inputs, eqn.invars, strict=True)]
    count = max(len(value) for value in shaped if isinstance(value, tuple))
    compute = jax.lax.add if name == "add_any" else lambda *inputs: _bind(eqn, inputs)[0]
    return [tuple(compute(*(v[i] if isinstance(v, tuple) else v for v in shaped)) for i in range(count))]


def _blocks(value: Any, var: Any, width: int, shape: tuple[int, ...]) -> Any:
    """A number that stands for an array as blocks; others as they are."""
    if isinstance(value, tuple) or not var.aval.shape:
        return value
    return (jnp.full(shape, value, var.aval.dtype),) * (var.aval.shape[-1] // width)
