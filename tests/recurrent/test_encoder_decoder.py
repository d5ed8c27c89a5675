"""EncoderDecoder: decoding in steps, padding, gradients and wrong arguments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import recurrent

SOURCE, TARGET = jax.random.randint(jax.random.key(0), (2, 3, 6), 0, 11)
LENGTHS = jnp.array([6, 1, 4])
PROJECTED = functools.partial(recurrent.lstm, proj_size=3)  # the outputs do not have H features
KINDS = [("none", recurrent.gru), ("additive", PROJECTED), ("multiplicative", recurrent.gru)]


def make_model(attention, cell, **options):
    options = dict(hidden_size=7, embed_dim=5, num_layers=2, **options)
    model = recurrent.EncoderDecoder(11, attention=attention, cell=cell, **options)
    return model, jax.jit(model.init)(jax.random.key(1), SOURCE, TARGET)


@pytest.mark.parametrize("attention, cell", KINDS)
def test_decoding_in_steps_matches_one_call_and_ignores_padding(attention, cell):
    model, variables = make_model(attention, cell)
    apply = jax.jit(model.apply, static_argnames="method")
    whole = apply(variables, SOURCE, TARGET, LENGTHS)
    assert whole.shape == (3, 6, 11) and whole.dtype == jnp.float32
    encoded = model.start(apply(variables, SOURCE, LENGTHS, method="encode"))
    for t in range(6):
        encoded, logits = apply(variables, encoded, TARGET[:, t : t + 1], method="decode")
        np.testing.assert_allclose(logits[:, 0], whole[:, t], atol=1e-5)
    other = jnp.where(jnp.arange(6)[None] < LENGTHS[:, None], SOURCE, 0)
    np.testing.assert_allclose(apply(variables, other, TARGET, LENGTHS), whole, atol=1e-6)
    alone = apply(variables, SOURCE[2:, :4], TARGET[2:])
    np.testing.assert_allclose(alone, whole[2:], atol=1e-5)


@pytest.mark.parametrize("attention, cell", KINDS)
def test_decoder_is_causal_and_every_parameter_has_a_gradient(attention, cell):
    model, variables = make_model(attention, cell)
    apply = jax.jit(model.apply)
    one, other = (apply(variables, SOURCE, target) for target in (TARGET, TARGET.at[:, 3].add(1) % 11))
    assert (one[:, :3] == other[:, :3]).all() and (one[:, 3:] != other[:, 3:]).any()
    gradients = jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(model.apply(v, SOURCE, TARGET)))))(variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert jnp.abs(leaf).max() > 0, path


def test_alignment_sums_to_one_over_valid_tokens():
    model, variables = make_model("additive", recurrent.gru)
    encoded = model.apply(variables, SOURCE, LENGTHS, method="encode")
    weights = model.apply(variables, encoded, TARGET, method="alignment")
    assert weights.shape == (3, 6, 6)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert not weights[1, :, 1:].any()


def test_lowers_for_tpu_and_cuda():
    model, variables = make_model("multiplicative", recurrent.gru)
    loss = jax.jit(jax.grad(lambda v: jnp.sum(model.apply(v, SOURCE, TARGET, LENGTHS) ** 2)))
    assert "stablehlo.while" in loss.trace(variables).lower(lowering_platforms=("tpu", "cuda")).as_text()


def test_wrong_arguments_are_rejected():
    with pytest.raises(ValueError, match="`attention` must be one of none, additive, multiplicative, got 'dot'"):
        make_model("dot", recurrent.gru)
    model, variables = make_model("none", recurrent.gru)
    with pytest.raises(ValueError, match="`target` must be an array of integers .*, got float32"):
        model.apply(variables, SOURCE, TARGET.astype(jnp.float32))
    encoded = model.apply(variables, SOURCE, method="encode")
    assert model.apply(variables, encoded, TARGET, method="alignment") is None
