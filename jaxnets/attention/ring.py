"""Attention of one sequence that is divided over devices: keys and values travel round a ring of them.

Liu, Zaharia and Abbeel 2023 (arXiv:2310.01889). Every device has its part of the queries, meets every part of the keys
and values, and hands it on. What it finds of a part are the softmax's outputs and the logarithms of its sums, from
which those of all parts follow. The gradient goes round once more, with those of keys and values as they come to be.
"""

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from jaxnets.attention.chunked import backward, finite, forward, in_blocks
from jaxnets.attention.masking import Limits, Pattern
from jaxnets.devices import device_count, divided, padded
from jaxnets.ops.dtypes import at_least_float32


class Ring(NamedTuple):
    """An implementation of ``attention`` in which queries, keys and values are divided over devices by time.

    Each of n devices has T / n queries and S / n keys, and memory linear in these; where n does not divide T or S, they
    are padded. A device sends the keys and values that it has to the next one, n - 1 times, while it computes with
    them. With ``causal`` or a window it computes nothing of parts that its queries do not see, but waits for the
    devices that do. There can be no mask and no bias as an array; dropout drops other weights than on one device.

    Attributes:
        mesh: The devices.
        axis: The axis of the mesh that time is divided over. What its other axes divide, such as a batch or heads, they
            go on dividing.
    """

    mesh: Mesh
    axis: str


class Parts(NamedTuple):
    """How sequences are divided: over which axis, of how many devices, of how many queries and keys each."""

    axis: str
    devices: int
    queries: int
    keys: int


def in_ring(
    ring: Ring,
    pattern: Pattern,
    limits: Limits,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    blocks: tuple[int, int] | None,
) -> jax.Array:
    """As ``in_blocks`` of ``chunked``, over devices."""
    count = device_count(ring.mesh, ring.axis)
    t, s = query.shape[3], key.shape[2]
    parts = Parts(ring.axis, count, -(-t // count), -(-s // count))
    query = padded(query, 3, parts.queries * count)
    key, value = (padded(a, 2, parts.keys * count) for a in (key, value))
    return _run(ring.mesh, parts, pattern, blocks, query, key, value, limits)[:, :, :, :t]


@functools.partial(jax.jit, static_argnums=range(4))
def _run(mesh, parts, pattern, blocks, query, key, value, limits):
    def of_device(query, key, value, limits):
        return in_blocks(functools.partial(_ring, parts), pattern, limits, None, query, key, value, blocks)

    return divided(of_device, mesh, parts.axis, (3, 2, 2, None), 3)(query, key, value, limits)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _ring(parts, pattern, blocks, query, key, value, bias, limits):
    """Of one device, all arguments but ``parts`` as those of ``chunked``; there is no bias."""
    return _forward(parts, pattern, blocks, query, key, value, limits)[0]


def _forward(parts, pattern, blocks, query, key, value, limits):
    def meet(number, found, held):
        seen, of = _part(parts, pattern, limits, number)
        keys, values = held
        return _merged(found, forward(seen, blocks, query, keys, values, None, of))

    def visit(number, state):
        found, held = state
        return meet(number, found, held), _handed_on(parts, held)

    shape, dtype = query.shape[:-1], at_least_float32(query.dtype)
    nothing = jnp.zeros((*shape, value.shape[-1]), dtype), jnp.full(shape, -jnp.inf, dtype)
    last = parts.devices - 1
    return meet(last, *lax.fori_loop(0, last, visit, (nothing, (key, value))))


def _forward_rule(parts, pattern, blocks, query, key, value, bias, limits):
    outputs, sums = _forward(parts, pattern, blocks, query, key, value, limits)
    return outputs, (query, key, value, limits, outputs, sums)


def _backward_rule(parts, pattern, blocks, kept, gradient):
    query, key, value, limits, *found = kept

    def meet(number, made, held):
        seen, of = _part(parts, pattern, limits, number)
        *more, _ = backward(seen, blocks, (query, *held, None, of, *found), gradient)
        dquery, *others = jax.tree.map(jnp.add, made, tuple(more))
        # The gradients of keys and values go where these go, and in the end are where they began.
        return dquery, *_handed_on(parts, others)

    def visit(number, state):
        made, held = state
        return meet(number, made, held), _handed_on(parts, held)

    zeros = tuple(jnp.zeros(a.shape, found[0].dtype) for a in (query, key, value))
    last = parts.devices - 1
    made = meet(last, *lax.fori_loop(0, last, visit, (zeros, (key, value))))
    return *(a.astype(of.dtype) for a, of in zip(made, kept, strict=False)), None, None


_ring.defvjp(_forward_rule, _backward_rule)


def _handed_on(parts: Parts, tree: Any) -> Any:
    """From every device to the next."""
    return lax.ppermute(tree, parts.axis, [(i, (i + 1) % parts.devices) for i in range(parts.devices)])


def _part(parts: Parts, pattern: Pattern, limits: Limits, number: Any) -> tuple[Pattern, Limits]:
    """Who sees whom of this device's queries and the keys that it has after they were handed on so many times."""
    here = lax.axis_index(parts.axis)
    owner = (here - number) % parts.devices
    first = owner * parts.keys
    bias = pattern.bias
    if bias is not None:
        pattern = pattern._replace(bias=lambda at, of: bias(at + first, of + first))
    limits = limits._replace(
        lengths=jnp.clip(limits.lengths - first, 0, parts.keys),
        offset=limits.offset + here * parts.queries - first,
        key=None if limits.key is None else jax.random.fold_in(limits.key, here * parts.devices + owner),
    )
    return pattern, limits


def _merged(found: tuple[jax.Array, jax.Array], more: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Outputs and logarithms of sums of some keys and of others as those of all of them."""
    (ys, sums), (zs, others) = found, more
    chex.assert_equal_shape([ys, zs])
    chex.assert_equal_shape([sums, others])
    both = jnp.logaddexp(sums, others)
    share = lambda logs: jnp.exp(logs - finite(both))[..., None]
    return share(sums) * ys + share(others) * zs, both
