"""CharRNN and RNN: parameter counts, causality, carries, tied and one-hot embeddings."""

import chex
import jax
import jax.numpy as jnp
import pytest

from jaxnets import recurrent


def count_parameters(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameter_count_of_three_layers_of_512():
    model = recurrent.CharRNN(65, hidden_size=512, num_layers=3, embed_dim=256)
    assert count_parameters(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))) == 5_823_297


TOKENS = jax.random.randint(jax.random.key(7), (3, 20), 0, 11)
VARIANTS = {
    "embedding": dict(embed_dim=5),
    "one hot": dict(embed_dim=0),
    "tied": dict(embed_dim=8, tie_embeddings=True),
    "gru": dict(cell=recurrent.gru),
    "elman, 1 layer": dict(cell=recurrent.elman, num_layers=1),
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def network(request):
    model = recurrent.CharRNN(11, hidden_size=8, **{"num_layers": 2, **request.param})
    return model, model.init(jax.random.key(0), TOKENS)


def test_logits_are_causal(network):
    model, variables = network
    _, logits = model.apply(variables, TOKENS)
    chex.assert_shape(logits, (3, 20, 11))
    changed = TOKENS.at[:, 12].set((TOKENS[:, 12] + 1) % 11)
    _, other = model.apply(variables, changed)
    chex.assert_trees_all_equal(other[:, :12], logits[:, :12])
    assert jnp.all(jnp.any(other[:, 12:] != logits[:, 12:], axis=-1))


def test_carry_continues_chunks_and_single_tokens(network):
    model, variables = network
    last, logits = model.apply(variables, TOKENS)
    carry, chunks = None, []
    for chunk in (TOKENS[:, :9], *jnp.split(TOKENS[:, 9:], 11, axis=1)):
        carry, chunk_logits = model.apply(variables, chunk, carry)
        chunks.append(chunk_logits)
    chex.assert_trees_all_close(jnp.concatenate(chunks, 1), logits, atol=1e-5)
    chex.assert_trees_all_close(carry, last, atol=1e-5)


def test_every_parameter_has_a_gradient(network):
    model, variables = network
    gradients = jax.grad(lambda v: jnp.sum(jnp.sin(model.apply(v, TOKENS)[1])))(variables)
    for path, leaf in jax.tree.leaves_with_path(gradients):
        assert jnp.any(leaf != 0), jax.tree_util.keystr(path)


def test_tied_output_has_no_kernel():
    model = recurrent.CharRNN(11, hidden_size=8, embed_dim=8, tie_embeddings=True)
    free = recurrent.CharRNN(11, hidden_size=8, embed_dim=8)
    count = lambda m: count_parameters(jax.eval_shape(m.init, jax.random.key(0), TOKENS))
    assert count(free) - count(model) == 8 * 11


def test_dropout_depends_on_its_key():
    model = recurrent.CharRNN(11, hidden_size=8, num_layers=2, dropout=0.5)
    variables = model.init(jax.random.key(0), TOKENS)
    run = lambda seed: model.apply(variables, TOKENS, train=True, rngs={"dropout": jax.random.key(seed)})[1]
    chex.assert_trees_all_equal(run(1), run(1))
    assert jnp.any(run(1) != run(2))
    assert jnp.any(run(1) != model.apply(variables, TOKENS)[1])


def test_bfloat16_gives_close_float32_logits():
    exact = recurrent.CharRNN(11, hidden_size=8, num_layers=2)
    half = exact.clone(dtype=jnp.bfloat16)
    variables = exact.init(jax.random.key(0), TOKENS)
    logits = half.apply(variables, TOKENS)[1]
    assert logits.dtype == jnp.float32
    chex.assert_trees_all_close(logits, exact.apply(variables, TOKENS)[1], atol=0.05)


def test_rnn_matches_scan():
    rnn = recurrent.RNN(recurrent.lstm(4))
    xs = jax.random.normal(jax.random.key(0), (2, 6, 3))
    variables = rnn.init(jax.random.key(1), xs)
    last, ys = rnn.apply(variables, xs)
    direct = recurrent.scan(recurrent.lstm(4), variables["params"]["cell"], xs)
    chex.assert_trees_all_equal((last, ys), direct)


BAD = {
    "floats": (dict(), jnp.zeros((2, 3)), None, "`tokens` must be integers, got float32"),
    "no time": (dict(), jnp.zeros((), jnp.int32), None, r"`tokens` must have the shape \[\*batch, T\]"),
    "cell": (
        dict(cell="lstm"),
        TOKENS,
        None,
        "`cell` must be a function from hidden_size to a cell, such as .*, got 'lstm'",
    ),
    "layers": (dict(num_layers=0), TOKENS, None, "`num_layers` must be an integer of at least 1, got 0"),
    "hidden": (dict(hidden_size=-2), TOKENS, None, "`hidden_size` must be an integer of at least 1, got -2"),
    "dropout": (dict(dropout=1.0), TOKENS, None, r"`dropout` must be a number in \[0, 1\), got 1.0"),
    "tie": (
        dict(tie_embeddings=True),
        TOKENS,
        None,
        "`embed_dim` must equal `hidden_size` with `tie_embeddings`, got 64 and 8",
    ),
    "carry": (dict(num_layers=2), TOKENS, (None,), r"`carry` must have one item per layer \(2\), got 1"),
}


@pytest.mark.parametrize("arguments, tokens, carry, message", BAD.values(), ids=BAD)
def test_wrong_arguments_are_rejected(arguments, tokens, carry, message):
    with pytest.raises(ValueError, match=message):
        recurrent.CharRNN(11, **{"hidden_size": 8, **arguments}).init(jax.random.key(0), tokens, carry)
