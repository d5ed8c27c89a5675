"""Baselines of anomaly detection: principal components against scikit-learn, and the nearest training series."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from jaxnets import series

RANDOM = np.random.default_rng(0)
MIX = RANDOM.normal(size=(3, 12))
TRAIN = np.float32(RANDOM.normal(size=(20, 3)) @ MIX + 0.1 * RANDOM.normal(size=(20, 12)) + 5).reshape(20, 6, 2)
NEW = np.float32(RANDOM.normal(size=(7, 3)) @ MIX + 5).reshape(7, 6, 2)


def fitted(model, rows, mask=None):
    variables = model.init(jax.random.key(0), rows[:1])
    batch = {"inputs": rows, "mask": np.ones(len(rows), bool) if mask is None else mask}
    return jax.jit(model.fit)(variables, batch)


def test_principal_components_equal_sklearn():
    model = series.PrincipalComponents(2)
    expected = PCA(2).fit(TRAIN.reshape(20, -1).astype(np.float64))
    reconstructed = expected.inverse_transform(expected.transform(NEW.reshape(7, -1))).reshape(NEW.shape)
    np.testing.assert_allclose(model.apply(fitted(model, TRAIN), NEW), reconstructed, rtol=1e-4, atol=1e-4)


def test_nearest_series_equals_sklearn():
    model = series.NearestSeries()
    _, index = NearestNeighbors(n_neighbors=1).fit(TRAIN.reshape(20, -1)).kneighbors(NEW.reshape(7, -1))
    np.testing.assert_array_equal(model.apply(fitted(model, TRAIN), NEW), TRAIN[index[:, 0]])
    np.testing.assert_array_equal(model.apply(fitted(model, TRAIN[:1]), NEW), np.broadcast_to(TRAIN[:1], NEW.shape))


@pytest.mark.parametrize("model", [series.PrincipalComponents(2), series.NearestSeries()], ids=["pca", "neighbor"])
def test_masked_rows_do_not_count(model):
    mask = np.arange(20) < 15
    padded = np.where(mask[:, None, None], TRAIN, np.float32(np.nan))
    expected = model.apply(fitted(model, TRAIN[:15]), NEW)
    np.testing.assert_allclose(model.apply(fitted(model, padded, mask), NEW), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", [series.PrincipalComponents(2), series.NearestSeries()], ids=["pca", "neighbor"])
@pytest.mark.parametrize("shape", [(7, 5, 2), (7, 7, 2), (7, 4, 3)])
def test_series_of_another_shape_than_in_training_are_refused(model, shape):
    match = rf"`xs` must have the shape of the training series, \[B, 6, 2\], got {re.escape(str(shape))}"
    with pytest.raises(ValueError, match=match):
        model.apply(fitted(model, TRAIN), np.zeros(shape, np.float32))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`num_components` must be at most 12 for 20 training series of 12 numbers, g"):
        fitted(series.PrincipalComponents(13), TRAIN)
    with pytest.raises(ValueError, match="the series must have equal lengths for NearestSeries, got series with `len"):
        series.NearestSeries().init(jax.random.key(0), jnp.asarray(TRAIN), lengths=jnp.full(20, 6))
