"""Errors for invalid arguments of attention and convolution."""

import jax
import jax.numpy as jnp
import pytest

from jaxnets import attention, convolution

QUERY = jnp.ones((2, 6, 2, 4))
IMAGES = jnp.ones((1, 32, 32, 3))
TOKENS = jnp.zeros((1, 4), jnp.int32)
SIZES = dict(vocab_size=7, embed_dim=8, num_layers=1, num_heads=2, num_kv_heads=1, max_seq_len=8)
MODEL = attention.modern_lm(**SIZES)


def apply_with(cache):
    return MODEL.apply(MODEL.init(jax.random.key(0), TOKENS), TOKENS, cache)


CALLS = {
    "list": (
        lambda: attention.attention([1.0], QUERY, QUERY),
        r"`query` must be a floating point array \[\*batch, .*, got list",
    ),
    "window": (
        lambda: attention.attention(QUERY, QUERY, QUERY, window="a"),
        "`window` must be an integer or a pair .*, got 'a'",
    ),
    "positions": (
        lambda: attention.rotary(QUERY, jnp.arange(5)),
        r"`positions` must have a shape that broadcasts to \(2, 6\), got \(5,\)",
    ),
    "cache": (lambda: apply_with(3), "`cache` must be a cache from `start`, or None, got int"),
    "vocab_size": (
        lambda: attention.modern_lm(**{**SIZES, "vocab_size": "7"}).init(jax.random.key(0), TOKENS),
        "`vocab_size` must be an integer of at least 1, got '7'",
    ),
    "model to unstack": (
        lambda: attention.unstack(convolution.cifar_resnet20(), {}),
        "`model` must be a DecoderLM or a Transformer, got CifarResNet",
    ),
    "variables to unstack": (
        lambda: attention.unstack(MODEL, {"params": {"stem": {}}}),
        "`variables` must have blocks in params, got stem",
    ),
    "classes": (
        lambda: convolution.resnet18(num_classes=-1).init(jax.random.key(0), IMAGES),
        "`num_classes` must be an integer of at least 0, got -1",
    ),
    "shape of a gate": (
        lambda: convolution.attention_gate(IMAGES, IMAGES[..., :2]),
        r"`mask` must have the shape of `trunk`, \(1, 32, 32, 2\), got \(1, 32, 32, 3\)",
    ),
    "size of a sum": (
        lambda: convolution.local_response_norm(IMAGES, size=-1),
        "`size` must be an integer of at least 1, got -1",
    ),
}


@pytest.mark.parametrize("call, message", CALLS.values(), ids=CALLS)
def test_invalid_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
