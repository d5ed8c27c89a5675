"""Text classifiers: equality with twins in torch, published counts, padding, wrong arguments, and learning."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT

from jaxnets import recurrent, text, weights

GOLDEN = np.load(ROOT / "tests" / "reference" / "text.npz")
V, C, D, HIDDEN, HEADS = 11, 3, 4, 2, 2
TOKENS, LENGTHS = GOLDEN["tokens"], GOLDEN["lengths"]
lstm_model = functools.partial(text.RecurrentTextClassifier, V, C, D, hidden_size=HIDDEN)
attention_model = functools.partial(text.AttentionTextClassifier, V, C, D, num_heads=HEADS, num_layers=1)
MODELS = {
    "cnn": text.TextCNN(V, C, D, features=2),
    **{pooling: lstm_model(pooling=pooling) for pooling in ("last", "max", "mean", "attention")},
    "attention_mean": attention_model(),
    "attention_class": attention_model(pooling="class"),
    "ngrams": text.NgramClassifier(V, C, D, max_ngram=3, num_buckets=13),
}
OTHERS = {
    "gru": text.RecurrentTextClassifier(V, C, D, cell=recurrent.gru, hidden_size=HIDDEN, bidirectional=False),
    "rotary": text.AttentionTextClassifier(V, C, 8, num_heads=2, num_layers=2, positions="rotary", scan_layers=True),
    "bag": attention_model(positions="none"),
    "words": text.NgramClassifier(V, C, D, max_ngram=1),
}


def cases(names, *fast):
    """Names of models, of which all but some are for the slow tier."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow(seconds=4)) for name in names]


def dense(state, name):
    found = {"kernel": state[f"{name}.weight"].T}
    if f"{name}.bias" in state:
        found["bias"] = state[f"{name}.bias"]
    return found


def encoder_layer(state, at):
    """Parameters of a block from ``torch.nn.TransformerEncoderLayer``."""
    attention = {}
    for i, name in enumerate(("query", "key", "value")):
        kernel, bias = (state[f"{at}self_attn.in_proj_{part}"][i * D : (i + 1) * D] for part in ("weight", "bias"))
        attention[name] = {"kernel": kernel.T.reshape(D, HEADS, -1), "bias": bias.reshape(HEADS, -1)}
    out = dense(state, f"{at}self_attn.out_proj")
    attention["out"] = {"kernel": out["kernel"].reshape(HEADS, -1, D), "bias": out["bias"]}
    norms = {f"{name}_norm": norm(state, f"{at}norm{i}") for i, name in ((1, "attention"), (2, "network"))}
    return {
        "attention": attention,
        "inner": dense(state, f"{at}linear1"),
        "outer": dense(state, f"{at}linear2"),
        **norms,
    }


def norm(state, name):
    return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}


def from_torch(name, part):
    """Returns the parameters of a model from the weights, or the gradients, of its twin."""
    prefix = f"{name}/{part}/"
    state = {key.removeprefix(prefix): GOLDEN[key] for key in GOLDEN.files if key.startswith(prefix)}
    params = {"embed": {"embedding": state["embed.weight"]}, "head": dense(state, "head")}
    if name == "cnn":
        for width in (3, 4, 5):
            kernel, bias = state[f"convs.{width}.weight"], state[f"convs.{width}.bias"]
            params[f"conv_{width}"] = {"kernel": kernel.transpose(2, 1, 0), "bias": bias}
    elif name == "ngrams":
        params["ngrams"] = {"embedding": state["ngrams.weight"]}
    elif name.startswith("attention_"):
        params["blocks"] = {f"block_{i}": encoder_layer(state, f"encoder.layers.{i}.") for i in range(1)}
        params["norm"] = norm(state, "encoder.norm")
        if name == "attention_class":
            params["class_token"] = state["class_token"]
    else:
        network = {"rnn": weights.from_torch(state, "rnn."), "head": params.pop("head")}
        if name == "attention":
            network |= {"attention": dense(state, "attention"), "score": dense(state, "score")}
        params["network"] = network
    return {"params": params}


def objective(output):
    return jnp.sum(jnp.cos(jnp.arange(output.size, dtype=output.dtype)).reshape(output.shape) * output**2)


def without_lstm_bias(tree):
    """torch has two biases of an LSTM with equal gradients; the conversion adds them up."""
    halve = lambda path, leaf: leaf / 2 if "rnn" in str(path) and "bias" in str(path) else leaf
    return jax.tree_util.tree_map_with_path(halve, tree)


