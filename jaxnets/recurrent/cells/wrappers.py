"""Wrappers of cells: zoneout, variational dropout, residual connections and learned initial carries."""

import functools
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.ops.array_types import Array, Bool, Float, Key, PyTree
from jaxnets.ops.checks import check_probability
from jaxnets.recurrent.cell import Cell, LinearStep, Params, get_weight, main_input
from jaxnets.recurrent.checking import as_arrays, check_cell, check_params, time_axis


def zoneout(cell: Cell, rate: float | tuple[float, ...]) -> Cell:
    r"""Adds zoneout to a cell (Krueger et al. 2017, arXiv:1606.01305).

    Every unit of the carry keeps its old value with probability ``rate``:

    .. math::
        c_t = m_t \odot c_{t-1} + (1 - m_t) \odot \tilde c_t, \quad m_t \sim \mathrm{Bernoulli}(\mathrm{rate})

    For training, scan over ``(xs, masks)`` with masks from ``zoneout_masks``. For evaluation, scan over ``xs`` alone:
    m is then replaced by its expectation. Parameters and carry are those of ``cell``.

    Args:
        cell: A recurrent cell.
        rate: One probability, or one per array of the carry (h and c of an LSTM; the paper uses 0.05 and 0.5).

    Returns:
        A cell.

    Raises:
        ValueError: A rate is not in [0, 1], or ``cell`` is not a cell.
    """
    check_cell(cell)
    for value in rate if isinstance(rate, tuple) else (rate,):
        if not isinstance(value, numbers.Real) or not 0 <= value <= 1:
            raise ValueError(f"`rate` must be a number from 0 to 1, got {value!r}")

    def project(params, xs):
        x, masks = xs if isinstance(xs, tuple) else (xs, None)
        return cell.project(params, x), masks

    def step(rest, carry, u, dot):
        u, masks = u
        new, y = cell.step(rest, carry, u, dot)
        leaves, tree = jax.tree.flatten(new)
        old = jax.tree.leaves(carry)
        if masks is None:
            zoned = [r * a + (1 - r) * b for r, a, b in zip(_rates(rate, len(leaves)), old, leaves, strict=True)]
        else:
            zoned = [jnp.where(m, a, b) for m, a, b in zip(jax.tree.leaves(masks), old, leaves, strict=True)]
        # The output of most cells is an array of their carry, and then zoneout applies to the output too.
        output = next((z for z, leaf in zip(zoned, leaves, strict=True) if leaf is y), y)
        return jax.tree.unflatten(tree, zoned), output

    return cell._replace(project=project, step=step, carry=lambda params, xs: cell.carry(params, main_input(xs)))


def zoneout_masks(
    key: Key[Array, ""],
    cell: Cell,
    params: Params,
    xs: Any,
    rate: float | tuple[float, ...],
    time_major: bool = False,
) -> PyTree[Bool[Array, "..."]]:
    """Samples the masks of a ``zoneout`` cell for one batch.

    Args:
        key: A ``jax.random.key``.
        cell: The cell, with or without ``zoneout``.
        params: Its parameters.
        xs: ``[*batch, T, D]``, or ``[T, *batch, D]`` if ``time_major``.
        rate: The rate of ``zoneout``: the probability that a mask is True.
        time_major: Whether time is the first axis of ``xs`` and of the masks.

    Returns:
        A pytree like the carry, of bool masks ``[*batch, T, H]`` (``[T, *batch, H]`` if ``time_major``).

    Raises:
        ValueError: An argument has the wrong type or shape, or the carry has another number of arrays than ``rate``.
    """
    check_cell(cell)
    check_params(params)
    xs = main_input(as_arrays("xs", xs))
    axis = time_axis(cell, xs, time_major)
    step = jax.ShapeDtypeStruct((*xs.shape[:axis], *xs.shape[axis + 1 :]), xs.dtype)
    leaves, tree = jax.tree.flatten(jax.eval_shape(cell.carry, params, step))
    masks = []
    for k, leaf, r in zip(jax.random.split(key, len(leaves)), leaves, _rates(rate, len(leaves)), strict=True):
        shape = (*leaf.shape[:axis], xs.shape[axis], *leaf.shape[axis:])
        masks.append(jax.random.bernoulli(k, r, shape))
    return jax.tree.unflatten(tree, masks)


def _rates(rate: float | tuple[float, ...], count: int) -> tuple[float, ...]:
    rates = rate if isinstance(rate, tuple) else (rate,) * count
    if len(rates) != count:
        raise ValueError(f"`rate` must be one number or a tuple of {count}, one per array of the carry, got {rate}")
    return rates


def recurrent_dropout(cell: Cell) -> Cell:
    r"""Adds variational dropout of the state to a cell (Gal and Ghahramani 2016, arXiv:1512.05287).

    Every state product becomes :math:`(h \odot m) W` with one mask m for all steps. For training, scan with the
    parameters ``{**params, "dropout_masks": recurrent_dropout_masks(...)}``. The masks have no gradient. For
    evaluation, scan with ``params`` alone.

    Args:
        cell: A recurrent cell.

    Returns:
        A cell with the parameters and the carry of ``cell``.

    Raises:
        ValueError: ``cell`` is not a cell.
    """
    check_cell(cell)

    def step(rest, carry, u, dot):
        masks = rest.get("dropout_masks")
        masked = dot if masks is None else lambda name, h: dot(name, h * jax.lax.stop_gradient(masks[name]))
        return cell.step(rest, carry, u, masked)

    return cell._replace(step=step)


