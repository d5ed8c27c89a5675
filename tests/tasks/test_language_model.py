"""A language model as a step function, and beyond its context."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import attention, decoding, recurrent
from jaxnets.tasks import step_of

TOKENS = jax.random.randint(jax.random.key(0), (21,), 0, 5)
MODELS = {
    "recurrent": recurrent.CharRNN(5, hidden_size=6, embed_dim=3),
    "transformer": attention.DecoderLM(5, embed_dim=8, num_layers=2, num_heads=2, max_seq_len=21),
}


@pytest.mark.parametrize("name", MODELS)
def test_steps_give_what_the_whole_text_gives(name):
    model = MODELS[name]
    variables = model.init(jax.random.key(1), TOKENS[None])
    whole = model.apply(variables, TOKENS[None])[1][0]
    step, carry = jax.jit(step_of(model, variables)), None
    for t, token in enumerate(TOKENS):
        carry, logits = step(carry, token)
        np.testing.assert_allclose(logits, whole[t], atol=1e-5)


@pytest.mark.parametrize("context", [1, 7, 8])
def test_a_full_context_goes_on_from_its_later_half(context):
    model = attention.DecoderLM(5, embed_dim=8, num_layers=2, num_heads=2, max_seq_len=context)
    variables = model.init(jax.random.key(1), TOKENS[None, :context])
    step, carry, known = jax.jit(step_of(model, variables)), None, 0
    whole = jax.jit(lambda tokens: model.apply(variables, tokens[None])[1][0])
    for t, token in enumerate(TOKENS):
        carry, logits = step(carry, token)
        known = known + 1 if known < context else context - context // 2
        text = jnp.zeros(context, jnp.int32).at[:known].set(TOKENS[t + 1 - known : t + 1])  # what follows is not seen
        np.testing.assert_allclose(logits, whole(text)[known - 1], atol=1e-5)


def test_a_transformer_writes_more_than_its_context():
    model = attention.DecoderLM(5, embed_dim=8, num_layers=1, num_heads=2, max_seq_len=4)
    variables = model.init(jax.random.key(1), TOKENS[None, :4])
    stream = decoding.stream(step_of(model, variables), None, TOKENS[:2], jax.random.key(0))
    assert {next(stream) for _ in range(30)} <= set(range(5))
    assert jnp.isfinite(step_of(model, variables)(None, TOKENS[0])[1]).all()
