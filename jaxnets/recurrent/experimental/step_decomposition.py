"""Decomposition of the step of a recurrence for kernels that divide the hidden units among blocks.

Operations that do not depend on the carry are computed in advance, for all steps together. The remaining operations
must be state products or act on every unit separately, so that a block of the kernel can run them on its own units.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

# Elementwise operations that Mosaic supports; add_any is the sum of gradients.
# fmt: off
ELEMENTWISE = {
    "abs", "add", "add_any", "and", "convert_element_type", "cos", "div", "eq", "erf", "exp", "exp2", "ge",
    "gt", "integer_pow", "le", "log", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "rsqrt",
    "select_n", "sign", "sin", "sqrt", "square", "sub", "tanh", "xor",
}
# fmt: on

# Primitives that call another jaxpr, with the parameter that holds it.
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


class DecomposedStep(NamedTuple):
    """The sequential operations of a step ``(carry, x) -> (carry, outputs)``, and the arrays they depend on.

    Arrays have the shape ``[B, k H]``, with k blocks of H units.

    Attributes:
        constants: Arrays that are equal for all steps.
        sequences: Arrays ``[T, B, k H]``.
        weights: The weights ``[K, N]`` of the state products, in the order of the products.
        run: ``(carry, sequences, constants, dot) -> (carry, outputs)``. Runs the operations on lists of values. A value
            is a number or a tuple of blocks ``[rows, units]``, in float32 for sequences and constants.
            ``dot(i, operand)`` multiplies a value with weight i.
        outputs: The number of blocks of each output.
        carries: The number of leaves of a carry.
    """

    constants: list[jax.Array]
    sequences: list[jax.Array]
    weights: list[jax.Array]
    run: Callable
    outputs: list[int]
    carries: int


def decompose_step(step: Callable, carry: Any, xs: Any) -> DecomposedStep:
    """Decomposes ``step(carry, x) -> (carry, outputs)``.

    Args:
        step: A step with carries ``[B, H]`` and outputs ``[B, k H]``.
        carry: A tree of arrays ``[B, H]``.
        xs: A tree of the inputs of all steps, with time first.

    Returns:
        The decomposed step.

    Raises:
        ValueError: An operation on the carry is neither elementwise nor a state product.
    """
    leaves, tree = jax.tree.flatten(carry)
    batch, width = leaves[0].shape[0], leaves[0].shape[-1]
    if any(leaf.ndim != 2 or leaf.shape[-1] != width for leaf in leaves):
        raise ValueError(f"its carry must have arrays of one shape [B, H], got {[leaf.shape for leaf in leaves]}")
    x_shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), xs)

    def flat_step(carry, x):
        new, outputs = step(jax.tree.unflatten(tree, carry), x)
        return jax.tree.leaves(new), jax.tree.leaves(outputs)

    inlined = _inline_calls(jax.make_jaxpr(flat_step)(leaves, x_shapes))
    jaxpr, count = inlined.jaxpr, len(leaves)
    eqns = _live_equations(jaxpr)
    carry_dependents = _dependents(eqns, jaxpr.invars[:count])
    rest, precomputed = _partition_equations(eqns, carry_dependents)
    time_vars = _dependents(precomputed, jaxpr.invars[count:])
    time_dependent, time_independent = _partition_equations(precomputed, time_vars)
    products = [eqn for eqn in rest if eqn.primitive.name == "dot_general"]
    if not products:
        raise ValueError("it must have a state product, got none")

    scalars = _scalar_constants(precomputed)
    required = _unique([var for eqn in rest for var in eqn.invars] + jaxpr.outvars)
    required = [var for var in required if var not in carry_dependents and var not in scalars]
    weight_vars = [eqn.invars[1] for eqn in products]
    constant_vars = [var for var in required if var not in time_vars and var not in weight_vars]
    sequence_vars = [var for var in required if var in time_vars]
    for eqn in rest:
        _check_equation(eqn, width, weight_vars, time_vars)
    for var in constant_vars + sequence_vars:
        if len(var.aval.shape) != 2 or var.aval.shape[0] not in (1, batch) or var.aval.shape[-1] % width:
            raise ValueError(f"its step must use arrays of shape [B, H], got {var.aval.shape}")

    known = dict(zip(jaxpr.constvars, inlined.consts, strict=True))
    _evaluate(time_independent, known)

    def broadcast_rows(a):
        return jnp.broadcast_to(a, (batch, a.shape[-1]))

    def evaluate_inputs(x):
        env = {**known, **dict(zip(jaxpr.invars[count:], jax.tree.leaves(x), strict=True))}
        _evaluate(time_dependent, env)
        return [broadcast_rows(env[var]) for var in sequence_vars]

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
        product_indices = iter(range(len(products)))
        for eqn in rest:
            inputs = [_value(env, var) for var in eqn.invars if var not in weight_vars]
            if eqn.primitive.name == "dot_general":
                outputs = [dot(next(product_indices), inputs[0])]
            else:
                outputs = _evaluate_on_blocks(eqn, inputs, width)
            env.update(zip(eqn.outvars, outputs, strict=True))
        results = [_value(env, var) for var in jaxpr.outvars]
        return results[:count], results[count:]

    return DecomposedStep(
        [broadcast_rows(known[var]) for var in constant_vars],
        jax.vmap(evaluate_inputs)(xs) if sequence_vars else [],
        weights,
        run,
        [var.aval.shape[-1] // width for var in jaxpr.outvars[count:]],
        count,
    )


def _inline_calls(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Inlines all calls of a jaxpr and removes repeated equations."""
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
                operands = tuple(
                    str(v) if isinstance(v, Literal) else id(x) for v, x in zip(eqn.invars, inputs, strict=True)
                )
                key = (eqn.primitive.name, operands, str(eqn.params))
                outputs = computed.setdefault(key, (_bind(eqn, inputs), inputs))[0]
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [_value(env, var) for var in jaxpr.outvars]

    shapes = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in closed.jaxpr.invars]
    return jax.make_jaxpr(lambda *a: evaluate(closed.jaxpr, closed.consts, *a))(*shapes)


