"""Cells made from cells: zoneout, variational dropout, residual connections, a learned initial carry."""

import functools
import numbers
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxnets.recurrent.cell import Carry, Cell, LinearStep, Params, main_input, named_weight
from jaxnets.recurrent.checking import arrays, check_cell, check_params, time_axis


def zoneout(cell: Cell, rate: float | tuple[float, ...]) -> Cell:
    r"""Zoneout (Krueger et al. 2017, arXiv:1606.01305): a unit of the carry keeps its old value with probability rate.

    .. math::
        c_t = m_t \odot c_{t-1} + (1 - m_t) \odot \tilde c_t, \quad m_t \sim \mathrm{Bernoulli}(\mathrm{rate})

    Scan it over ``(xs, masks)``, with masks from ``zoneout_masks``, to train; over ``xs`` alone the expectation of m is
    used. Parameters and carry are the cell's.

    Args:
        cell: The cell.
        rate: One probability, or one for each array of the carry (for an LSTM h, c; the paper has .05, .5).

    Raises:
        ValueError: A rate is not in [0, 1].
    """
    check_cell(cell)
    for value in rate if isinstance(rate, tuple) else (rate,):
        if not isinstance(value, numbers.Real) or not 0 <= value <= 1:
            raise ValueError(f"rate: a probability expected; given {value!r}")

    def project(params, xs):
        x, masks = xs if isinstance(xs, tuple) else (xs, None)
        return cell.project(params, x), masks

    def step(rest, carry, u, dot):
        u, masks = u
        new, y = cell.step(rest, carry, u, dot)
        leaves, tree = jax.tree.flatten(new)
        old = jax.tree.leaves(carry)
        if masks is None:
            mixed = [r * a + (1 - r) * b for r, a, b in zip(_rates(rate, len(leaves)), old, leaves, strict=True)]
        else:
            mixed = [jnp.where(m, a, b) for m, a, b in zip(jax.tree.leaves(masks), old, leaves, strict=True)]
        # The output of most cells is a part of their carry; then it is zoned out too.
        output = next((m for m, leaf in zip(mixed, leaves, strict=True) if leaf is y), y)
        return jax.tree.unflatten(tree, mixed), output

    return cell._replace(project=project, step=step, carry=lambda params, xs: cell.carry(params, main_input(xs)))


def zoneout_masks(
    key: jax.Array, cell: Cell, params: Params, xs: jax.Array, rate: float | tuple[float, ...], time_major: bool = False
) -> Carry:
    """Random masks for a zoneout cell over ``xs [*batch, T, D]``: a tree like the carry, bool ``[*batch, T, H]``."""
    check_cell(cell)
    check_params(params)
    xs = main_input(arrays("xs", xs))
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
        raise ValueError(f"rate: one number, or {count} for the arrays of this carry, expected; given {rate}")
    return rates


def recurrent_dropout(cell: Cell) -> Cell:
    r"""Variational dropout of the state (Gal and Ghahramani 2016, arXiv:1512.05287): one mask for all steps.

    Every state product becomes :math:`(h \odot m) W` with a mask m that stays the same over time. The masks are
    parameters without a gradient step: scan with ``{**params, "dropout_masks": recurrent_dropout_masks(...)}`` to
    train, and without them to evaluate.
    """

    check_cell(cell)

    def step(rest, carry, u, dot):
        masks = rest.get("dropout_masks")
        masked = dot if masks is None else lambda name, h: dot(name, h * jax.lax.stop_gradient(masks[name]))
        return cell.step(rest, carry, u, masked)

    return cell._replace(step=step)


def recurrent_dropout_masks(key: jax.Array, cell: Cell, params: Params, xs: jax.Array, rate: float) -> Params:
    """Masks ``{product name: [*batch, H]}`` of 0 and 1 / (1 - rate) for a batch-major sequence ``xs``.

    Raises:
        ValueError: The rate is not in [0, 1).
    """
    check_cell(cell)
    check_params(params)
    if not isinstance(rate, numbers.Real) or not 0 <= rate < 1:
        raise ValueError(f"rate: a probability below 1 expected; given {rate!r}")
    xs = main_input(arrays("xs", xs))
    shapes: dict[str, tuple[int, ...]] = {}
    rest = {name: value for name, value in params.items() if name not in ("input", "recurrent")}

    def record(x):
        def dot(name, h):
            shapes[name] = h.shape
            return cell.product(named_weight(params["recurrent"], name), h)

        return cell.step(rest, cell.carry(params, x), cell.project(params["input"], x), dot)[1]

    axis = time_axis(cell, xs, time_major=False)
    jax.eval_shape(record, jax.ShapeDtypeStruct((*xs.shape[:axis], *xs.shape[axis + 1 :]), xs.dtype))
    keys = jax.random.split(key, max(len(shapes), 1))
    draw = lambda k, shape: jnp.where(jax.random.bernoulli(k, 1 - rate, shape), jnp.float32(1 / (1 - rate)), 0)
    return {name: draw(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=False)}


def residual(cell: Cell) -> Cell:
    r"""A cell whose output is :math:`y_t + x_t` (Wu et al. 2016, arXiv:1609.08144); its x has as many features as y."""

    check_cell(cell)

    def joined(y, x):
        if y.shape != x.shape:
            raise ValueError(f"residual: input and output of one width expected; given {x.shape} and {y.shape}")
        return y + x.astype(y.dtype)

    def project(params, xs):
        return cell.project(params, xs), main_input(xs)

    inner = cell.step
    if isinstance(inner, LinearStep):  # it stays one
        linear = LinearStep(
            coefficients=lambda rest, u: inner.coefficients(rest, u[0]),
            output=lambda rest, s, u, dot: joined(inner.output(rest, s, u[0], dot), u[1]),
        )
        return cell._replace(project=project, step=linear)

    def step(rest, carry, u, dot):
        carry, y = inner(rest, carry, u[0], dot)
        return carry, joined(y, u[1])

    return cell._replace(project=project, step=step)


def learned_carry(cell: Cell) -> Cell:
    """A cell whose initial carry is learned: ``params["carry"]``, one for all rows, zeros at first.

    Raises:
        ValueError: The cell reads images, whose size is not known when parameters are made.
    """
    check_cell(cell)
    if cell.axes != 1:
        raise ValueError("learned_carry: a cell over features expected; this one reads images")

    def init(key, features):
        params = cell.init(key, features)
        shapes = jax.eval_shape(cell.carry, params, jax.ShapeDtypeStruct((features,), jnp.float32))
        return {**params, "carry": jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), shapes)}

    def carry(params, xs):
        like = jax.eval_shape(cell.carry, params, xs)
        return jax.tree.map(lambda a, b: jnp.broadcast_to(a.astype(b.dtype), b.shape), params["carry"], like)

    return cell._replace(init=init, carry=carry)


def wrapped(hidden_size: int, cell: Callable[[int], Cell], wrappers: Sequence[Callable[[Cell], Cell]]) -> Cell:
    """A cell in wrappers, the last one outermost: a function from H to a cell, as models take, once H is left open.

    Args:
        hidden_size: H.
        cell: A function from H to a cell, such as ``recurrent.lstm``.
        wrappers: Functions from cell to cell, such as ``recurrent.residual``.
    """
    return functools.reduce(lambda inner, wrapper: wrapper(inner), wrappers, cell(hidden_size))