@pytest.mark.parametrize("name", cases(MODELS, "cnn", "max", "attention_mean", "ngrams"))
def test_logits_and_gradients_equal_torch(name, float64):
    model = MODELS[name].clone(dtype=jnp.float64)
    padded = np.where(np.arange(TOKENS.shape[1]) < LENGTHS[:, None], TOKENS, -1)  # any value
    variables = jax.tree.map(jnp.asarray, from_torch(name, "weight"))
    value = lambda variables: (lambda logits: (objective(logits), logits))(
        model.apply(variables, jnp.asarray(padded), lengths=LENGTHS)
    )
    gradient, logits = jax.jit(jax.grad(value, has_aux=True))(variables)
    assert logits.dtype == jnp.float64
    np.testing.assert_allclose(logits, GOLDEN[f"{name}/logits"], rtol=1e-10, atol=1e-12)
    expected = without_lstm_bias(from_torch(name, "gradient"))
    chex.assert_trees_all_close(gradient, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.slow(50)
@pytest.mark.parametrize("name", cases([*MODELS, *OTHERS], "cnn", "attention_class", "ngrams"))
def test_padding_has_no_effect(name):
    model = {**MODELS, **OTHERS}[name]
    lengths = np.array([7, 0, 1, 4], np.int32)
    variables = random_variables(model)
    run = jax.jit(lambda v, tokens, lengths: model.apply(v, tokens, lengths=lengths))
    padded = np.where(np.arange(7) < lengths[:, None], TOKENS, 10**6).astype(np.int32)
    found = run(variables, padded, lengths)
    assert found.dtype == jnp.float32 and found.shape == (4, C)
    wider = np.pad(padded, ((0, 0), (0, 2)), constant_values=-3)
    np.testing.assert_allclose(run(variables, wider, lengths), found, atol=1e-5)
    for row, length, logits in zip(TOKENS, lengths, found, strict=True):
        alone = model.apply(variables, row[None, : max(length, 1)], lengths=np.array([length], np.int32))
        np.testing.assert_allclose(logits, alone[0], atol=1e-5)
    gradient = jax.grad(lambda v: jnp.sum(run(v, padded, lengths) ** 2))(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def random_variables(model):
    """Initial variables plus noise, since some initial values are zero."""
    leaves, tree = jax.tree.flatten(jax.jit(model.init)(jax.random.key(0), TOKENS))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


@pytest.mark.slow(20)
@pytest.mark.parametrize("name", cases(MODELS, "cnn", "ngrams"))
def test_no_tokens_and_further_batch_axes(name):
    model, variables = MODELS[name], random_variables(MODELS[name])
    assert np.isfinite(model.apply(variables, np.zeros((2, 0), np.int32))).all()
    flat = model.apply(variables, TOKENS, lengths=LENGTHS)
    nested = model.apply(variables, TOKENS.reshape(2, 2, 7), lengths=LENGTHS.reshape(2, 2))
    np.testing.assert_allclose(nested.reshape(4, C), flat, atol=1e-5)


@pytest.mark.parametrize("name", cases(MODELS, "cnn", "ngrams"))
def test_half_precision_is_close(name):
    variables = random_variables(MODELS[name])
    expected = MODELS[name].apply(variables, TOKENS, lengths=LENGTHS)
    found = MODELS[name].clone(dtype=jnp.bfloat16).apply(variables, TOKENS, lengths=LENGTHS)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=0.1 * np.abs(expected).max())


@pytest.mark.parametrize("name", cases(MODELS, "cnn", "ngrams"))
def test_overfits_a_few_texts(name):
    random = np.random.default_rng(0)
    tokens, lengths = random.integers(0, V, (12, 9)).astype(np.int32), random.integers(3, 10, 12).astype(np.int32)
    targets = random.integers(0, C, 12).astype(np.int32)
    model, optimizer = MODELS[name].clone(dropout=0.0, embed_dim=16), optax.adam(0.03)
    params = jax.jit(model.init)(jax.random.key(0), tokens)

    def loss(params, key):
        logits = model.apply(params, tokens, lengths=lengths, train=True, rngs={"dropout": key})
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    def step(state, key):
        gradient = jax.grad(loss)(state[0], key)
        with jax.numpy_dtype_promotion("standard"):  # optax raises numbers to the power of integers
            updates, inner = optimizer.update(gradient, state[1])
        return (optax.apply_updates(state[0], updates), inner), None

    keys = jax.random.split(jax.random.key(1), 80)
    (params, _), _ = jax.jit(lambda params: jax.lax.scan(step, (params, optimizer.init(params)), keys))(params)
    assert (jnp.argmax(model.apply(params, tokens, lengths=lengths), -1) == targets).all()


def test_dropout_of_ngrams_keeps_the_mean():
    model = text.NgramClassifier(V, C, D, ngram_dropout=0.5, num_buckets=13)
    variables = random_variables(model)
    expected = model.apply(variables, TOKENS, lengths=LENGTHS)
    apply = lambda key: model.apply(variables, TOKENS, lengths=LENGTHS, train=True, rngs={"dropout": key})
    found = jax.vmap(apply)(jax.random.split(jax.random.key(0), 4000))
    assert np.std(found, axis=0)[LENGTHS > 0].min() > 0.01
    np.testing.assert_allclose(found.mean(0), expected, atol=5 * np.std(found) / 4000**0.5)
    with pytest.raises(ValueError, match="`ngram_dropout`"):
        model.clone(ngram_dropout=1.5).init(jax.random.key(0), TOKENS)


def test_counts_of_the_papers():
    count = lambda model: sum(
        leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), TOKENS))
    )
    # Kim 2014: (3 + 4 + 5) * 300 * 100 weights and 300 biases of filters, 2 * 300 + 2 of the last layer.
    assert count(text.TextCNN(V, 2)) == V * 300 + 360_902
    # Joulin et al. 2017: a table of words, a table of buckets, and a linear map without bias.
    assert count(text.NgramClassifier(V, 2, num_buckets=1000)) == (V + 1000 + 2) * 10