def _value(env: dict, var: Any) -> Any:
    return var.val if isinstance(var, Literal) else env[var]


def _bind(eqn: Any, inputs: Sequence[Any]) -> Sequence[Any]:
    outputs = eqn.primitive.bind(*inputs, **eqn.params)
    return outputs if eqn.primitive.multiple_results else [outputs]


def _live_equations(jaxpr: Any) -> list:
    """Returns the equations that the outputs depend on."""
    required = {var for var in jaxpr.outvars if not isinstance(var, Literal)}
    live = []
    for eqn in reversed(jaxpr.eqns):
        if required.intersection(eqn.outvars):
            live.append(eqn)
            required.update(var for var in eqn.invars if not isinstance(var, Literal))
    return live[::-1]


def _dependents(eqns: list, variables: Sequence[Any]) -> set:
    """Returns the variables and all variables that depend on them."""
    found = set(variables)
    for eqn in eqns:
        if any(not isinstance(var, Literal) and var in found for var in eqn.invars):
            found.update(eqn.outvars)
    return found


def _partition_equations(eqns: list, variables: set) -> tuple[list, list]:
    """Splits equations into those that compute one of the variables, and the others."""
    computes = lambda eqn: not variables.isdisjoint(eqn.outvars)
    return [eqn for eqn in eqns if computes(eqn)], [eqn for eqn in eqns if not computes(eqn)]


def _scalar_constants(eqns: list) -> dict:
    """Returns the values of variables that are broadcast numbers, which a kernel does not need to load."""
    return {
        eqn.outvars[0]: np.asarray(eqn.invars[0].val, eqn.outvars[0].aval.dtype)
        for eqn in eqns
        if eqn.primitive.name == "broadcast_in_dim" and isinstance(eqn.invars[0], Literal)
    }


def _unique(variables: Sequence[Any]) -> list:
    return list(dict.fromkeys(var for var in variables if not isinstance(var, Literal)))


def _check_equation(eqn: Any, width: int, weights: list, time_vars: set) -> None:
    """Raises a ValueError if a block of units cannot evaluate the equation without the other blocks."""
    name = eqn.primitive.name
    if name == "dot_general":
        (left_axes, _), batch = eqn.params["dimension_numbers"]
        left, right = eqn.invars
        plain = tuple(left_axes) == (1,) and batch == ((), ()) and len(left.aval.shape) == len(right.aval.shape) == 2
        if not plain or isinstance(right, Literal) or right in time_vars:
            raise ValueError("each of its products must be of a state and a weight, got another one")
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
    raise ValueError(f"its step must be elementwise except for state products, got the operation {name}")


def _evaluate(eqns: list, env: dict) -> None:
    for eqn in eqns:
        inputs = [_value(env, var) for var in eqn.invars]
        env.update(zip(eqn.outvars, _bind(eqn, inputs), strict=True))


def _evaluate_on_blocks(eqn: Any, inputs: list, width: int) -> list:
    """Evaluates an equation on values that are tuples of blocks."""
    name, params = eqn.primitive.name, eqn.params
    if name == "concatenate":
        shape = next(value[0] for value in inputs if isinstance(value, tuple)).shape
        return [sum((_as_blocks(v, var, width, shape) for v, var in zip(inputs, eqn.invars, strict=True)), ())]
    if name == "split":
        ends = np.cumsum([size // width for size in params["sizes"]])
        return [inputs[0][end - size // width : end] for end, size in zip(ends, params["sizes"], strict=True)]
    if name == "slice":
        return [inputs[0][params["start_indices"][-1] // width : params["limit_indices"][-1] // width]]
    block = next(value[0] for value in inputs if isinstance(value, tuple))
    shaped = [_as_blocks(value, var, width, block.shape) for value, var in zip(inputs, eqn.invars, strict=True)]
    count = max(len(value) for value in shaped if isinstance(value, tuple))
    compute = jax.lax.add if name == "add_any" else lambda *inputs: _bind(eqn, inputs)[0]
    return [tuple(compute(*(v[i] if isinstance(v, tuple) else v for v in shaped)) for i in range(count))]


def _as_blocks(value: Any, var: Any, width: int, shape: tuple[int, ...]) -> Any:
    """Expands a number that stands for an array to a tuple of blocks; returns other values unchanged."""
    if isinstance(value, tuple) or not var.aval.shape:
        return value
    return (jnp.full(shape, value, var.aval.dtype),) * (var.aval.shape[-1] // width)
