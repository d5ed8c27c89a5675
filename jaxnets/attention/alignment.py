"""Attention of recurrent decoders: additive (Bahdanau et al. 2014) and multiplicative (Luong et al. 2015) scores."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxnets.attention.masking import softmax
from jaxnets.ops.array_types import Array, ArrayLike, Float, Integer, Key
from jaxnets.ops.checks import check_integer, checked_integers
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import valid_steps

Params = dict[str, jax.Array]


def additive_init(key: Key[Array, ""], query_size: int, memory_size: int, hidden_size: int) -> Params:
    """Initializes the parameters of ``additive_scores``.

    Returns:
        ``{"query": [Q, H], "memory": [M, H], "bias": [H], "score": [H]}``.
    """
    for name, size in (("query_size", query_size), ("memory_size", memory_size), ("hidden_size", hidden_size)):
        check_integer(name, size)
    glorot = jax.nn.initializers.glorot_uniform()
    query_key, memory_key, score_key = jax.random.split(key, 3)
    return {
        "query": glorot(query_key, (query_size, hidden_size)),
        "memory": glorot(memory_key, (memory_size, hidden_size)),
        "bias": jnp.zeros(hidden_size),
        "score": glorot(score_key, (hidden_size, 1))[:, 0],
    }


def additive_scores(
    params: Params, query: Float[Array, "*batch T Q"], memory: Float[Array, "*batch S M"]
) -> Float[Array, "*batch T S"]:
    r"""Computes additive attention scores (Bahdanau et al. 2014, arXiv:1409.0473):

    .. math:: e_{ts} = v^\top \tanh(q_t W_q + m_s W_m + b)

    Args:
        params: Parameters from ``additive_init``.
        query: q, ``[*batch, T, Q]``, such as the states of a decoder.
        memory: m, ``[*batch, S, M]``, such as the outputs of an encoder.

    Returns:
        ``[*batch, T, S]``.
    """
    projected = memory @ params["memory"]
    projected += jnp.expand_dims(params["bias"], tuple(range(memory.ndim - 1)))
    units = jnp.tanh((query @ params["query"])[..., None, :] + projected[..., None, :, :])
    return jnp.matmul(units, params["score"], preferred_element_type=at_least_float32(units.dtype))


def multiplicative_init(key: Key[Array, ""], query_size: int, memory_size: int) -> Params:
    """Initializes the parameters ``{"kernel": [Q, M]}`` of ``multiplicative_scores``."""
    check_integer("query_size", query_size)
    check_integer("memory_size", memory_size)
    return {"kernel": jax.nn.initializers.glorot_uniform()(key, (query_size, memory_size))}


def multiplicative_scores(
    params: Params, query: Float[Array, "*batch T Q"], memory: Float[Array, "*batch S M"]
) -> Float[Array, "*batch T S"]:
    r"""Computes multiplicative attention scores :math:`e_{ts} = q_t W m_s` (Luong et al. 2015, arXiv:1508.04025).

    Args:
        params: Parameters from ``multiplicative_init``; {}: dot products without W.
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
    query: Float[Array, "*batch T Q"],
    memory: Float[Array, "*batch S M"],
    lengths: Integer[ArrayLike, "..."] | None = None,
) -> tuple[Float[Array, "*batch T M"], Float[Array, "*batch T S"]]:
    r"""Computes context vectors :math:`c_t = \sum_s a_{ts} m_s` with weights :math:`a_t = \mathrm{softmax}(e_t)`.

    Args:
        scores: The score function, ``additive_scores`` or ``multiplicative_scores``.
        params: Parameters of the score function.
        query: ``[*batch, T, Q]``.
        memory: ``[*batch, S, M]``.
        lengths: Integers ``[*batch]``, number of valid steps of the memory; None: all steps are valid.

    Returns:
        The contexts ``[*batch, T, M]`` and the weights ``[*batch, T, S]``; both are zero if no step is valid.
    """
    *batch, s, _ = memory.shape
    if lengths is not None:
        valid = valid_steps(checked_integers("lengths", lengths, tuple(batch), s), s)
        memory = jnp.where(valid[..., None], memory, 0)
    logits = scores(params, query, memory).astype(at_least_float32(memory.dtype))
    weights = softmax(logits if lengths is None else jnp.where(valid[..., None, :], logits, -jnp.inf))
    return weights.astype(memory.dtype) @ memory, weights
