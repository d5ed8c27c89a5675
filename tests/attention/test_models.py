"""Language models and transformer: parameter counts, caches, causality, padding, lowering and invalid arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import attention as at

SMALL = dict(embed_dim=16, num_layers=2, num_heads=4, max_seq_len=12)
VARIANTS = {
    "gpt2": at.gpt2(17, **SMALL),
    "modern": at.modern_lm(17, num_kv_heads=2, **SMALL),
    "alibi": at.DecoderLM(17, positions="alibi", tie_embeddings=False, **SMALL),
    "sinusoidal": at.DecoderLM(17, positions="sinusoidal", implementation="chunked", **SMALL),
    "bfloat16": at.modern_lm(17, num_kv_heads=2, dtype=jnp.bfloat16, **SMALL),
}
TOKENS = jax.random.randint(jax.random.key(0), (2, 12), 0, 17)


def count(model, *inputs):
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_parameter_counts_equal_those_of_the_papers():
    tokens = jnp.zeros((1, 8), jnp.int32)
    base, big = at.Transformer(37_000), at.Transformer(37_000, embed_dim=1024, num_heads=16, mlp_dim=4096)
    assert count(base, tokens, tokens) == 63_082_496
    assert count(big, tokens, tokens) == 214_245_376
    assert count(at.Transformer(37_000, norm_first=True), tokens, tokens) == 63_082_496 + 2_048
    assert count(at.gpt2(), tokens) == 124_439_808


@pytest.mark.parametrize("name", VARIANTS)
def test_decoding_with_a_cache_equals_the_full_sequence(name):
    model = VARIANTS[name]
    variables = jax.jit(model.init)(jax.random.key(1), TOKENS)
    empty_carry, full = jax.jit(model.apply)(variables, TOKENS)
    assert empty_carry == () and full.dtype == jnp.float32
    carry, chunks = model.start((2,)), []
    step = jax.jit(model.apply)
    for start, stop in ((0, 5), (5, 6), (6, 7), (7, 12)):
        carry, logits = step(variables, TOKENS[:, start:stop], carry)
        chunks.append(logits)
    tolerance = 0.05 if name == "bfloat16" else 1e-5
    np.testing.assert_allclose(jnp.concatenate(chunks, 1), full, atol=tolerance)


@pytest.mark.parametrize("name", ["gpt2", "modern"])
def test_unstacked_model_equals_the_scanned_model(name):
    model = VARIANTS[name]
    variables = jax.jit(model.init)(jax.random.key(1), TOKENS)
    unstacked, unstacked_variables = at.unstack(model, variables)
    apply = jax.jit(lambda model, *given: model.apply(*given), static_argnums=0)
    full = apply(model, variables, TOKENS)[1]
    np.testing.assert_allclose(apply(unstacked, unstacked_variables, TOKENS)[1], full, atol=1e-5)
    carry, first = apply(unstacked, unstacked_variables, TOKENS[:, :7], unstacked.start((2,)))
    assert int(at.cache_length(carry)) == 7
    _, second = apply(unstacked, unstacked_variables, TOKENS[:, 7:], carry)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), full, atol=1e-5)
    initial = jax.jit(unstacked.init)(jax.random.key(1), TOKENS)
    assert jax.tree.map(jnp.shape, initial["params"]) == jax.tree.map(jnp.shape, unstacked_variables["params"])
    assert at.unstack(unstacked, unstacked_variables) == (unstacked, unstacked_variables)


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_do_not_depend_on_later_tokens(name):
    model = VARIANTS[name]
    variables = jax.jit(model.init)(jax.random.key(1), TOKENS)
    changed = TOKENS.at[:, 7].add(1) % 17
    apply = jax.jit(model.apply)
    original, modified = (apply(variables, tokens)[1] for tokens in (TOKENS, changed))
    assert (original[:, :7] == modified[:, :7]).all()
    assert (original[:, 7:] != modified[:, 7:]).any(axis=(0, 2)).all()


def transformer(**options):
    model = at.Transformer(17, **{**SMALL, **options})
    return model, jax.jit(model.init)(jax.random.key(1), TOKENS[:, :9], TOKENS)


@pytest.mark.parametrize("norm_first, scan_layers", [(False, True), (True, False)])
def test_transformer_decoding_step_by_step_equals_the_full_sequence(norm_first, scan_layers):
    model, variables = transformer(norm_first=norm_first)
    lengths = jnp.array([9, 4])
    full = jax.jit(model.apply)(variables, TOKENS[:, :9], TOKENS, lengths)
    if not scan_layers:
        model, variables = at.unstack(model, variables)
    apply = jax.jit(model.apply, static_argnames="method")
    memory = model.start(apply(variables, TOKENS[:, :9], lengths, method="encode"))
    for t in range(12):
        memory, logits = apply(variables, memory, TOKENS[:, t : t + 1], method="decode")
        np.testing.assert_allclose(logits[:, 0], full[:, t], atol=1e-5)


def test_padding_of_source_and_target_has_no_effect():
    model, variables = transformer()
    lengths, valid = jnp.array([6, 3]), jnp.arange(9)[None] < jnp.array([6, 3])[:, None]
    sources = TOKENS[:, :9], jnp.where(valid, TOKENS[:, :9], 0)
    apply = jax.jit(model.apply)
    padded, refilled = (apply(variables, source, TOKENS, lengths) for source in sources)
    np.testing.assert_array_equal(padded, refilled)
    unpadded = apply(variables, TOKENS[1:, :3], TOKENS[1:])
    np.testing.assert_allclose(padded[1:], unpadded, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "modern"])
def test_language_models_lower_for_tpu_and_cuda(name):
    model = VARIANTS[name]
    variables = jax.jit(model.init)(jax.random.key(1), TOKENS)
    loss = jax.jit(jax.grad(lambda v: jnp.sum(model.apply(v, TOKENS)[1] ** 2)))
    assert "stablehlo.while" in loss.trace(variables).lower(lowering_platforms=("tpu", "cuda")).as_text()
    step = jax.jit(model.apply).trace(variables, TOKENS[:, :1], model.start((2,)))
    assert "dynamic_update_slice" in step.lower(lowering_platforms=("tpu", "cuda")).as_text()


def test_transformer_lowers_for_tpu_and_cuda():
    model, variables = transformer()
    loss = jax.jit(jax.grad(lambda v: jnp.sum(model.apply(v, TOKENS[:, :9], TOKENS) ** 2)))
    assert "stablehlo.while" in loss.trace(variables).lower(lowering_platforms=("tpu", "cuda")).as_text()


def test_invalid_inputs_are_rejected():
    model = VARIANTS["gpt2"]
    variables = jax.jit(model.init)(jax.random.key(1), TOKENS)
    long = jnp.zeros((2, 13), jnp.int32)
    with pytest.raises(ValueError, match="`tokens` must have at most `max_seq_len`, 12, steps, got 13"):
        model.apply(variables, long)
    carry, _ = model.apply(variables, TOKENS, model.start((2,)))
    with pytest.raises(ValueError, match="`tokens` must have at most `max_seq_len`, 12, steps, got 1 after 12"):
        model.apply(variables, TOKENS[:, :1], carry)
    with pytest.raises(ValueError, match="`tokens` must be an array of integers"):
        model.apply(variables, jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="`positions` must be one of learned, sinusoidal, rotary, alibi, got 'none'"):
        at.DecoderLM(5, positions="none").init(jax.random.key(0), TOKENS)
    model, variables = transformer()
    memory = model.start(model.apply(variables, TOKENS[:, :9], method="encode"))
    with pytest.raises(ValueError, match="`lengths` must be None with a cache"):
        model.apply(variables, memory, TOKENS[:, :3], jnp.array([3, 1]), method="decode")
    with pytest.raises(ValueError, match="`vocab_size` must be an integer of at least 1, got 0"):
        at.Transformer(0).init(jax.random.key(0), TOKENS, TOKENS)
    with pytest.raises(ValueError, match="`source` must have at most `max_seq_len`, 12, steps, got 13"):
        model.apply(variables, long, TOKENS)


@pytest.mark.parametrize("scan_layers", [False, True])
def test_invalid_batch_is_rejected(scan_layers):
    model = VARIANTS["gpt2"].clone(scan_layers=scan_layers)
    with pytest.raises(
        ValueError, match=r"`batch` must be a tuple of sizes, such as \(3,\), got 3; use \(3,\) for a batch of 3"
    ):
        model.start(3)
    for batch in ((2.0,), (-1,), "3", jnp.ones(2)):
        with pytest.raises(ValueError, match="`batch` must be a tuple of sizes"):
            model.start(batch)
    with pytest.raises(ValueError, match="`tokens` must be an array of integers .*, got list"):
        model.init(jax.random.key(0), [[1, 2]])
