r"""One long sequence divided over devices, for cells that are linear in their state.

All steps of a device's part together are one linear step,

.. math::
    s_{\mathrm{last}} = A \odot s_{\mathrm{before}} + B, \quad A = \prod_t a_t

Every device finds A and B of its part, all devices tell them to each other (which is all that they say, however long
the sequence), compose those of the parts before their own to the state before it, and run their part from there
(Martin and Cundy 2018, arXiv:1709.04057). The input is projected twice, so that no projection has to be kept.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from jaxnets.devices import device_count, divided, padded
from jaxnets.recurrent.cell import Carry, Cell, LinearStep, Params, main_input
from jaxnets.recurrent.checking import arrays, check_cell, first_carry, one_array, one_input, time_axis
from jaxnets.recurrent.executors.associative import Associative, check_linear, linear_states
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.executors.newton import Newton
from jaxnets.recurrent.executors.sequential import Sequential
from jaxnets.recurrent.methods import resolve_method
from jaxnets.recurrent.scan import scan


def scan_over_devices(
    cell: Cell,
    params: Params,
    xs: Any,
    carry: Carry | None = None,
    *,
    mesh: Mesh,
    axis: str,
    lengths: jax.Array | None = None,
    resets: jax.Array | None = None,
    reverse: bool = False,
    time_major: bool = False,
    method: str | Method = "auto",
) -> tuple[Carry, jax.Array]:
    """As ``scan``, with time divided over devices.

    Between the n devices go n carries and as many decays, in the gradient too, however long the sequence.

    Args:
        cell: A cell that is linear in its state.
        params, xs, carry, lengths, resets, reverse, time_major: As in ``scan``. Where T is no multiple of the number of
            devices n, the sequence is padded to one.
        mesh: The devices.
        axis: The axis of the mesh that time is divided over: each of the n devices along it computes T / n steps. What
            its other axes divide, such as a batch, they go on dividing.
        method: How each device runs its part, as in ``scan``.

    Returns:
        As ``scan``: the last carry, on every device, and the outputs, divided as xs are.

    Raises:
        ValueError: As ``scan``, or the cell is not linear in its state, or the mesh has no such axis.
    """
    check_cell(cell)
    check_linear("scan_over_devices", cell)
    count = device_count(mesh, axis)
    params, xs, carry = arrays("params", params), arrays("xs", xs), arrays("carry", carry)
    lengths, resets = one_array("lengths", lengths), one_array("resets", resets)
    how: dict[str, Any] = {"reverse": reverse, "time_major": time_major, "method": resolve_method(cell, method)}
    jax.eval_shape(functools.partial(scan, cell, lengths=lengths, resets=resets, **how), params, xs, carry)
    leaf = main_input(xs)
    time = time_axis(cell, leaf, time_major)
    length, batch = leaf.shape[time], (*leaf.shape[:time], *leaf.shape[time + 1 :])[: leaf.ndim - 1 - cell.axes]
    carry = first_carry(cell, params, one_input(xs, time), carry, leaf.dtype)
    size = -(-length // count)
    if length != size * count:
        lengths = jnp.full(batch, length) if lengths is None else lengths
        xs, resets = jax.tree.map(lambda a: padded(a, time, size * count), (xs, resets))
    last, ys = _run(cell, mesh, axis, time, tuple(how.items()), params, xs, carry, lengths, resets)
    return last, lax.slice_in_dim(ys, 0, length, axis=time)


@functools.partial(jax.jit, static_argnums=range(5))
def _run(cell, mesh, axis, time, how, params, xs, carry, lengths, resets):
    count = device_count(mesh, axis)

    def of_device(params, xs, carry, lengths, resets):
        number = lax.axis_index(axis)
        leaf = main_input(xs)
        size = leaf.shape[time]
        options = {**dict(how), "resets": resets}
        if lengths is not None:
            options["lengths"] = jnp.clip(lengths.astype(number.dtype) - number * size, 0, size)
        place = leaf.ndim - 2 - cell.axes - jax.tree.leaves(carry)[0].ndim  # after the batch's axes, from the end
        beside = functools.partial(jax.tree.map, lambda b, a: jnp.stack([b, a], place))
        start = beside(jax.tree.map(jnp.zeros_like, carry), _no_decay(carry))
        total = scan(_with_decay(cell, place), params, xs, start, **{**options, "method": _frugal(options["method"])})[
            0
        ]
        totals = lax.all_gather(total, axis)
        if options["reverse"]:
            number = count - 1 - number
            totals = jax.tree.map(lambda a: a[::-1], totals)
        increment, decay = (jax.tree.map(lambda a, i=i: jnp.take(a, i, place), totals) for i in (0, 1))
        after = linear_states(decay, increment, carry)
        before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b])[number], carry, after)
        return jax.tree.map(lambda a: a[-1], after), scan(cell, params, xs, before, **options)[1]

    run = divided(of_device, mesh, axis, (None, time, None, None, time), (None, time))
    return run(params, xs, carry, lengths, resets)


def _frugal(method: Method) -> Method:
    """A method that keeps as little as it can for its gradient: of the first pass only the last carry is used."""
    if isinstance(method, Sequential | Associative | Newton):
        return dataclasses.replace(method, keep="boundaries")
    return method


def _no_decay(carry: Carry) -> Carry:
    """1, or the pair of 1 and 0."""
    return jax.tree.map(jnp.full_like, carry, (1.0, 0.0) if isinstance(carry, tuple) else 1.0)


def _with_decay(cell: Cell, place: int) -> Cell:
    """A cell whose state is that of ``cell`` and, beside it along a new axis, the product of all decays.

    Both are multiplied by the same decay; to the second nothing is added, nor at a reset: it is 0 from there on. What
    it puts out is empty.
    """
    inner = cell.step
    assert isinstance(inner, LinearStep)
    beside_zeros = functools.partial(jax.tree.map, lambda b: jnp.stack([b, jnp.zeros_like(b)], place))

    def coefficients(rest, u):
        decay, increment = inner.coefficients(rest, u)
        widened = lambda a: jnp.expand_dims(a, place) if a.ndim >= -place - 1 else a
        return jax.tree.map(widened, decay), beside_zeros(increment)

    return cell._replace(
        carry=lambda params, x: beside_zeros(cell.carry(params, x)),
        step=LinearStep(coefficients, lambda rest, s, u, dot: jax.tree.leaves(s)[0][..., :0]),
    )
