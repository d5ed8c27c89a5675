"""Histograms of sets: comparison with published code, partition of unity, chunks, gradients and memory."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxnets import sets
from jaxnets.sets.histogram import KINDS

GOLDEN = np.load(Path(__file__).parent.parent / "reference" / "sets.npz")
weighted_sum = lambda ys: jnp.sum(jnp.cos(jnp.arange(ys.size)).reshape(ys.shape) * ys**2)
each = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "linear"])
def test_histograms_equal_the_published_code(float64, kind):
    case = f"histogram/{kind}"
    given = [jnp.array(GOLDEN[f"{case}/{name}"]) for name in ("x", "centers", "widths")]
    run = lambda x, centers, widths: sets.histogram(x, {"centers": centers, "widths": widths}, kind=kind, chunk=2)
    np.testing.assert_allclose(run(*given), GOLDEN[f"{case}/output"], rtol=1e-9, atol=1e-12)
    got = jax.jit(jax.grad(lambda *given: weighted_sum(run(*given)), (0, 1, 2)))(*given)
    for name, gradient in zip(("x", "centers", "widths"), got, strict=True):
        np.testing.assert_allclose(gradient, GOLDEN[f"{case}/gradient/{name}"], rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("centers", ["even", "learned", "unsorted", "equal"])
def test_linear_votes_sum_to_one_everywhere(centers):
    bins = sets.bins_init("linear", 1, 7)
    if centers == "learned":
        bins = {"centers": bins["centers"] + 0.05 * jax.random.normal(jax.random.key(0), (1, 7))}
    elif centers == "unsorted":
        bins = {"centers": jax.random.uniform(jax.random.key(1), (1, 7))}
    elif centers == "equal":
        bins = {"centers": bins["centers"].at[0, 3].set(bins["centers"][0, 2])}
    xs = jnp.concatenate([jnp.array([-3.0, 0.0, 1.0, 2.0, 1e30]), jnp.linspace(0, 1, 997), bins["centers"][0]])[:, None]
    found = sets.votes("linear", bins, xs)
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)


def test_linear_votes_have_gradients_everywhere_inside():
    bins = sets.bins_init("linear", 1, 5)
    mean_of_votes = lambda x: jnp.sum(sets.votes("linear", bins, x[None, None])[0, 0] * bins["centers"][0])
    xs = jnp.linspace(0.001, 0.999, 501)
    np.testing.assert_allclose(jax.vmap(mean_of_votes)(xs), xs, atol=1e-6)  # the votes determine x
    np.testing.assert_allclose(jax.vmap(jax.grad(mean_of_votes))(xs), 1, atol=1e-5)


@pytest.mark.parametrize("kind, total", [("hard", 1.063), ("soft", 0.500), ("gaussian", 0.882), ("sigmoid", 0.9986)])
def test_mean_sum_of_votes_of_the_published_kinds(kind, total):
    xs = jnp.linspace(0, 1, 20001)[:, None]
    found = sets.histogram(xs, sets.bins_init(kind, 1, 32), kind=kind).sum()
    np.testing.assert_allclose(found, total, atol=2e-3)


@each
@pytest.mark.parametrize("chunk", [1, 3, None])
def test_chunks_order_and_segments_have_no_effect(float64, kind, chunk):
    xs = jax.random.uniform(jax.random.key(3), (2, 10, 3), jnp.float64)
    mask = jnp.array([[True] * 10, [True] * 4 + [False] * 6])
    bins = jax.tree.map(lambda a: a.astype(jnp.float64), sets.bins_init(kind, 3, 5))
    run = lambda xs, bins, valid, chunk: weighted_sum(sets.histogram(xs, bins, valid, kind=kind, chunk=chunk))
    gradients = jax.jit(jax.value_and_grad(run, (0, 1)), static_argnums=3)
    expected = gradients(xs, bins, mask, 10)
    order = jax.random.permutation(jax.random.key(4), 10)
    permuted, (dx, dbins) = gradients(jnp.where(mask[..., None], xs, jnp.nan)[:, order], bins, mask[:, order], chunk)
    np.testing.assert_allclose(permuted, expected[0], rtol=1e-12)
    np.testing.assert_allclose(dx, expected[1][0][:, order], atol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), dbins, expected[1][1])
    ids = jnp.where(mask, jnp.arange(2)[:, None], 2).reshape(-1)
    flat, (dflat, _) = gradients(xs.reshape(-1, 3), bins, sets.Segments(ids, 2), chunk)
    np.testing.assert_allclose(flat, expected[0], rtol=1e-12)
    np.testing.assert_allclose(dflat.reshape(xs.shape), expected[1][0], atol=1e-12)


@pytest.mark.parametrize("kind", ["soft", "gaussian", "sigmoid", "linear"])
def test_gradients_equal_finite_differences(float64, kind):
    xs = jax.random.uniform(jax.random.key(3), (6, 2), jnp.float64)
    bins = jax.tree.map(lambda a: a.astype(jnp.float64), sets.bins_init(kind, 2, 4))
    run = jax.jit(lambda xs, bins: weighted_sum(sets.histogram(xs, bins, kind=kind, chunk=4)))
    check_grads(run, (xs, bins), 1, ["rev"], eps=1e-7, rtol=1e-4, atol=1e-6)


def test_cumulative_histogram_is_the_distribution_function():
    xs = jax.random.uniform(jax.random.key(3), (1000, 1))
    found = sets.histogram(xs, sets.bins_init("hard", 1, 10), kind="hard", cumulative=True)[0]
    np.testing.assert_allclose(found, [(xs < edge).mean() for edge in np.arange(0.1, 1.05, 0.1)], atol=0.08)
    linear = sets.histogram(xs, sets.bins_init("linear", 1, 10), cumulative=True)[0]
    np.testing.assert_allclose(linear[-1], 1, atol=1e-6)
    assert (jnp.diff(linear) >= 0).all()


@each
def test_empty_sets_yield_zeros_and_values_are_clipped(kind):
    bins = sets.bins_init(kind, 2, 4)
    xs, mask = jnp.full((3, 5, 2), jnp.nan), jnp.zeros((3, 5), bool)
    run = jax.jit(lambda xs: jnp.sum(sets.histogram(xs, bins, mask, kind=kind)))
    assert run(xs) == 0 and not np.asarray(jax.grad(run)(xs)).any()
    assert not np.asarray(sets.histogram(jnp.zeros((3, 0, 2)), bins, kind=kind)).any()
    clipped = sets.histogram(jnp.array([[-7.0, 9.0]]), bins, kind=kind)
    np.testing.assert_array_equal(clipped, sets.histogram(jnp.array([[0.0, 1.0]]), bins, kind=kind))


@each
def test_memory_does_not_grow_with_elements_times_bins(kind):
    bins = sets.bins_init(kind, 4, 64)
    gradient = jax.jit(jax.grad(lambda xs, bins: jnp.sum(sets.histogram(xs, bins, kind=kind) ** 2), (0, 1)))
    xs = jax.ShapeDtypeStruct((1, 100_000, 4), jnp.float32)
    num_bytes = gradient.lower(xs, bins).compile().memory_analysis().temp_size_in_bytes
    assert num_bytes < 0.1 * 100_000 * 4 * 64 * 4


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda xs: sets.bins_init("round", 2, 4),
            "`kind` must be one of hard, soft, gaussian, sigmoid, linear, got 'round'",
        ),
        (lambda xs: sets.bins_init("linear", 2, 1), "`num_bins` must be an integer of at least 2, got 1"),
        (
            lambda xs: sets.histogram(xs, sets.bins_init("soft", 2, 4)),
            r"`bins` must have the keys \['centers'\] for 'linear', got",
        ),
        (lambda xs: sets.histogram(xs, sets.bins_init("linear", 3, 4)), r"`centers` must be \[2, B\]"),
        (
            lambda xs: sets.histogram(xs, sets.bins_init("linear", 2, 4), chunk=0),
            "`chunk` must be an integer of at least 1, got 0",
        ),
        (lambda xs: sets.histogram(xs, jnp.ones((2, 4))), r"`bins` must be a dict as from bins_init\('linear'"),
        (
            lambda xs: sets.histogram(xs, {"centers": jnp.ones((2, 4)), "widths": jnp.ones((2, 3))}, kind="soft"),
            "`bins` must have as many centers as widths",
        ),
    ],
)
def test_invalid_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((3, 5, 2)))
