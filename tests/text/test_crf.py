"""Conditional random fields against enumeration and pytorch-crf; masks, constraints, precision and extreme scores."""

import functools
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxnets import text

GOLDEN = dict(np.load(Path(__file__).parent.parent / "reference" / "crf.npz"))
NAMES = ("emissions", "transitions", "start", "end")
SHARED = NAMES[1:]


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@functools.partial(jax.jit, static_argnames="names")
def everything(arrays, tags, mask, weights, names=NAMES):
    """All functions and the gradients of log Z and of the log-likelihood, compiled once per shape."""
    fixed = {name: a for name, a in arrays.items() if name not in names}
    run = lambda f, free: f(**fixed, **free)
    free = {name: arrays[name] for name in names}
    with_tags = functools.partial(text.crf_log_likelihood, tags=tags)
    return {
        "log_z": text.crf_log_partition(**arrays, mask=mask),
        "log_likelihood": text.crf_log_likelihood(**arrays, tags=tags, mask=mask),
        "score": text.crf_score(**arrays, tags=tags, mask=mask),
        "best": text.crf_viterbi(**arrays, mask=mask),
        "marginals": text.crf_marginals(**arrays, mask=mask),
        "log_z_gradient": jax.grad(lambda free: weights @ run(text.crf_log_partition, {**free, "mask": mask}))(free),
        "gradient": jax.grad(lambda free: weights @ run(with_tags, {**free, "mask": mask}))(free),
    }


def enumerated(emissions, transitions, start, end, mask):
    """All sequences of tags of one row, with their scores."""
    steps = emissions[mask]
    sequences = list(itertools.product(range(emissions.shape[1]), repeat=len(steps)))
    if not len(steps):
        return sequences, np.zeros(1)
    score = lambda y: (
        start[y[0]] + end[y[-1]] + sum(e[k] for e, k in zip(steps, y, strict=True)) + sum(map(move, y, y[1:]))
    )
    move = lambda i, j: transitions[i, j]
    return sequences, np.array([score(y) for y in sequences])


def random_scores(rng, batch, length, num_tags, constraints=False):
    arrays = {
        "emissions": rng.normal(size=(batch, length, num_tags)) * 2,
        "transitions": rng.normal(size=(num_tags, num_tags)),
        "start": rng.normal(size=num_tags),
        "end": rng.normal(size=num_tags),
    }
    if constraints:
        for name in SHARED:
            arrays[name][rng.random(arrays[name].shape) < 0.3] = -np.inf
    return arrays


@pytest.mark.parametrize("constraints", [False, True])
@pytest.mark.parametrize("num_tags", [1, 2, 3])
def test_enumeration(num_tags, constraints):
    rng = np.random.default_rng(num_tags)
    masks = np.array(list(itertools.product([False, True], repeat=4)))  # all, with holes and the empty row
    tags = rng.integers(0, num_tags, size=masks.shape)
    for _ in range(4):
        arrays = random_scores(rng, *masks.shape, num_tags, constraints)
        padded = {**arrays, "emissions": np.where(masks[..., None], arrays["emissions"], np.nan)}
        found = everything(padded, np.where(masks, tags, -100), masks, np.ones(len(masks)))
        for row, mask in enumerate(masks):
            one = (arrays["emissions"][row], *(arrays[name] for name in SHARED), mask)
            sequences, scores = enumerated(*one)
            best = scores.max()
            with np.errstate(divide="ignore"):
                log_z = np.log(np.sum(np.exp(scores)))
            np.testing.assert_allclose(found["log_z"][row], log_z, atol=1e-10)
            given = scores[sequences.index(tuple(tags[row][mask].tolist()))]
            np.testing.assert_allclose(found["score"][row], given, atol=1e-10)
            expected = -np.inf if given == -np.inf else given - log_z
            np.testing.assert_allclose(found["log_likelihood"][row], expected, atol=1e-10)
            assert found["log_likelihood"][row] <= 0
            np.testing.assert_allclose(found["best"][1][row], best, atol=1e-10)
            path = np.asarray(found["best"][0][row])
            assert (path[~mask] == 0).all()
            np.testing.assert_allclose(scores[sequences.index(tuple(path[mask].tolist()))], best, atol=1e-10)
            weights = np.exp(scores - log_z) if best > -np.inf else np.zeros_like(scores)
            marginals = np.zeros((4, num_tags))
            for y, weight in zip(sequences, weights, strict=True):
                marginals[np.nonzero(mask)[0], list(y)] += weight
            np.testing.assert_allclose(found["marginals"][row], marginals, atol=1e-10)
        assert all(np.isfinite(a).all() for a in jax.tree.leaves([found["gradient"], found["log_z_gradient"]]))


def test_pytorch_crf():
    arrays = {name: GOLDEN[name] for name in NAMES}
    found = everything(arrays, GOLDEN["tags"], GOLDEN["mask"], np.cos(np.arange(5.0)))
    np.testing.assert_allclose(found["log_likelihood"], GOLDEN["log_likelihood"], rtol=0, atol=1e-10)
    np.testing.assert_array_equal(found["best"][0], GOLDEN["best"])
    for name in NAMES:
        np.testing.assert_allclose(found["gradient"][name], GOLDEN[f"gradient/{name}"], rtol=0, atol=1e-10)


def test_page_of_references():
    arrays = {
        "emissions": np.array([[[0.1, 0.2], [0.3, -0.1], [0, 0.5]]]),
        "transitions": np.array([[0.2, -0.3], [0.1, 0.4]]),
        "start": np.array([0.05, -0.05]),
        "end": np.array([0.1, 0]),
    }
    np.testing.assert_allclose(text.crf_log_partition(**arrays), [2.8915788065090156], atol=1e-12)
    tags, score = text.crf_viterbi(**arrays)
    assert tags.tolist() == [[1, 1, 1]]
    np.testing.assert_allclose(score, [1.35], atol=1e-12)
