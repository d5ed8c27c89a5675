"""What a recurrent cell is: a tuple of pure functions, written once and run by every executor."""

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
    """A recurrent cell: what ``recurrent.scan`` needs to know of it, and nothing else.

    Attributes:
        init: ``(key, features) -> params``. A dict with ``"input"`` (what depends on x alone), ``"recurrent"``
            (``{name: weight}``, one weight per state product) and whatever else the step reads.
        carry: ``(params, x) -> carry``, the carry before the first step. ``x`` is one step's input ``[*batch, D]``
            and gives batch shape and dtype. Carries are float32 at least.
        project: ``(params["input"], xs) -> u``, everything that depends on x alone, for any number of leading axes.
            One array per gate lets XLA vectorize the step; a single wide array to be sliced there does not.
        step: ``(rest, carry, u, dot) -> (carry, y)``: one step for ``u`` of one time. ``rest`` is ``params`` without
            ``"input"`` and ``"recurrent"``; ``dot(name, h)`` is the product of a state with the recurrent weight of
            that name. The step never sees that weight, which is what lets the executor choose how products run. It
            calls ``dot`` itself, not inside ``jax.jit`` and the like, and what else it depends on comes in through
            ``rest`` and ``u``, not by closing over a traced value. A ``LinearStep`` where the cell is linear in its
            state.
        product: ``(weight, h) -> z``, what ``dot`` computes; linear in ``h``. A convolution for ConvLSTM.
        axes: How many axes one input has beside batch and time: 1 for features ``[D]``, 3 for images ``[H, W, C]``.
    """

    init: Callable[[jax.Array, int], Params]
    carry: Callable[[Params, jax.Array], Carry]
    project: Callable[[Any, jax.Array], Any]
    step: Callable[[Params, Carry, Any, Callable[[str, jax.Array], jax.Array]], tuple[Carry, jax.Array]]
    product: Callable[[Any, jax.Array], jax.Array] = matmul
    axes: int = 1


@dataclasses.dataclass(frozen=True)
class LinearStep:
    r"""The step of a cell that is linear in its state, which can therefore be run in parallel over time.

    .. math::
        s_t = a_t \odot s_{t-1} + b_t, \quad y_t = \mathrm{output}(s_t)

    A cell is linear when its ``step`` is one of these: another step put in its place takes this with it. Both functions
    also take leading axes of time, as ``project`` does.

    Attributes:
        coefficients: ``(rest, u) -> (a, b)``. For a real state, ``b`` is an array like the carry and ``a`` one that
            broadcasts to it. For a complex one, ``a``, ``b`` and the carry are pairs: real and imaginary part.
        output: ``(rest, s, u, dot) -> y``, for the new state s.
    """

    coefficients: Callable[[Params, Any], tuple[Any, Any]]
    output: Callable[[Params, Any, Any, Callable[[str, jax.Array], jax.Array]], jax.Array]

    def __call__(self, rest: Params, carry: Carry, u: Any, dot: Callable) -> tuple[Carry, jax.Array]:
        """One step, as ``Cell.step``."""
        decay, increment = self.coefficients(rest, u)
        state = jax.tree.map(jnp.add, times(decay, carry), increment)
        return state, self.output(rest, state, u, dot)


def times(a: Any, s: Any) -> Any:
    """The elementwise product of two arrays, or of two complex numbers given as pairs of real and imaginary part."""
    if not isinstance(a, tuple):
        return along(a, s) * s
    (a, b), (c, d) = a, s
    a, b = along(a, c), along(b, c)
    return a * c - b * d, a * d + b * c


def along(a: jax.Array, like: jax.Array) -> jax.Array:
    """``a`` with as many axes as ``like``: leading ones of size 1, which broadcast."""
    return a.reshape((1,) * (like.ndim - a.ndim) + a.shape)


def accumulated(params: Params, dtype: Any) -> Params:
    """``params`` with every floating point array in ``at_least_float32(dtype)``, whatever dtype it is kept in.

    A cell then meets one dtype, and gradients, which arrive in the dtype of each parameter, are summed in this one.
    """
    to = at_least_float32(dtype)
    return jax.tree.map(lambda a: a.astype(to) if jnp.issubdtype(a.dtype, jnp.floating) else a, params)


def split_params(params: Params) -> tuple[Any, Params, Params]:
    """Separates ``params`` into what ``project``, ``dot`` and ``step`` use: (input, recurrent, rest)."""
    rest = {name: value for name, value in params.items() if name not in ("input", "recurrent")}
    return params["input"], params["recurrent"], rest