def recurrent_dropout_masks(
    key: Key[Array, ""], cell: Cell, params: Params, xs: Any, rate: float
) -> dict[str, Float[Array, "..."]]:
    """Samples the masks of a ``recurrent_dropout`` cell for one batch.

    Args:
        key: A ``jax.random.key``.
        cell: The cell, with or without ``recurrent_dropout``.
        params: Its parameters.
        xs: ``[*batch, T, D]``, for its shape and dtype.
        rate: Probability of dropping a unit, in [0, 1).

    Returns:
        ``{product: mask}`` with one mask ``[*batch, H]`` per state product. The entries are 0 or 1 / (1 - rate).

    Raises:
        ValueError: The rate is not in [0, 1), or another argument has the wrong type or shape.
    """
    check_cell(cell)
    check_params(params)
    check_probability("rate", rate)
    xs = main_input(as_arrays("xs", xs))
    shapes: dict[str, tuple[int, ...]] = {}
    rest = {name: value for name, value in params.items() if name not in ("input", "recurrent")}

    def record(x):
        def dot(name, h):
            shapes[name] = h.shape
            return cell.product(get_weight(params["recurrent"], name), h)

        return cell.step(rest, cell.carry(params, x), cell.project(params["input"], x), dot)[1]

    axis = time_axis(cell, xs, time_major=False)
    jax.eval_shape(record, jax.ShapeDtypeStruct((*xs.shape[:axis], *xs.shape[axis + 1 :]), xs.dtype))
    keys = jax.random.split(key, max(len(shapes), 1))
    sample = lambda k, shape: jnp.where(jax.random.bernoulli(k, 1 - rate, shape), jnp.float32(1 / (1 - rate)), 0)
    return {name: sample(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=False)}


def residual(cell: Cell) -> Cell:
    r"""Adds a residual connection to a cell, :math:`y_t + x_t` (Wu et al. 2016, arXiv:1609.08144).

    Args:
        cell: A recurrent cell with as many output features as input features.

    Returns:
        A cell with the parameters and the carry of ``cell``. It is linear in its state if ``cell`` is.

    Raises:
        ValueError: ``cell`` is not a cell; in ``scan``, if the input and the output have different shapes.
    """
    check_cell(cell)

    def add_input(y, x):
        if y.shape != x.shape:
            raise ValueError(f"residual: the shapes of input and output must be equal, got {x.shape} and {y.shape}")
        return y + x.astype(y.dtype)

    def project(params, xs):
        return cell.project(params, xs), main_input(xs)

    inner = cell.step
    if isinstance(inner, LinearStep):
        linear = LinearStep(
            coefficients=lambda rest, u: inner.coefficients(rest, u[0]),
            output=lambda rest, s, u, dot: add_input(inner.output(rest, s, u[0], dot), u[1]),
        )
        return cell._replace(project=project, step=linear)

    def step(rest, carry, u, dot):
        carry, y = inner(rest, carry, u[0], dot)
        return carry, add_input(y, u[1])

    return cell._replace(project=project, step=step)


def learned_carry(cell: Cell) -> Cell:
    """Makes the initial carry of a cell a parameter, ``params["carry"]``.

    The learned carry is shared by all rows of a batch and initialized to zeros.

    Args:
        cell: A recurrent cell with inputs ``[*batch, T, D]``.

    Returns:
        A cell.

    Raises:
        ValueError: The inputs of ``cell`` are images: ``init`` does not know their size.
    """
    check_cell(cell)
    if cell.axes != 1:
        raise ValueError("`cell` of learned_carry must have inputs [*batch, T, D], got a cell over images")

    def init(key, features):
        params = cell.init(key, features)
        shapes = jax.eval_shape(cell.carry, params, jax.ShapeDtypeStruct((features,), jnp.float32))
        return {**params, "carry": jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), shapes)}

    def carry(params, xs):
        like = jax.eval_shape(cell.carry, params, xs)
        return jax.tree.map(lambda a, b: jnp.broadcast_to(a.astype(b.dtype), b.shape), params["carry"], like)

    return cell._replace(init=init, carry=carry)


def wrap(hidden_size: int, cell: Callable[[int], Cell], wrappers: Sequence[Callable[[Cell], Cell]]) -> Cell:
    """Makes a cell and applies wrappers to it, the first one innermost.

    ``functools.partial(wrap, cell=..., wrappers=...)`` is a function from ``hidden_size`` to a cell, for the
    attribute ``cell`` of models. In a config, use the form ``{"factory": "recurrent.wrap", ...}``.

    Args:
        hidden_size: H, the number of hidden units.
        cell: A function from H to a cell, such as ``recurrent.lstm``.
        wrappers: Functions from cell to cell, such as ``recurrent.residual``.

    Returns:
        The wrapped cell.
    """
    return functools.reduce(lambda inner, wrapper: wrapper(inner), wrappers, cell(hidden_size))
