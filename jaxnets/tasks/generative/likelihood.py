"""The likelihood of autoencoders with latent variables, by importance samples in bounded memory."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxnets.generative import bernoulli_log_prob, importance_weighted_bound, log_importance_weights, reparameterize

MAX_LOGITS = 2**22  # computed at once


def estimate_log_likelihood(
    decode: Callable[[jax.Array], jax.Array],
    bits: jax.Array,
    mean: jax.Array,
    log_variance: jax.Array,
    key: jax.Array,
    num_samples: int,
    chunk: int = 0,
) -> jax.Array:
    r"""Estimates log p(x), in nats, by importance samples from the encoder (Burda et al. 2016, arXiv:1509.00519).

    .. math:: \log \frac1K \sum_{k=1}^K \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x)

    Args:
        decode: Codes ``[K, B, Z]`` to logits ``[K, B, D]``.
        bits: x, ``[B, D]``.
        mean, log_variance: Of the encoder, ``[B, Z]``.
        key: A random key.
        num_samples: K.
        chunk: Samples of each image at once; 0: as many as give 4 million logits.

    Returns:
        ``[B]``.
    """
    chunk = min(num_samples, chunk or max(1, MAX_LOGITS // bits.size))
    chunks = -(-num_samples // chunk)

    def add(total: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        start, key = inputs
        codes = reparameterize(mean, log_variance, jax.random.normal(key, (chunk, *mean.shape), mean.dtype))
        logits = decode(codes)
        log_likelihood = bernoulli_log_prob(logits, jnp.broadcast_to(bits, logits.shape))
        log_weights = log_importance_weights(log_likelihood, codes, mean, log_variance)
        is_used = start + jnp.arange(chunk, dtype=jnp.int32) < num_samples  # the last chunk may be longer
        bound = importance_weighted_bound(jnp.where(is_used[:, None], log_weights, -jnp.inf))
        return jnp.logaddexp(total, bound + math.log(chunk)), None

    starts = chunk * jnp.arange(chunks, dtype=jnp.int32)
    total, _ = jax.lax.scan(add, jnp.full(len(mean), -jnp.inf, mean.dtype), (starts, jax.random.split(key, chunks)))
    return total - math.log(num_samples)
