"""Empty inputs yield empty or zero outputs and zero gradients in all public functions and models of attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import attention as at

LM = dict(embed_dim=8, num_layers=1, num_heads=2, max_seq_len=8)
# Sizes of query and key: (*batch), T, S.
SIZES = {
    "empty batch": ((0,), 3, 5),
    "two batch axes": ((2, 0), 3, 5),
    "no queries": ((2,), 0, 5),
    "no keys": ((2,), 3, 0),
    "all empty": ((0,), 0, 0),
    "no batch axis": ((), 0, 4),
}
MASKING = {
    "plain": lambda batch, t, s: {},
    "mask": lambda batch, t, s: dict(mask=jnp.ones((t, 1), bool)),
    "full mask": lambda batch, t, s: dict(mask=jnp.ones((*batch, 1, t, s), bool)),
    "bias": lambda batch, t, s: dict(bias=jnp.ones((4, t, s))),
    "alibi": lambda batch, t, s: dict(bias=at.alibi(4)),
    "all": lambda batch, t, s: dict(causal=True, window=2, lengths=jnp.zeros(batch, jnp.int32), offset=1),
}
RUNS = [dict(implementation="xla"), dict(implementation="chunked", blocks=(2, 2)), dict(implementation="auto")]


def assert_zero(tree, like):
    """Asserts that gradients are zeros with the shapes of ``like``."""
    for gradient, array in zip(jax.tree.leaves(tree), jax.tree.leaves(like), strict=True):
        assert gradient.shape == array.shape and not np.asarray(gradient).any()


@pytest.mark.parametrize("masking", MASKING)
@pytest.mark.parametrize("size", SIZES)
def test_attention_and_weights_of_empty_inputs(size, masking):
    batch, t, s = SIZES[size]
    query, key, value = jnp.ones((*batch, t, 4, 3)), jnp.ones((*batch, s, 2, 3)), jnp.ones((*batch, s, 2, 5))
    options = MASKING[masking](batch, t, s)
    for run in RUNS:
        f = functools.partial(at.attention, **options, **run)
        output = f(query, key, value)
        assert output.shape == (*batch, t, 4, 5) and not output.any()
        assert_zero(jax.grad(lambda *a, f=f: jnp.sum(f(*a)), (0, 1, 2))(query, key, value), (query, key, value))
    weights = at.attention_weights(query, key, **options)
    assert weights.shape == (*batch, 4, t, s)
    f = lambda *a: jnp.sum(at.attention_weights(*a, **options))
    assert_zero(jax.grad(f, (0, 1))(query, key), (query, key))


@pytest.mark.parametrize("run", RUNS[:2])
def test_zero_features(run):
    query, value = jnp.ones((2, 3, 2, 0)), jnp.arange(12.0).reshape(2, 3, 2, 1)
    mean = jnp.broadcast_to(value.mean(1, keepdims=True), value.shape)
    np.testing.assert_allclose(at.attention(query, query, value, **run), mean, rtol=1e-6)
    assert at.attention(value, value, query, **run).shape == query.shape
    with pytest.raises(ValueError, match="`key` must have at least one head"):
        at.attention(query[:, :, :0], query[:, :, :0], value[:, :, :0], **run)


@pytest.mark.parametrize("size", SIZES)
def test_alignment_of_empty_inputs(size):
    batch, t, s = SIZES[size]
    query, memory = jnp.ones((*batch, t, 3)), jnp.ones((*batch, s, 4))
    additive, bilinear = at.additive_init(jax.random.key(0), 3, 4, 5), at.multiplicative_init(jax.random.key(0), 3, 4)
    for scores, params in ((at.additive_scores, additive), (at.multiplicative_scores, bilinear)):
        assert scores(params, query, memory).shape == (*batch, t, s)
        for lengths in (None, jnp.zeros(batch, jnp.int32)):
            f = lambda *a, scores=scores, lengths=lengths: at.attend(scores, *a, lengths)
            context, weights = f(params, query, memory)
            assert context.shape == (*batch, t, 4) and weights.shape == (*batch, t, s)
            given = params, query, memory
            assert_zero(jax.grad(lambda *a, f=f: sum(map(jnp.sum, f(*a))), (0, 1, 2))(*given), given)
    with pytest.raises(ValueError, match="`memory_size` must be an integer of at least 1, got 0"):
        at.additive_init(jax.random.key(0), 3, 0, 5)
    with pytest.raises(ValueError, match="`query_size` must be an integer of at least 1, got 0"):
        at.multiplicative_init(jax.random.key(0), 0, 3)


def test_position_encodings_of_empty_inputs():
    none = jnp.zeros(0, jnp.int32)
    assert at.sinusoidal(none, 4).shape == (0, 4)
    assert at.sinusoidal(jnp.arange(3), 0).shape == (3, 0)
    for shape in ((0, 3, 2, 4), (2, 0, 2, 4), (2, 3, 0, 4), (2, 3, 2, 0)):
        xs = jnp.ones(shape)
        assert at.rotary(xs, jnp.arange(shape[1])).shape == shape
        assert_zero(jax.grad(lambda xs: jnp.sum(at.rotary(xs, jnp.arange(xs.shape[1]))))(xs[:0]), xs[:0])
    for queries, keys in ((none, jnp.arange(3)), (jnp.arange(3), none), (jnp.zeros((0, 2), jnp.int32), jnp.arange(3))):
        assert at.alibi(2)(queries, keys).shape == (*queries.shape[:-1], 2, *queries.shape[-1:], *keys.shape)
        for causal in (False, True):
            assert at.relative_buckets(queries, keys, causal=causal).shape == (*queries.shape, *keys.shape)
    with pytest.raises(ValueError, match="`num_heads` must be an integer of at least 1, got 0"):
        at.alibi(0)
    with pytest.raises(ValueError, match="`num_buckets` must be at least 4 for causal=False, got 2"):
        at.relative_buckets(none, none, num_buckets=2)
    with pytest.raises(
        ValueError, match="`max_distance` must be above 8, the number of buckets with one distance, got 8"
    ):
        at.relative_buckets(none, none, max_distance=8)


@pytest.mark.parametrize("batch, size, more", [((0,), 3, 2), ((2,), 0, 0), ((2,), 3, 0), ((), 3, 0)])
def test_caches_of_empty_inputs(batch, size, more):
    cache = at.init_cache(batch, size, 2, 4)
    assert int(at.cache_length(cache)) == 0
    key = jnp.ones((*batch, more, 2, 4))
    after = at.extend_cache(cache, key, key)
    assert int(at.cache_length(after)) == more
    assert all(a.shape == (*batch, size, 2, 4) for a in at.cache_contents(after))
    with pytest.raises(ValueError, match="`cache` must have space for"):
        at.extend_cache(after, *[jnp.ones((*batch, size - more + 1, 2, 4))] * 2)


TOKENS = {"empty batch": jnp.zeros((0, 4), jnp.int32), "no tokens": jnp.zeros((2, 0), jnp.int32)}
MODELS = {
    "gpt2": at.gpt2(7, dropout=0.1, **LM),
    "modern_lm": at.modern_lm(7, num_kv_heads=1, scan_layers=False, **LM),
    "DecoderLM": at.DecoderLM(7, positions="alibi", tie_embeddings=False, implementation="chunked", **LM),
}


@pytest.mark.parametrize("name", MODELS)
def test_language_models_with_empty_inputs(name):
    model = MODELS[name]
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(variables, tokens):
        _, logits = model.apply(variables, tokens, train=True, rngs={"dropout": jax.random.key(0)})
        return jnp.sum(logits), logits

    for tokens in TOKENS.values():
        gradients, logits = gradient(variables, tokens)
        assert logits.shape == (*tokens.shape, 7)
        assert_zero(gradients, variables)
        carry = model.start(tokens.shape[:1])
        after, logits = jax.eval_shape(model.apply, variables, tokens, carry)
        assert logits.shape == (*tokens.shape, 7)
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, carry)
    assert jax.tree.leaves(model.start(()))[0].size
    unstacked, unstacked_variables = at.unstack(model, variables)
    assert unstacked.apply(unstacked_variables, TOKENS["no tokens"])[1].shape == (2, 0, 7)


def test_transformer_with_empty_inputs():
    model, three = at.Transformer(7, **LM), jnp.zeros((2, 3), jnp.int32)
    variables = jax.jit(model.init)(jax.random.key(0), three, three)
    loss = lambda variables, *given: jnp.sum(model.apply(variables, *given))
    cases = {
        "empty batch": (TOKENS["empty batch"], TOKENS["empty batch"], True),
        "no target": (three, TOKENS["no tokens"], True),
        "no source": (TOKENS["no tokens"], three, False),
    }
    for source, target, zero in cases.values():
        for lengths in ((), (jnp.zeros(source.shape[0], jnp.int32), jnp.zeros(target.shape[0], jnp.int32))):
            value, gradients = jax.jit(jax.value_and_grad(loss))(variables, source, target, *lengths)
            assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradients)))
            if zero:
                assert_zero(gradients, variables)
    memory = jax.eval_shape(lambda v: model.start(model.apply(v, TOKENS["no tokens"], method="encode")), variables)
    assert isinstance(memory, at.Memory)
    decode = lambda v, memory: model.apply(v, memory, three[:, :1], method="decode")
    assert jax.eval_shape(decode, variables, memory)[1].shape == (2, 1, 7)


@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 0, 8)])
def test_blocks_with_empty_inputs(shape):
    xs = jnp.ones(shape)
    heads, block, blocks = (
        at.MultiHeadAttention(8, 2),
        at.Block(8, 2, 4),
        at.stack(2, embed_dim=8, num_heads=2, mlp_dim=4),
    )
    for module, rest in ((heads, ()), (block, ()), (blocks, (None, None, None, None))):
        variables = jax.jit(lambda xs, module=module, rest=rest: module.init(jax.random.key(0), xs, *rest))(xs)
        f = lambda v, xs, module=module, rest=rest: module.apply(v, xs, *rest)[0]
        assert jax.eval_shape(f, variables, xs).shape == shape
        gradients = jax.jit(jax.grad(lambda v, xs, f=f: jnp.sum(f(v, xs))))(variables, xs)
        assert_zero(gradients, variables)


TESTED = {
    "attention", "attention_weights", "additive_init", "multiplicative_init", "additive_scores",
    "multiplicative_scores", "attend", "sinusoidal", "rotary", "alibi", "relative_buckets", "init_cache",
    "extend_cache", "cache_contents", "cache_length", "Cache", "DecoderLM", "gpt2", "modern_lm", "unstack",
    "Transformer", "Memory", "MultiHeadAttention", "Block", "stack",
}  # fmt: skip
EXEMPT = {
    "choose_implementation": "depends on shapes only",
    "Ring": "describes devices; empty sequences are tested in checks_of_ring.short_and_empty_sequences",
}


def test_every_public_name_is_tested_or_exempt():
    assert TESTED.isdisjoint(EXEMPT) and all(EXEMPT.values())
    assert TESTED | set(EXEMPT) == {name for name in at.__all__ if callable(getattr(at, name))}