def plain_dot(cell: Cell, recurrent: Params, dtype: Any) -> Callable:
    """The ``dot`` of a forward pass."""
    return lambda name, h: cell.product(named_weight(recurrent, name), h.astype(dtype))


def named_weight(recurrent: Params, name: str) -> Any:
    """The recurrent weight of a state product.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in recurrent:
        names = ", ".join(map(repr, recurrent)) or "of which there is none"
        raise ValueError(
            f'dot: the name must be that of a weight in params["recurrent"], {names}, got {name!r}; either the step '
            "asks for another product than init makes, or the parameters are of another cell"
        )
    return recurrent[name]


def main_input(xs: Any, name: str = "xs") -> jax.Array:
    """The first floating point array of what a cell reads: x itself, without a wrapper's masks.

    Raises:
        ValueError: There is none.
    """
    leaves = jax.tree.leaves(xs)
    for leaf in leaves:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
    given = ", ".join(str(leaf.dtype) for leaf in leaves) or "nothing"
    raise ValueError(f"{name}: floating point expected; given {given} (embed integer tokens first)")


def dense_gates(params: Params, xs: jax.Array, gates: int) -> tuple[jax.Array, ...]:
    """``xs @ kernel + bias`` as one array per gate, float32 at least.

    Args:
        params: ``{"kernel": [D, gates * H], "bias": [gates * H]}``.
        xs: ``[..., D]``; the product is computed in its dtype.
        gates: How many blocks the result is split into.

    Returns:
        ``gates`` arrays ``[..., H]``.
    """
    chex.assert_shape(params["kernel"], (xs.shape[-1], None))
    chex.assert_shape(params["bias"], params["kernel"].shape[-1:])
    # Leading axes are joined first: contracting two axes at once in the weight's gradient is slow on a CPU.
    product = matmul(params["kernel"], joined_rows(xs)) + params["bias"][None]
    # Split last: then XLA sees that the gates' gradients side by side are one array, and copies nothing.
    return tuple(jnp.split(product.reshape(*xs.shape[:-1], product.shape[-1]), gates, axis=-1))


def joined_rows(xs: jax.Array) -> jax.Array:
    """``xs [..., D]`` with its leading axes joined to one, which may be of size 0."""
    return xs.reshape(math.prod(xs.shape[:-1]), xs.shape[-1])


def check_width(params: Params, width: int) -> None:
    """Raises a ValueError where the input kernel has another width than the cell's gates together.

    A gate of one feature would broadcast, and the cell of another size compute something without an error.
    """
    kernel = params["input"].get("kernel") if isinstance(params["input"], Mapping) else None
    if kernel is not None and kernel.shape[-1] != width:
        raise ValueError(f"params: the input kernel must have {width} columns for this cell, got {kernel.shape[-1]}")


def zero_state(x: jax.Array, hidden_size: int) -> jax.Array:
    """Zeros ``[*batch, hidden]`` for one step's input ``x``, float32 at least."""
    return jnp.zeros((*x.shape[:-1], hidden_size), at_least_float32(x.dtype))


def chrono_bias(key: jax.Array, chrono_init: float, hidden_size: int) -> jax.Array:
    """Biases ``[hidden]`` of forget gates that make units remember for 1 to ``chrono_init`` steps, each its own time.

    ``log u``, u uniform in [1, memory - 1] (Tallec and Ollivier 2018, arXiv:1804.11188).

    Raises:
        ValueError: ``chrono_init`` is below 2.
    """
    if not isinstance(chrono_init, numbers.Real) or chrono_init < 2:
        raise ValueError(f"chrono_init: at least 2 steps, or 0 to leave the biases alone; given {chrono_init!r}")
    key = jax.random.fold_in(key, 2)
    return jnp.log(jax.random.uniform(key, (hidden_size,), jnp.float32, minval=1.0, maxval=chrono_init - 1.0))


def dense_carry(hidden_size: int, gates: int) -> Callable[[Params, jax.Array], jax.Array]:
    """``Cell.carry`` of a cell whose carry is h, and whose input projection has ``gates`` blocks of H."""

    def carry(params, x):
        check_width(params, gates * hidden_size)
        return zero_state(x, hidden_size)

    return carry


def dense_init(
    key: jax.Array, features: int, hidden_size: int, gates: int, products: dict[str, int], bias: jax.Array | None = None
) -> Params:
    """Input kernel by Glorot's uniform rule, each gate's recurrent block orthogonal, biases zero (or as given).

    Args:
        key: A ``jax.random.key``.
        features: D.
        hidden_size: H.
        gates: How many blocks of H the input projection has.
        products: How many blocks of H each recurrent weight has, by name.
        bias: ``[gates * H]``.
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
