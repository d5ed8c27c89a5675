"""Embedding tables from word vectors, as arrays and as initializers of text models."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxnets import data, tasks, weights
from jaxnets.modules.embed import Embed
from jaxnets.training.errors import UsageError
from jaxnets.training.settings.forms import Builder
from jaxnets.training.settings.names import FAMILIES

VECTORS = weights.WordVectors(("the", "king", "King"), np.arange(6, dtype=np.float32).reshape(3, 2))
SYMBOLS = ("<unknown>", "King", "KING", "xyz", "The")


@pytest.fixture
def path(tmp_path):
    weights.write_word_vectors(tmp_path / "glove.txt", VECTORS, "glove")
    return str(tmp_path / "glove.txt")


class Model(nn.Module):
    vocab_size: int
    embedding_init: nn.initializers.Initializer = nn.initializers.normal()
    encoder: nn.Module | None = None

    @nn.compact
    def __call__(self, tokens):
        ys = Embed(self.vocab_size, 2, embedding_init=self.embedding_init)(tokens)
        return ys if self.encoder is None else ys + self.encoder(tokens)


def test_rows_are_the_vectors_of_words_or_of_their_lower_case():
    found = weights.embedding_table(VECTORS, SYMBOLS)
    assert found.known.tolist() == [False, True, True, False, True]
    assert found.coverage == pytest.approx(0.6) and found.table.dtype == np.float32
    np.testing.assert_array_equal(found.table[found.known], VECTORS.vectors[[2, 1, 0]])
    exact = weights.embedding_table(VECTORS, SYMBOLS, lowercase=False)
    assert exact.known.tolist() == [False, True, False, False, False]


def test_random_rows_have_the_standard_deviation_of_the_others():
    symbols = ("the", "King", *(f"unknown {index}" for index in range(4000)))
    found = weights.embedding_table(VECTORS, symbols)
    assert np.std(found.table[2:]) == pytest.approx(np.std([0, 1, 4, 5]), rel=0.05)
    np.testing.assert_array_equal(found.table, weights.embedding_table(VECTORS, symbols).table)
    assert (found.table[2:] != weights.embedding_table(VECTORS, symbols, seed=1).table[2:]).all()


def test_initializer_equals_the_table(path, capsys):
    init = weights.PretrainedEmbeddings(path, symbols=SYMBOLS)
    key, known = jax.random.key(0), np.array([1, 2, 4])
    for found in (init(key, (5, 2)), jax.jit(init, static_argnums=1)(key, (5, 2))):
        np.testing.assert_array_equal(np.asarray(found)[known], VECTORS.vectors[[2, 1, 0]])
        assert (np.asarray(found)[[0, 3]] != 0).all()
    assert capsys.readouterr().err.splitlines() == [f"3 of 5 tokens have vectors of {path}"] * 2
    assert init(key, (5, 2), jnp.bfloat16).dtype == jnp.bfloat16
    assert (init(jax.random.key(1), (5, 2))[0] != found[0]).all()


def test_shapes_need_no_file():
    init = weights.PretrainedEmbeddings("missing")
    assert jax.eval_shape(lambda key: init(key, (5, 2)), jax.random.key(0)).shape == (5, 2)


def test_task_adds_the_symbols_of_its_tokenizer(path):
    tokenizer = data.Tokenizer("word", ("the", "King", "other"))
    init = weights.PretrainedEmbeddings(path)
    model = tasks.with_embeddings(Model(tokenizer.size, init, Model(tokenizer.size, init)), tokenizer)
    assert model.embedding_init.symbols == model.encoder.embedding_init.symbols == ("<unknown>", "the", "King", "other")
    ids = tokenizer.encode("the King")[None]
    variables = jax.jit(model.init)(jax.random.key(0), ids)
    np.testing.assert_array_equal(model.apply(variables, ids)[0], 2 * VECTORS.vectors[[0, 2]])
    partial = functools.partial(weights.PretrainedEmbeddings, path=path)  # from the command line
    assert tasks.with_embeddings(Model(tokenizer.size, partial), tokenizer).embedding_init == model.embedding_init
    plain = Model(tokenizer.size)
    assert tasks.with_embeddings(plain, tokenizer) is plain


@pytest.mark.parametrize("jit", [False, True])
def test_wrong_tables(jit, path):
    def make(shape, **options):
        init = weights.PretrainedEmbeddings(**{"path": path, "symbols": SYMBOLS, **options})
        return (jax.jit if jit else lambda f: f)(lambda key: init(key, shape))(jax.random.key(0)).block_until_ready()

    cases = [
        (lambda: make((4, 2)), "the table must have one row for each of 5 symbols, got (4, 2)"),
        (lambda: make((5, 3)), "the model must have embeddings of 2 dimensions, those of "),
        (lambda: make((5, 2), path="missing"), "cannot read missing: No such file or directory"),
        (lambda: make((1, 2), symbols=("x",)), "at least one of 1 symbols must be among the words, got none: 'x'"),
    ]
    for call, message in cases:
        with pytest.raises(jax.errors.JaxRuntimeError if jit else ValueError, match=re.escape(message)):
            call()


def test_config_may_name_the_initializer_only():
    build = Builder((), None).value
    init = build({"name": "weights.PretrainedEmbeddings", "path": "a", "limit": 5}, FAMILIES)
    assert init == weights.PretrainedEmbeddings("a", limit=5)
    for name in ("write", "write_word_vectors", "read"):
        with pytest.raises(UsageError, match=f"no {name} in weights"):
            build({"factory": f"weights.{name}"}, FAMILIES)