def test_buckets_are_fnv1a_hashes():
    # Published test vectors of 32-bit FNV-1a for the bytes of the ids.
    id_of = lambda word: int.from_bytes(word, "little")
    tokens = np.array([[id_of(b"foob"), id_of(b"ar\0\0")], [id_of(b"test"), id_of(b"test")]], np.uint32)
    hash_of = lambda data: functools.reduce(lambda h, b: (h ^ b) * 16777619 % 2**32, data, 2166136261)
    assert hash_of(b"foobar") == 0xBF9CF968  # as published
    found = text.ngram_buckets(tokens, 2, 2**31 - 1)
    assert found[0, 0] == hash_of(b"foobar\0\0") % (2**31 - 1)
    assert found[1, 0] == hash_of(b"testtest") % (2**31 - 1)
    assert text.ngram_buckets(tokens, 1, 2**31 - 1)[1, 0] == hash_of(b"test") % (2**31 - 1)
    assert text.ngram_buckets(np.zeros((2, 0), np.int32), 3, 5).shape == (2, 0)


@pytest.mark.slow(23)
def test_a_pretrained_table_is_the_initial_embedding():
    table = np.random.default_rng(0).normal(size=(V, D)).astype(np.float32)
    for model in MODELS.values():
        variables = model.clone(embedding_init=lambda key, shape, dtype: jnp.asarray(table, dtype)).init(
            jax.random.key(0), TOKENS
        )
        assert (variables["params"]["embed"]["embedding"] == table).all()


@pytest.mark.slow(13)
def test_positions_matter_except_for_a_bag():
    for name, changes in (("rotary", True), ("bag", False)):
        variables = random_variables(OTHERS[name])
        run = lambda tokens, model=OTHERS[name], variables=variables: model.apply(variables, tokens)
        assert (np.abs(run(TOKENS) - run(TOKENS[:, ::-1])).max() > 1e-3) == changes


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (text.TextCNN(V, 0), "`num_classes` must be an integer of at least 1, got 0"),
        (text.TextCNN(V, 2, widths=(3, 3)), r"`widths` must be distinct, at least one, got \(3, 3\)"),
        (text.TextCNN(V, 2, widths=()), r"`widths` must be distinct, at least one, got \(\)"),
        (text.TextCNN(V, 2, widths=(0,)), "`widths` must be an integer of at least 1, got 0"),
        (text.TextCNN(V, 2, dropout=1.0), r"`dropout` must be a number in \[0, 1\), got 1.0"),
        (lstm_model(pooling="none"), "`pooling` must be one of last, max, mean, attention, got 'none'"),
        (lstm_model(cell=recurrent.lstm(4)), "`cell` must be a function"),
        (attention_model(pooling="last"), "`pooling` must be one of mean, class, got 'last'"),
        (attention_model(positions="learned"), "`positions` must be one of sinusoidal, rotary, none"),
        (text.NgramClassifier(V, 2, max_ngram=0), "`max_ngram` must be an integer of at least 1, got 0"),
    ],
)
def test_wrong_attributes_are_rejected(model, message):
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), TOKENS)


def test_wrong_tokens_are_rejected():
    model, variables = MODELS["cnn"], random_variables(MODELS["cnn"])
    with pytest.raises(ValueError, match=r"`tokens` must be in 0 ... 10, got 11 at position \(0, 1\)"):
        model.apply(variables, np.array([[0, 11]]))
    with pytest.raises(ValueError, match=r"`tokens` must be an array of integers \[\*batch, T\], got float32"):
        model.apply(variables, np.zeros((1, 2), np.float32))
    with pytest.raises(ValueError, match="`lengths` must be from 0 to 7, got 8"):
        model.apply(variables, TOKENS, lengths=np.array([8, 0, 0, 0]))
