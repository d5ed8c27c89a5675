"""Folds and models applied chunk by chunk, compared with the whole set."""

import itertools

import jax
import numpy as np
import pytest
from folds import FOLDS

from jaxnets import sets

XS = jax.random.uniform(jax.random.key(0), (2, 17, 3))
MASK = jax.random.bernoulli(jax.random.key(1), 0.7, (2, 17)).at[1].set(False)
SIZES = dict(embed_dim=8, num_heads=2, num_inducing_points=3)
MODELS = {
    "deep sets": sets.DeepSets(2, (6, 5), (4,)),
    "deep sets max": sets.DeepSets(2, (6, 5), (4,), pooling="max"),
    "hist net": sets.HistNetQ(3, (6, 4), (5,), num_bins=5),
    "hist net hard": sets.HistNetQ(3, (6, 4), (5,), num_bins=5, kind="hard", cumulative=True),
    "set transformer": sets.SetTransformer(2, **SIZES),
    "set transformer clean": sets.SetTransformer(
        2, num_seeds=2, num_encoder_blocks=1, norm="layer", clean_residual=True, **SIZES
    ),
}
BOUNDARIES = {
    "one chunk": (0, 17),
    "two chunks": (0, 5, 17),
    "single elements": tuple(range(18)),
    "empty chunk": (0, 9, 9, 17),
}


def chunks(name, mask):
    for start, stop in itertools.pairwise(BOUNDARIES[name]):
        yield XS[:, start:stop], None if mask is None else mask[:, start:stop]


@pytest.mark.parametrize("split", BOUNDARIES)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", FOLDS)
def test_folds_equal_the_whole_set(name, masked, split):
    fold, pool = FOLDS[name]
    mask = MASK if masked else None
    carry = None
    for xs, valid in chunks(split, mask):
        carry = fold.init(xs, valid) if carry is None else carry
        carry = fold.update(carry, xs, valid)
    np.testing.assert_allclose(fold.result(carry), pool(XS, mask), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("split", ["two chunks", pytest.param("empty chunk", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MODELS)
def test_models_equal_the_whole_set(name, split):
    model = MODELS[name]
    variables = jax.jit(model.init)(jax.random.key(2), XS)
    mask = MASK if split == "two chunks" else None
    expected = jax.jit(model.apply)(variables, XS, mask)
    np.testing.assert_allclose(
        sets.apply_in_chunks(model, variables, lambda: chunks(split, mask)), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "model, message",
    [
        (
            sets.DeepSets(2, pooling="median"),
            "`pooling` must be one of sum, mean, max, min for sets in chunks, got 'median'",
        ),
        (
            sets.SetTransformer(2, embed_dim=8, num_heads=2, num_inducing_points=0),
            "`num_inducing_points` must be at least 1.*SAB needs the whole set",
        ),
        (sets.SetTransformer(2, norm="set", **SIZES), "`norm` must be none or layer for sets in chunks, got 'set'"),
    ],
)
def test_models_that_need_the_whole_set_are_rejected(model, message):
    variables = model.init(jax.random.key(2), XS)
    with pytest.raises(ValueError, match=message):
        sets.apply_in_chunks(model, variables, lambda: chunks("two chunks", None))


def test_empty_iterable_is_rejected():
    model = MODELS["deep sets"]
    with pytest.raises(ValueError, match="`chunks` must return at least one chunk"):
        sets.apply_in_chunks(model, model.init(jax.random.key(2), XS), lambda: iter(()))


@pytest.mark.parametrize(
    "model, given, message",
    [
        (
            sets.SAB(8, 2),
            lambda: chunks("two chunks", None),
            "`model` must be a DeepSets, HistNetQ or SetTransformer, got SAB",
        ),
        (
            MODELS["deep sets"],
            list(chunks("two chunks", None)),
            "`chunks` must be a function that returns an iterable.*got list",
        ),
        (MODELS["set transformer"], None, "got none in pass 2 of 3: the function must return a new iterable"),
    ],
)
def test_invalid_model_or_chunks_are_rejected(model, given, message):
    iterator = chunks("two chunks", None)  # an iterator is exhausted after the first pass
    with pytest.raises(ValueError, match=message):
        sets.apply_in_chunks(model, model.init(jax.random.key(2), XS), given or (lambda: iterator))
