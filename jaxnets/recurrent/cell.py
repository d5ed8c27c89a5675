"""Recurrent cells: the tuple of pure functions that every executor runs, and helpers to write one."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.products import matmul

Params = dict[str, Any]
Carry = Any


class Cell(NamedTuple):
    """A recurrent cell: the pure functions from which ``recurrent.scan`` runs it.

    Attributes:
        init: ``(key, features) -> params``. Initializes the parameters: a dict with ``"input"`` (the parameters of
            ``project``), ``"recurrent"`` (``{name: weight}``, one weight per state product) and the other parameters
            of the step.
        carry: ``(params, x) -> carry``. Returns the carry before the first step. ``x`` is the input of one step,
            ``[*batch, D]``, which gives the batch shape and the dtype. Carries are float32 or wider.
        project: ``(params["input"], xs) -> u``. Computes everything that depends on the input alone, for any leading
            axes. It should return one array per gate, which lets XLA vectorize the step. Slices of one wide array
            prevent that.
        step: ``(rest, carry, u, dot) -> (carry, y)``. Computes one step. ``rest`` is ``params`` without ``"input"``
            and ``"recurrent"``, ``u`` is the projected input of this step, and ``dot(name, h)`` multiplies a state
            with the recurrent weight ``name``. The step has no access to the weights themselves, so the executor
            chooses how products are computed. The step must call ``dot`` directly, not inside ``jax.jit`` or another
            transformation, and must not close over traced values: pass them through ``rest`` or ``u``. The step of a
            cell that is linear in its state is a ``LinearStep``.
        product: ``(weight, h) -> z``. Computes the product of ``dot``; must be linear in ``h``. A matrix product by
            default, a convolution for ConvLSTM.
        axes: Number of axes of one input without batch and time: 1 for features ``[D]``, 3 for images ``[H, W, C]``.
    """

    init: Callable[[jax.Array, int], Params]
    carry: Callable[[Params, jax.Array], Carry]
    project: Callable[[Any, jax.Array], Any]
    step: Callable[[Params, Carry, Any, Callable[[str, jax.Array], jax.Array]], tuple[Carry, jax.Array]]
    product: Callable[[Any, jax.Array], jax.Array] = matmul
    axes: int = 1


@dataclasses.dataclass(frozen=True)
class LinearStep:
    r"""The step of a cell that is linear in its state and can run in parallel over time.

    .. math::
        s_t = a_t \odot s_{t-1} + b_t, \quad y_t = \mathrm{output}(s_t)

    Executors treat a cell as linear if its ``step`` is an instance of this class. Both functions must accept leading
    time axes, as ``project`` does.

    Attributes:
        coefficients: ``(rest, u) -> (a, b)``. For a real state, ``b`` has the shape of the carry and ``a`` broadcasts
            to it. For a complex state, ``a``, ``b`` and the carry are pairs of real and imaginary parts.
        output: ``(rest, s, u, dot) -> y``. Computes the output from the new state s.
    """

    coefficients: Callable[[Params, Any], tuple[Any, Any]]
    output: Callable[[Params, Any, Any, Callable[[str, jax.Array], jax.Array]], jax.Array]

    def __call__(self, rest: Params, carry: Carry, u: Any, dot: Callable) -> tuple[Carry, jax.Array]:
        """Computes one step, as ``Cell.step`` does."""
        decay, increment = self.coefficients(rest, u)
        state = jax.tree.map(jnp.add, elementwise_product(decay, carry), increment)
        return state, self.output(rest, state, u, dot)


def elementwise_product(a: Any, s: Any) -> Any:
    """Multiplies two arrays elementwise; complex arrays are pairs of real and imaginary parts."""
    if not isinstance(a, tuple):
        return match_rank(a, s) * s
    (a, b), (c, d) = a, s
    a, b = match_rank(a, c), match_rank(b, c)
    return a * c - b * d, a * d + b * c


def match_rank(a: jax.Array, like: jax.Array) -> jax.Array:
    """Adds leading axes of size 1 to ``a`` until it has the rank of ``like``."""
    return a.reshape((1,) * (like.ndim - a.ndim) + a.shape)


def cast_params(params: Params, dtype: Any) -> Params:
    """Casts every floating point parameter to ``at_least_float32(dtype)``.

    Cells then compute with one dtype, and gradients are summed in it before they are cast to that of each parameter.
    """
    wide = at_least_float32(dtype)
    return jax.tree.map(lambda a: a.astype(wide) if jnp.issubdtype(a.dtype, jnp.floating) else a, params)


def split_params(params: Params) -> tuple[Any, Params, Params]:
    """Splits ``params`` into (input, recurrent, rest): the parameters of ``project``, ``dot`` and ``step``."""
    rest = {name: value for name, value in params.items() if name not in ("input", "recurrent")}
    return params["input"], params["recurrent"], rest


def plain_dot(cell: Cell, recurrent: Params, dtype: Any) -> Callable:
    """Returns the ``dot`` of a forward pass, which computes products in ``dtype``."""
    return lambda name, h: cell.product(get_weight(recurrent, name), h.astype(dtype))


def get_weight(recurrent: Params, name: str) -> Any:
    """Returns a recurrent weight by name.

    Raises:
        ValueError: ``recurrent`` has no weight of that name.
    """
    if name not in recurrent:
        names = ", ".join(map(repr, recurrent)) or "which is empty"
        raise ValueError(
            f'`name` of dot must be a key of params["recurrent"] ({names}), got {name!r}; the parameters may belong to '
            "another cell, or the step may use a weight that `init` does not create"
        )
    return recurrent[name]


def main_input(xs: Any, name: str = "xs") -> jax.Array:
    """Returns the first floating point array of a cell's inputs: the sequence without the masks of wrappers.

    Raises:
        ValueError: No array has a floating point dtype.
    """
    leaves = jax.tree.leaves(xs)
    for leaf in leaves:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
    dtypes = ", ".join(str(leaf.dtype) for leaf in leaves) or "no array"
    raise ValueError(f"`{name}` must have a floating point dtype, got {dtypes} (embed integer tokens first)")


def dense_gates(params: Params, xs: jax.Array, gates: int) -> tuple[jax.Array, ...]:
    """Computes ``xs @ kernel + bias`` and splits it into gates.

    Args:
        params: ``{"kernel": [D, gates * H], "bias": [gates * H]}``.
        xs: ``[..., D]``; the product is computed in its dtype.
        gates: Number of gates.

    Returns:
        One array ``[..., H]`` per gate, float32 or wider.
    """
    chex.assert_shape(params["kernel"], (xs.shape[-1], None))
    chex.assert_shape(params["bias"], params["kernel"].shape[-1:])
    # Leading axes are flattened because a weight gradient that contracts two axes is slow on a CPU.
    product = matmul(params["kernel"], flatten_rows(xs)) + params["bias"][None]
    # Splitting after the reshape lets XLA keep the gradients of all gates in one array, without copies.
    return tuple(jnp.split(product.reshape(*xs.shape[:-1], product.shape[-1]), gates, axis=-1))


def flatten_rows(xs: jax.Array) -> jax.Array:
    """Flattens the leading axes of ``xs [..., D]`` into one axis, which may have size 0."""
    return xs.reshape(math.prod(xs.shape[:-1]), xs.shape[-1])


def check_width(params: Params, width: int) -> None:
    """Raises a ValueError unless the input kernel has ``width`` columns.

    Without this check, gates with one feature would broadcast, and a cell of another size would run without an error.
    """
    kernel = params["input"].get("kernel") if isinstance(params["input"], Mapping) else None
    if kernel is not None and kernel.shape[-1] != width:
        raise ValueError(f"`params` must have an input kernel of {width} columns for this cell, got {kernel.shape[-1]}")


def zero_state(x: jax.Array, hidden_size: int) -> jax.Array:
    """Returns zeros ``[*batch, hidden]`` for an input ``x [*batch, D]``, float32 or wider."""
    return jnp.zeros((*x.shape[:-1], hidden_size), at_least_float32(x.dtype))


def chrono_bias(key: jax.Array, chrono_init: float, hidden_size: int) -> jax.Array:
    """Samples forget gate biases ``[hidden]`` by chrono initialization (Tallec and Ollivier 2018, arXiv:1804.11188).

    The biases are ``log u`` with u uniform in [1, T - 1], so that units initially remember for 1 to T steps.

    Args:
        key: A ``jax.random.key``.
        chrono_init: T, in steps.
        hidden_size: Number of biases.

    Raises:
        ValueError: ``chrono_init`` is below 2.
    """
    if not isinstance(chrono_init, numbers.Real) or chrono_init < 2:
        raise ValueError(f"`chrono_init` must be 0 or a number of at least 2, got {chrono_init!r}")
    key = jax.random.fold_in(key, 2)
    return jnp.log(jax.random.uniform(key, (hidden_size,), jnp.float32, minval=1.0, maxval=chrono_init - 1.0))


def dense_carry(hidden_size: int, gates: int) -> Callable[[Params, jax.Array], jax.Array]:
    """Returns the ``Cell.carry`` of a cell with the carry h and an input projection of ``gates`` blocks of H."""

    def carry(params, x):
        check_width(params, gates * hidden_size)
        return zero_state(x, hidden_size)

    return carry


def dense_init(
    key: jax.Array, features: int, hidden_size: int, gates: int, products: dict[str, int], bias: jax.Array | None = None
) -> Params:
    """Initializes the parameters of a cell with dense gates.

    The input kernel is Glorot uniform, every block of a recurrent weight is orthogonal, and biases are zero unless
    ``bias`` is given.

    Args:
        key: A ``jax.random.key``.
        features: D, the number of input features.
        hidden_size: H.
        gates: Number of blocks of H in the input projection.
        products: Number of blocks of H in each recurrent weight, by name.
        bias: Initial biases ``[gates * H]``.
    """
    glorot, orthogonal = jax.nn.initializers.glorot_uniform(), jax.nn.initializers.orthogonal()
    keys = iter(jax.random.split(key, gates + sum(products.values())))

    def blocks(init: Callable, rows: int, count: int) -> jax.Array:
        return jnp.concatenate([init(next(keys), (rows, hidden_size), jnp.float32) for _ in range(count)], axis=-1)

    return {
        "input": {
            "kernel": blocks(glorot, features, gates),
            "bias": jnp.zeros(gates * hidden_size, jnp.float32) if bias is None else bias,
        },
        "recurrent": {name: blocks(orthogonal, hidden_size, count) for name, count in products.items()},
    }
