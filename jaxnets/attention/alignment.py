"""Attention of recurrent decoders: additive (Bahdanau et al. 2014) and multiplicative (Luong et al. 2015) scores."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxnets.attention.masking import softmax
from jaxnets.ops.checks import check_integer, checked_integers
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import valid_steps

Params = dict[str, jax.Array]


def additive_init(key: jax.Array, query: int, memory: int, hidden_size: int) -> Params:
    """Parameters ``{query [Q, H], memory [M, H], bias [H], score [H]}`` of ``additive_scores``."""
    for name, size in (("query", query), ("memory", memory), ("hidden_size", hidden_size)):
        check_integer(name, size)
    glorot = jax.nn.initializers.glorot_uniform()
    first, second, third = jax.random.split(key, 3)
    return {
        "query": glorot(first, (query, hidden_size)),
        "memory": glorot(second, (memory, hidden_size)),
        "bias": jnp.zeros(hidden_size),
        "score": glorot(third, (hidden_size, 1))[:, 0],
    }


def additive_scores(params: Params, query: jax.Array, memory: jax.Array) -> jax.Array:
    r"""Bahdanau's scores (arXiv:1409.0473), a small network of both:

    .. math:: e_{ts} = v^\top \tanh(q_t W_q + m_s W_m + b)

    Args:
        params: As ``additive_init`` makes them.
        query: q, ``[*batch, T, Q]``, such as a decoder's states.
        memory: m, ``[*batch, S, M]``, such as an encoder's outputs.

    Returns:
        ``[*batch, T, S]``.
    """
    of_memory = memory @ params["memory"]
    of_memory += jnp.expand_dims(params["bias"], tuple(range(memory.ndim - 1)))
    units = jnp.tanh((query @ params["query"])[..., None, :] + of_memory[..., None, :, :])
    return jnp.matmul(units, params["score"], preferred_element_type=at_least_float32(units.dtype))


def multiplicative_init(key: jax.Array, query: int, memory: int) -> Params:
    """Parameters ``{kernel [Q, M]}`` of ``multiplicative_scores``."""
    check_integer("query", query)
    check_integer("memory", memory)
    return {"kernel": jax.nn.initializers.glorot_uniform()(key, (query, memory))}


def multiplicative_scores(params: Params, query: jax.Array, memory: jax.Array) -> jax.Array:
    r"""Luong's general scores (arXiv:1508.04025): :math:`e_{ts} = q_t W m_s`; without W, of ``{}``, the product alone.

    Args:
        params: As ``multiplicative_init`` makes them, or {}.
        query: q, ``[*batch, T, Q]``.
        memory: m, ``[*batch, S, M]``.

    Returns:
        ``[*batch, T, S]``.
    """
    query = query @ params["kernel"] if params else query
    return jnp.einsum("...tm,...sm->...ts", query, memory, preferred_element_type=at_least_float32(query.dtype))


def attend(
    scores: Callable[[Params, jax.Array, jax.Array], jax.Array],
    params: Params,
    query: jax.Array,
    memory: jax.Array,
    lengths: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    r"""What a decoder reads from a memory: :math:`c_t = \sum_s a_{ts} m_s`, :math:`a_t = \mathrm{softmax}(e_t)`.

    Args:
        scores: ``additive_scores`` or ``multiplicative_scores``.
        params: Of them.
        query: ``[*batch, T, Q]``.
        memory: ``[*batch, S, M]``.
        lengths: Integers ``[*batch]``, how many of the memory's steps are real; None: all.

    Returns:
        The contexts ``[*batch, T, M]`` and the weights ``[*batch, T, S]``, both zeros where nothing is real.
    """
    *batch, s, _ = memory.shape
    if lengths is not None:
        real = valid_steps(checked_integers("lengths", lengths, tuple(batch), s), s)
        memory = jnp.where(real[..., None], memory, 0)
    logits = scores(params, query, memory).astype(at_least_float32(memory.dtype))
    weights = softmax(logits if lengths is None else jnp.where(real[..., None, :], logits, -jnp.inf))
    return weights.astype(memory.dtype) @ memory, weights
