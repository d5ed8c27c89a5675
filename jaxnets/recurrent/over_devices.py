r"""Scan of long sequences with time sharded over devices, for cells that are linear in their state.

The composition of all steps of a shard is one linear step,

.. math::
    s_{\mathrm{last}} = A \odot s_{\mathrm{first}} + B, \quad A = \prod_t a_t

Each device computes A and B of its shard and gathers A and B of all shards. The composition of the preceding shards
gives its initial carry, with which it scans its shard (Martin and Cundy 2018, arXiv:1709.04057). The amount of
communication does not depend on the length of the sequences. Inputs are projected twice, so that the projections need
not be stored.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from jaxnets.devices import device_count, pad_axis, shard_axis
from jaxnets.ops.array_types import Array, ArrayLike, Bool, Float, Integer
from jaxnets.recurrent.cell import Carry, Cell, LinearStep, Params, main_input
from jaxnets.recurrent.checking import as_array, as_arrays, check_cell, resolve_carry, time_axis, zeros_for_step
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
    lengths: Integer[ArrayLike, "..."] | Sequence[int] | None = None,
    resets: Bool[ArrayLike, "..."] | Sequence[Any] | None = None,
    reverse: bool = False,
    time_major: bool = False,
    method: str | Method = "auto",
) -> tuple[Carry, Float[Array, "..."]]:
    """Runs a cell over a batch of sequences, as ``scan``, with time sharded over devices.

    The n devices exchange n carries and n decays, in the backward pass too, for sequences of any length.

    Args:
        cell: A recurrent cell that is linear in its state.
        params, xs, carry, lengths, resets, reverse, time_major: As in ``scan``. If T is not a multiple of the number of
            devices n, the sequences are padded.
        mesh: The device mesh.
        axis: The mesh axis over which time is sharded: each of its n devices computes T / n steps. The other mesh axes
            may shard other axes of the arrays, such as the batch.
        method: The algorithm for the shard of each device, as in ``scan``.

    Returns:
        The last carry, replicated over ``axis``, and the outputs, sharded as ``xs``.

    Raises:
        ValueError: The cell is not linear in its state, the mesh has no axis ``axis``, or an argument of ``scan`` is
            invalid.
    """
    check_cell(cell)
    check_linear("scan_over_devices", cell)
    count = device_count(mesh, axis)
    params, xs, carry = as_arrays("params", params), as_arrays("xs", xs), as_arrays("carry", carry)
    lengths, resets = as_array("lengths", lengths), as_array("resets", resets)
    options: dict[str, Any] = {"reverse": reverse, "time_major": time_major, "method": resolve_method(cell, method)}
    jax.eval_shape(functools.partial(scan, cell, lengths=lengths, resets=resets, **options), params, xs, carry)
    leaf = main_input(xs)
    time = time_axis(cell, leaf, time_major)
    length, batch = leaf.shape[time], (*leaf.shape[:time], *leaf.shape[time + 1 :])[: leaf.ndim - 1 - cell.axes]
    carry = resolve_carry(cell, params, zeros_for_step(xs, time), carry, leaf.dtype)
    size = -(-length // count)
    if length != size * count:
        lengths = jnp.full(batch, length) if lengths is None else lengths
        xs, resets = jax.tree.map(lambda a: pad_axis(a, time, size * count), (xs, resets))
    last, ys = _sharded_scan(cell, mesh, axis, time, tuple(options.items()), params, xs, carry, lengths, resets)
    return last, lax.slice_in_dim(ys, 0, length, axis=time)


@functools.partial(jax.jit, static_argnums=range(5))
def _sharded_scan(cell, mesh, axis, time, scan_options, params, xs, carry, lengths, resets):
    count = device_count(mesh, axis)

    def scan_shard(params, xs, carry, lengths, resets):
        index = lax.axis_index(axis)
        leaf = main_input(xs)
        size = leaf.shape[time]
        options = {**dict(scan_options), "resets": resets}
        if lengths is not None:
            options["lengths"] = jnp.clip(lengths.astype(index.dtype) - index * size, 0, size)
        # State and decay are stacked along a new axis after the batch axes. Its index is negative.
        pair_axis = leaf.ndim - 2 - cell.axes - jax.tree.leaves(carry)[0].ndim
        stack = functools.partial(jax.tree.map, lambda b, a: jnp.stack([b, a], pair_axis))
        start = stack(jax.tree.map(jnp.zeros_like, carry), _unit_decay(carry))
        first_pass = {**options, "method": _with_least_memory(options["method"])}
        total, _ = scan(_with_decay(cell, pair_axis), params, xs, start, **first_pass)
        totals = lax.all_gather(total, axis)
        if options["reverse"]:
            index = count - 1 - index
            totals = jax.tree.map(lambda a: a[::-1], totals)
        increment, decay = (jax.tree.map(lambda a, i=i: jnp.take(a, i, pair_axis), totals) for i in (0, 1))
        after = linear_states(decay, increment, carry)
        before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b])[index], carry, after)
        return jax.tree.map(lambda a: a[-1], after), scan(cell, params, xs, before, **options)[1]

    run = shard_axis(scan_shard, mesh, axis, (None, time, None, None, time), (None, time))
    return run(params, xs, carry, lengths, resets)


def _with_least_memory(method: Method) -> Method:
    """Returns a method that saves as little as possible for the gradient; the first pass needs only the last carry."""
    if isinstance(method, Sequential | Associative | Newton):
        return dataclasses.replace(method, keep="boundaries")
    return method


def _unit_decay(carry: Carry) -> Carry:
    """Returns a decay of 1 for a real carry, or (1, 0) for a complex carry."""
    return jax.tree.map(jnp.full_like, carry, (1.0, 0.0) if isinstance(carry, tuple) else 1.0)


def _with_decay(cell: Cell, pair_axis: int) -> Cell:
    """Returns a cell that computes the state of ``cell`` and the product of all decays, stacked along ``pair_axis``.

    Both are multiplied by the decay of each step, and only the state has an increment. A reset sets the product to 0.
    The outputs are empty.
    """
    inner = cell.step
    assert isinstance(inner, LinearStep)
    stack_zeros = functools.partial(jax.tree.map, lambda b: jnp.stack([b, jnp.zeros_like(b)], pair_axis))

    def coefficients(rest, u):
        decay, increment = inner.coefficients(rest, u)
        expand = lambda a: jnp.expand_dims(a, pair_axis) if a.ndim >= -pair_axis - 1 else a
        return jax.tree.map(expand, decay), stack_zeros(increment)

    return cell._replace(
        carry=lambda params, x: stack_zeros(cell.carry(params, x)),
        step=LinearStep(coefficients, lambda rest, s, u, dot: jax.tree.leaves(s)[0][..., :0]),
    )
