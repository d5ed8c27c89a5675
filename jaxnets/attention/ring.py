"""Ring attention: attention of a sequence that is sharded over devices.

Liu, Zaharia and Abbeel 2023 (arXiv:2310.01889). Each device holds one shard of the queries, and passes shards of keys
and values around a ring. For each shard of keys it computes outputs and log-sum-exps, which are merged into those of
all keys. The backward pass goes around the ring once more and passes the gradients of keys and values along with them.
"""

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from jaxnets.attention.chunked import backward, finite_max, forward, in_blocks
from jaxnets.attention.masking import AttentionConfig, MaskArrays
from jaxnets.devices import device_count, pad_axis, shard_axis
from jaxnets.ops.dtypes import at_least_float32


class Ring(NamedTuple):
    """An implementation of ``attention`` for queries, keys and values that are sharded over time.

    Each of n devices holds T / n queries and S / n keys, padded if n is not a divisor, in memory linear in both. A
    device sends its keys and values to the next one n - 1 times, while it computes with them. With ``causal`` or a
    window it skips shards that are masked completely, but waits for the other devices. Masks, and biases given as
    arrays, are not supported. Dropout masks differ from those on one device.

    Attributes:
        mesh: The mesh of devices.
        axis: The mesh axis over which time is sharded. Other axes of the mesh may shard the batch or heads.
    """

    mesh: Mesh
    axis: str


class Shards(NamedTuple):
    """Sharding of sequences.

    Attributes:
        axis: Mesh axis.
        num_devices: Number of devices along the axis.
        num_queries: Queries per device.
        num_keys: Keys per device.
    """

    axis: str
    num_devices: int
    num_queries: int
    num_keys: int


def in_ring(
    ring: Ring,
    config: AttentionConfig,
    masks: MaskArrays,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    blocks: tuple[int, int] | None,
) -> jax.Array:
    """Computes attention over the devices of a ring; arguments as in ``in_blocks``."""
    count = device_count(ring.mesh, ring.axis)
    t, s = query.shape[3], key.shape[2]
    shards = Shards(ring.axis, count, -(-t // count), -(-s // count))
    query = pad_axis(query, 3, shards.num_queries * count)
    key, value = (pad_axis(a, 2, shards.num_keys * count) for a in (key, value))
    return _run(ring.mesh, shards, config, blocks, query, key, value, masks)[:, :, :, :t]


@functools.partial(jax.jit, static_argnums=range(4))
def _run(mesh, shards, config, blocks, query, key, value, masks):
    def on_device(query, key, value, masks):
        return in_blocks(functools.partial(_ring, shards), config, masks, None, query, key, value, blocks)

    return shard_axis(on_device, mesh, shards.axis, (3, 2, 2, None), 3)(query, key, value, masks)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _ring(shards, config, blocks, query, key, value, bias, masks):
    """Computes attention on one device; arguments as in ``chunked``, but ``bias`` is ignored."""
    return _forward(shards, config, blocks, query, key, value, masks)[0]


def _forward(shards, config, blocks, query, key, value, masks):
    def attend(hop, results, key_value):
        shard_config, shard_masks = _shard_masking(shards, config, masks, hop)
        keys, values = key_value
        return _merge(results, forward(shard_config, blocks, query, keys, values, None, shard_masks))

    def attend_and_send(hop, state):
        results, key_value = state
        return attend(hop, results, key_value), _send_to_next(shards, key_value)

    shape, dtype = query.shape[:-1], at_least_float32(query.dtype)
    empty = jnp.zeros((*shape, value.shape[-1]), dtype), jnp.full(shape, -jnp.inf, dtype)
    last = shards.num_devices - 1
    return attend(last, *lax.fori_loop(0, last, attend_and_send, (empty, (key, value))))


def _forward_rule(shards, config, blocks, query, key, value, bias, masks):
    outputs, sums = _forward(shards, config, blocks, query, key, value, masks)
    return outputs, (query, key, value, masks, outputs, sums)


def _backward_rule(shards, config, blocks, residuals, gradient):
    query, key, value, masks, *results = residuals

    def accumulate(hop, gradients, key_value):
        shard_config, shard_masks = _shard_masking(shards, config, masks, hop)
        *new, _ = backward(shard_config, blocks, (query, *key_value, None, shard_masks, *results), gradient)
        dquery, *dkey_value = jax.tree.map(jnp.add, gradients, tuple(new))
        # The gradients of keys and values travel with them, and arrive at their owners after the last hop.
        return dquery, *_send_to_next(shards, dkey_value)

    def accumulate_and_send(hop, state):
        gradients, key_value = state
        return accumulate(hop, gradients, key_value), _send_to_next(shards, key_value)

    zeros = tuple(jnp.zeros(a.shape, results[0].dtype) for a in (query, key, value))
    last = shards.num_devices - 1
    gradients = accumulate(last, *lax.fori_loop(0, last, accumulate_and_send, (zeros, (key, value))))
    return *(g.astype(a.dtype) for g, a in zip(gradients, residuals, strict=False)), None, None


_ring.defvjp(_forward_rule, _backward_rule)


def _send_to_next(shards: Shards, tree: Any) -> Any:
    """Sends arrays from each device to the next one."""
    count = shards.num_devices
    return lax.ppermute(tree, shards.axis, [(i, (i + 1) % count) for i in range(count)])


def _shard_masking(
    shards: Shards, config: AttentionConfig, masks: MaskArrays, hop: Any
) -> tuple[AttentionConfig, MaskArrays]:
    """Returns options and masks for the device's queries and the keys that it holds after ``hop`` hops."""
    device = lax.axis_index(shards.axis)
    owner = (device - hop) % shards.num_devices
    first_key = owner * shards.num_keys
    bias = config.bias
    if bias is not None:
        config = config._replace(bias=lambda queries, keys: bias(queries + first_key, keys + first_key))
    masks = masks._replace(
        lengths=jnp.clip(masks.lengths - first_key, 0, shards.num_keys),
        offset=masks.offset + device * shards.num_queries - first_key,
        key=None if masks.key is None else jax.random.fold_in(masks.key, device * shards.num_devices + owner),
    )
    return config, masks


def _merge(left: tuple[jax.Array, jax.Array], right: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Merges outputs and log-sum-exps over two disjoint sets of keys."""
    (left_ys, left_sums), (right_ys, right_sums) = left, right
    chex.assert_equal_shape([left_ys, right_ys])
    chex.assert_equal_shape([left_sums, right_sums])
    sums = jnp.logaddexp(left_sums, right_sums)
    weight = lambda logs: jnp.exp(logs - finite_max(sums))[..., None]
    return weight(left_sums) * left_ys + weight(right_sums) * right_ys, sums
