"""Dot-product attention: comparison with torch and between implementations, masks, gradients and invalid arguments."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets import attention as at
from jaxnets.attention.cudnn import _has_valid_key
from jaxnets.attention.masking import AttentionConfig, MaskArrays, grouped

GOLDEN = np.load(Path(__file__).parent.parent / "reference" / "attention.npz")
OPTIONS = {"causal": {"causal": True}, "scale": {"scale": 0.3}, "multi_query": {"causal": True}}
IMPLEMENTATIONS = {"xla": {"implementation": "xla"}, "chunked": {"implementation": "chunked", "blocks": (4, 4)}}
CASES = ["plain", "boolean", "additive", "causal", "scale", "grouped", "multi_query"]


def objective(output):
    weights = jnp.cos(jnp.arange(output.size)).reshape(output.shape)
    return jnp.sum(weights * (output**2).astype(weights.dtype))


def problem(seed=0, batch=(2,), t=6, s=9, heads=4, key_heads=2, depth=3, width=5, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = [(*batch, t, heads, depth), (*batch, s, key_heads, depth), (*batch, s, key_heads, width)]
    return [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes, strict=True)]


def run_implementations(arguments, **options):
    """Returns outputs and gradients of both implementations."""
    results = []
    for chosen in IMPLEMENTATIONS.values():

        def f(*arguments, chosen=chosen):
            output = at.attention(*arguments, **options, **chosen)
            return objective(output), output

        (_, output), gradients = jax.jit(jax.value_and_grad(f, (0, 1, 2), has_aux=True))(*arguments)
        results.append((output, gradients))
    return results


def assert_close(left, right, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("case", CASES)
def test_attention_equals_torch(case, implementation):
    arguments = [jnp.asarray(GOLDEN[f"attention/{case}/{name}"], jnp.float32) for name in ("query", "key", "value")]
    options = dict(OPTIONS.get(case, {}))
    if case == "boolean":
        options["mask"] = jnp.asarray(GOLDEN["attention/boolean/mask"])
    if case == "additive":
        options["bias"] = jnp.asarray(GOLDEN["attention/additive/bias"], jnp.float32)
    f = lambda *a: at.attention(*a, **options, **IMPLEMENTATIONS[implementation])
    assert_close(f(*arguments), GOLDEN[f"attention/{case}/output"])
    gradients = jax.grad(lambda *a: objective(f(*a)), (0, 1, 2))(*arguments)
    assert_close(gradients, [GOLDEN[f"attention/{case}/gradient/{name}"] for name in ("query", "key", "value")])


@settings(max_examples=8, deadline=None)
@given(
    t=st.integers(1, 11),
    s=st.integers(1, 11),
    key_heads=st.sampled_from([1, 2, 4]),
    causal=st.booleans(),
    window=st.sampled_from([None, 0, 2, (3, 0), (0, 4)]),
    lengths=st.booleans(),
    offset=st.sampled_from([0, 3, "each"]),
    masked=st.booleans(),
    biased=st.sampled_from([None, "array", "alibi"]),
)
def test_chunked_equals_xla(t, s, key_heads, causal, window, lengths, offset, masked, biased):
    arguments = problem(t=t, s=s, key_heads=key_heads)
    options = dict(causal=causal, window=window)
    options["offset"] = jnp.array([1, 4]) if offset == "each" else offset
    if lengths:
        options["lengths"] = jnp.array([s, s // 2])
    if masked:
        options["mask"] = jax.random.bernoulli(jax.random.key(5), 0.6, (2, 1, t, s))
    if biased == "alibi":
        options["bias"] = at.alibi(4)
    full, chunked = run_implementations(arguments, **options)
    assert_close(full, chunked)
    if biased == "array":
        bias = jax.random.normal(jax.random.key(7), (4, t, s))
        full, chunked = (
            jax.jit(jax.grad(lambda b, c=c: objective(at.attention(*arguments, bias=b, **options, **c))))(bias)
            for c in IMPLEMENTATIONS.values()
        )
        assert_close(full, chunked)


@pytest.mark.parametrize("shape", [(2, 4, 6, 9), (1, 4, 1, 9), (4, 6, 1), (2, 1, 6, 9), ()])
def test_bias_gradient_for_any_broadcastable_shape(shape):
    arguments, bias = problem(), jax.random.normal(jax.random.key(3), shape)
    f = lambda bias, chosen: objective(at.attention(*arguments, bias=bias, causal=True, offset=2, **chosen))
    full, chunked = (jax.grad(f)(bias, chosen) for chosen in IMPLEMENTATIONS.values())
    assert full.shape == shape
    assert_close(full, chunked)
    step = 1e-2 * jnp.ones(shape) if shape == () else 1e-2 * jax.random.normal(jax.random.key(4), shape)
    chosen = IMPLEMENTATIONS["xla"]
    found = (f(bias + step, chosen) - f(bias - step, chosen)) / 2
    np.testing.assert_allclose(found, jnp.sum(full * step), atol=2e-4)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_masked_query_yields_zeros_and_finite_gradients(implementation):
    chosen = IMPLEMENTATIONS[implementation]
    arguments = problem()
    mask = jnp.ones((6, 9), bool).at[2].set(False)
    f = lambda *a: at.attention(*a, mask=mask, lengths=jnp.array([9, 0]), **chosen)
    output, gradients = f(*arguments), jax.grad(lambda *a: jnp.sum(f(*a) ** 2), (0, 1, 2))(*arguments)
    assert not output[:, 2].any() and not output[1].any() and output[0, 3].all()
    for gradient in gradients:
        assert jnp.isfinite(gradient).all()
        assert not gradient[1].any()
    infinite = jnp.where(mask, 0.0, -jnp.inf)  # an additive mask
    assert_close(at.attention(*arguments, bias=infinite, **chosen), at.attention(*arguments, mask=mask, **chosen))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_nan_in_padding_has_no_effect(implementation):
    chosen = IMPLEMENTATIONS[implementation]
    query, key, value = problem()
    lengths = jnp.array([4, 7])
    valid = (jnp.arange(9)[None] < lengths[:, None])[..., None, None]
    f = lambda *a: objective(at.attention(*a, lengths=lengths, **chosen))
    clean = jax.value_and_grad(f, (0, 1, 2))(query, key, value)
    with_nan = [jnp.where(valid, a, jnp.nan) for a in (key, value)]
    assert_close(clean, jax.value_and_grad(f, (0, 1, 2))(query, *with_nan))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_causal_window_by_gradient(implementation):
    query, key, value = problem(t=7, s=7)
    options = dict(causal=True, window=(3, 3), **IMPLEMENTATIONS[implementation])
    for t in range(7):
        f = lambda key, value, t=t: jnp.sum(at.attention(query, key, value, **options)[:, t] ** 2)
        for gradient in jax.grad(f, (0, 1))(key, value):
            has_gradient = jnp.any(gradient != 0, axis=(0, 2, 3))
            # For a single key, the weight is 1: the gradient of the key is zero, but not the gradient of its value.
            if not (t == 0 and gradient.shape[-1] == 3):
                assert has_gradient.tolist() == [max(0, t - 3) <= s <= t for s in range(7)]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_accumulates_in_float32(dtype):
    arguments = problem(t=33, s=65, depth=16, dtype=dtype)
    full, chunked = run_implementations(arguments, causal=True, offset=32)
    exact = at.attention(*(a.astype(jnp.float32) for a in arguments), causal=True, offset=32)
    for output, gradients in (full, chunked):
        assert output.dtype == dtype and {g.dtype for g in gradients} == {jnp.dtype(dtype)}
        np.testing.assert_allclose(output.astype(jnp.float32), exact, atol=0.02)
    huge = at.attention(1000 * arguments[0], arguments[1], arguments[2], **IMPLEMENTATIONS["chunked"])
    assert jnp.isfinite(huge).all()


def test_chunked_gradient_equals_finite_differences(float64):
    query, key, value = problem(dtype=jnp.float64)
    f = lambda *a: objective(
        at.attention(*a, causal=True, offset=3, lengths=jnp.array([9, 5]), **IMPLEMENTATIONS["chunked"])
    )
    gradients = jax.grad(f, (0, 1, 2))(query, key, value)
    for i, (array, gradient) in enumerate(zip((query, key, value), gradients, strict=True)):
        step = 1e-6 * jax.random.normal(jax.random.key(i), array.shape, jnp.float64)
        given = [query, key, value]
        shifted = lambda sign, i=i, step=step, given=given: f(*given[:i], given[i] + sign * step, *given[i + 1 :])
        np.testing.assert_allclose((shifted(1) - shifted(-1)) / 2, jnp.sum(gradient * step), rtol=1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_dropout_preserves_the_mean_and_gradients_use_its_mask(implementation):
    chosen = IMPLEMENTATIONS[implementation]
    query, key, value = problem(t=8, s=8)
    f = lambda value, rng: at.attention(query, key, value, dropout=0.4, rng=rng, causal=True, **chosen)
    samples = jax.vmap(lambda rng: f(value, rng))(jax.random.split(jax.random.key(0), 3000))
    np.testing.assert_allclose(samples.mean(0), at.attention(query, key, value, causal=True), atol=0.15)
    assert (samples[0] != samples[1]).any()
    # The output is linear in the values, so the gradient must use the same dropout mask.
    rng, direction = jax.random.key(1), jax.random.normal(jax.random.key(2), value.shape)
    gradient = jax.grad(lambda value: jnp.sum(f(value, rng)))(value)
    np.testing.assert_allclose(jnp.sum(f(direction, rng)), jnp.sum(gradient * direction), rtol=1e-4)
    loss = lambda query: objective(at.attention(query, key, value, dropout=0.4, rng=rng, **chosen))
    step = 1e-2 * jax.random.normal(jax.random.key(3), query.shape)
    found = (loss(query + step) - loss(query - step)) / 2
    np.testing.assert_allclose(found, jnp.sum(jax.grad(loss)(query) * step), rtol=2e-2)


def test_batch_axes_and_empty_axes():
    query, key, value = problem(batch=(2, 3), s=6)
    full = at.attention(query, key, value, causal=True)
    assert_close(full[1, 2], at.attention(query[1, 2], key[1, 2], value[1, 2], causal=True))
    assert at.attention(query, key[:, :, :0], value[:, :, :0]).shape == full.shape
    assert not at.attention(query, key[:, :, :0], value[:, :, :0]).any()
    assert at.attention(query[:, :, :0], key, value).shape == (2, 3, 0, 4, 5)
    empty_mask = jnp.ones((2, 1, 1, 0, 6), bool)
    assert at.attention(query[:, :, :0], key, value, mask=empty_mask).shape == (2, 3, 0, 4, 5)
    assert at.attention_weights(query, key[:, :, :0]).shape == (2, 3, 4, 6, 0)
    mask = jax.random.bernoulli(jax.random.key(0), 0.5, (3, 1, 6, 6))
    assert_close(
        at.attention(query, key, value, mask=mask)[:, 1],
        at.attention(query[:, 1], key[:, 1], value[:, 1], mask=mask[1]),
    )


@pytest.mark.parametrize("options", [{}, dict(causal=True, window=2), dict(window=(1, 3)), dict(masked=True)])
def test_cudnn_path_detects_masked_queries(options):
    options = dict(options)
    if options.pop("masked", False):
        options["mask"] = jax.random.bernoulli(jax.random.key(1), 0.2, (2, 4, 9, 5))
    query, key, _ = problem(t=9, s=5)
    lengths = jnp.array([5, 2])
    weights = at.attention_weights(query, key, lengths=lengths, **options)
    window = options.get("window")
    config = AttentionConfig(options.get("causal", False), (2, 2) if window == 2 else window, None, 1.0, 0.0)
    mask = options.get("mask")
    masks = MaskArrays(None if mask is None else grouped(mask, (2,), 2), lengths, jnp.zeros(2, jnp.int32), None)
    found = jnp.broadcast_to(_has_valid_key(config, masks, 4, 9, 5), (2, 9, 4))
    assert (found == jnp.any(weights > 0, axis=-1).swapaxes(1, 2)).all()


def test_outputs_are_float32_with_x64_enabled(float64):
    arguments = problem()
    for chosen in IMPLEMENTATIONS.values():
        assert at.attention(*arguments, bias=at.alibi(4), causal=True, **chosen).dtype == jnp.float32
    assert at.sinusoidal(jnp.arange(3), 4).dtype == jnp.float32


def test_attention_weights_reproduce_attention():
    query, key, value = problem()
    options = dict(causal=True, offset=3, lengths=jnp.array([9, 0]))
    weights = at.attention_weights(query, key, **options)
    np.testing.assert_allclose(weights[0].sum(-1), 1, rtol=1e-6)
    assert not weights[1].any()
    expected = jnp.einsum("bnts,bsne->btne", weights, jnp.repeat(value, 2, axis=2))
    assert_close(at.attention(query, key, value, **options), expected)


def test_memory_of_chunked_is_linear_in_the_length():
    def temporary_bytes(length, **options):
        shapes = [jax.ShapeDtypeStruct((1, length, 2, 16), jnp.float32)] * 3
        loss = lambda *a: jnp.sum(at.attention(*a, causal=True, **options) ** 2)
        return jax.jit(jax.grad(loss, (0, 1, 2))).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    chunked = [temporary_bytes(n, implementation="chunked", blocks=(128, 128)) for n in (1024, 4096)]
    assert chunked[1] < 5 * chunked[0]
    assert temporary_bytes(4096, implementation="xla") > 10 * chunked[1]
    assert at.choose_implementation((1, 511, 2, 16), (1, 512, 2, 16)) == "xla"
    assert at.choose_implementation((1, 512, 2, 16), (1, 512, 2, 16)) == "chunked"


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_attention_lowers_for_tpu_and_cuda(implementation):
    arguments = problem()
    options = dict(causal=True, lengths=jnp.array([9, 4]), bias=at.alibi(4), **IMPLEMENTATIONS[implementation])
    f = jax.jit(jax.grad(lambda *a: objective(at.attention(*a, **options)), (0, 1, 2)))
    assert "dot_general" in f.trace(*arguments).lower(lowering_platforms=("tpu", "cuda")).as_text()


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(
    "options", [{}, dict(causal=True), dict(lengths=jnp.array([64, 0])), dict(mask=jnp.eye(64) == 0)]
)
def test_cudnn_equals_xla(options):
    arguments = problem(t=64, s=64, depth=64, width=64, dtype=jnp.bfloat16)
    f = lambda *a: at.attention(*a, **options, implementation="cudnn")
    expected = at.attention(*arguments, **options, implementation="xla")
    np.testing.assert_allclose(f(*arguments).astype(jnp.float32), expected.astype(jnp.float32), atol=0.03)
    for gradient in jax.grad(lambda *a: jnp.sum(f(*a).astype(jnp.float32) ** 2), (0, 1, 2))(*arguments):
        assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(mask=jnp.ones((6, 9))), "`mask` must be bool and broadcast to .*, \\(2, 4, 6, 9\\), got float32"),
        (dict(mask=jnp.ones((6, 8), bool)), "`mask` must be bool .* got bool of shape \\(6, 8\\)"),
        (dict(bias=jnp.ones((6, 9), jnp.int32)), "`bias` must be floating point .* got int32"),
        (dict(lengths=jnp.array([10, 1])), "`lengths` must be from 0 to 9, got 10"),
        (dict(lengths=jnp.array([1.0, 1.0])), "`lengths` must be integers of shape \\(2,\\), got float32"),
        (dict(dropout=1.0), r"`dropout` must be a number in \[0, 1\), got 1.0"),
        (dict(dropout=0.1), "`rng` must be a jax.random.key with dropout"),
        (dict(window=-1), "`window` must be counts of keys of at least 0"),
        (dict(implementation="flash"), "`implementation` must be one of auto, xla, chunked, cudnn, got 'flash'"),
        (dict(implementation="chunked", blocks=(0, 4)), "`blocks` must be two sizes of at least 1"),
        (dict(implementation="cudnn", offset=2), "cudnn"),
        (dict(key=jnp.ones((2, 9, 3, 3))), "`query`, `key` and `value` must be"),
        (dict(scale=jnp.ones(())), "`scale` must be a number, got an array"),
        (dict(query=jnp.ones((2, 6, 3, 3))), "a multiple of the 2 heads of `key`, got 3"),
        (dict(query=jnp.ones((6, 3))), "`query` must be a floating point array \\[\\*batch, length"),
    ],
)
def test_invalid_arguments_are_rejected(change, message):
    given = dict(zip(("query", "key", "value"), problem(), strict=True))
    with pytest.raises(ValueError, match=message):
        at.attention(**{**given, **change})
