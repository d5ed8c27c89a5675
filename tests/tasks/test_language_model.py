"""Language models as step functions, within and beyond their maximum sequence length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import attention, decoding, recurrent
from jaxnets.tasks import step_function

TOKENS = jax.random.randint(jax.random.key(0), (21,), 0, 5)
MODELS = {
    "recurrent": recurrent.CharRNN(5, hidden_size=6, embed_dim=3),
    "transformer": attention.DecoderLM(5, embed_dim=8, num_layers=2, num_heads=2, max_seq_len=21),
}


@pytest.mark.parametrize("name", MODELS)
def test_steps_equal_a_full_forward_pass(name):
    model = MODELS[name]
    variables = model.init(jax.random.key(1), TOKENS[None])
    whole = model.apply(variables, TOKENS[None])[1][0]
    step, carry = jax.jit(step_function(model, variables)), None
    for t, token in enumerate(TOKENS):
        carry, logits = step(carry, token)
        np.testing.assert_allclose(logits, whole[t], atol=1e-5)


@pytest.mark.parametrize("max_seq_len", [1, 7, 8])
def test_a_full_cache_continues_with_its_later_half(max_seq_len):
    model = attention.DecoderLM(5, embed_dim=8, num_layers=2, num_heads=2, max_seq_len=max_seq_len)
    variables = model.init(jax.random.key(1), TOKENS[None, :max_seq_len])
    step, carry, length = jax.jit(step_function(model, variables)), None, 0
    whole = jax.jit(lambda tokens: model.apply(variables, tokens[None])[1][0])
    for t, token in enumerate(TOKENS):
        carry, logits = step(carry, token)
        length = length + 1 if length < max_seq_len else max_seq_len - max_seq_len // 2
        text = jnp.zeros(max_seq_len, jnp.int32).at[:length].set(TOKENS[t + 1 - length : t + 1])
        np.testing.assert_allclose(logits, whole(text)[length - 1], atol=1e-5)


def test_a_transformer_generates_beyond_its_maximum_length():
    model = attention.DecoderLM(5, embed_dim=8, num_layers=1, num_heads=2, max_seq_len=4)
    variables = model.init(jax.random.key(1), TOKENS[None, :4])
    stream = decoding.stream(step_function(model, variables), None, TOKENS[:2], jax.random.key(0))
    assert {next(stream) for _ in range(30)} <= set(range(5))
    assert jnp.isfinite(step_function(model, variables)(None, TOKENS[0])[1]).all()
