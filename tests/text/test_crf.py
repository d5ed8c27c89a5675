"""Conditional random fields against enumeration and pytorch-crf; masks, constraints, precision and extreme scores."""

import functools
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import text
from jaxnets.text.crf_sums import Scores, log_space_counts

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


def test_gradients_equal_finite_differences():
    rng = np.random.default_rng(5)
    arrays = random_scores(rng, 3, 5, 3)
    mask = np.array([[1, 1, 0, 1, 1], [0, 0, 0, 1, 1], [1, 0, 1, 0, 0]], bool)
    tags, weights = rng.integers(0, 3, mask.shape), rng.normal(size=3)
    both = jax.jit(lambda arrays: weights @ text.crf_log_likelihood(**arrays, tags=tags, mask=mask))
    gradient = jax.jit(jax.grad(both))(arrays)
    for name in NAMES:
        for _ in range(6):
            index = tuple(rng.integers(0, size) for size in arrays[name].shape)
            moved = [{**arrays, name: arrays[name].copy()} for _ in range(2)]
            moved[0][name][index] += 1e-5
            moved[1][name][index] -= 1e-5
            difference = (both(moved[0]) - both(moved[1])) / 2e-5
            np.testing.assert_allclose(gradient[name][index], difference, atol=1e-8)


@pytest.mark.slow(7)
def test_second_derivatives():
    arrays = random_scores(np.random.default_rng(6), 1, 3, 2)
    total = lambda emissions: jnp.sum(text.crf_log_partition(**{**arrays, "emissions": emissions}))
    forward, reverse = jax.jit(lambda e: (jax.hessian(total)(e), jax.jacrev(jax.grad(total))(e)))(arrays["emissions"])
    np.testing.assert_allclose(forward, reverse, atol=1e-12)
    zeros = jnp.zeros((2, 2))
    plain = jax.hessian(lambda e: jnp.sum(text.crf_log_partition(e, zeros)))(jnp.asarray(arrays["emissions"]))
    p = jax.nn.softmax(arrays["emissions"][0, 0])
    np.testing.assert_allclose(plain[0, 0, :, 0, 0], np.diag(p) - np.outer(p, p), atol=1e-12)


@pytest.mark.slow(10)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 40.0, 3000.0])
def test_extreme_scores(dtype, scale):
    """Products of exponentials underflow for the larger scales; the results are those of the sums in log space."""
    rng = np.random.default_rng(7)
    mask = rng.random((4, 9)) < 0.8
    arrays = {name: (a * scale).astype(dtype) for name, a in random_scores(rng, 4, 9, 5).items()}
    tags = rng.integers(0, 5, mask.shape)
    found = everything(arrays, tags, mask, np.ones(4, dtype), names=NAMES)
    exact = {name: a.astype(np.float64) for name, a in arrays.items()}
    scores, valid = Scores(**jax.tree.map(jnp.asarray, exact)), jnp.asarray(mask)
    log_z, counts = jax.jit(log_space_counts)(scores, valid)
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(found["log_z"], log_z, rtol=tolerance)
    assert found["log_z"].dtype == dtype
    # The rounding of scores of 10^4 changes probabilities of sequences with nearly equal scores.
    np.testing.assert_allclose(found["marginals"], counts.emissions, atol=tolerance * max(scale, 1) * 20)
    np.testing.assert_allclose(found["marginals"].sum(-1), mask, atol=1e-4)
    assert (found["log_likelihood"] <= 0).all()
    for name, gradient in found["log_z_gradient"].items():
        expected = getattr(counts, name)
        expected = expected if name == "emissions" else expected.sum(0)
        np.testing.assert_allclose(gradient, expected, atol=tolerance * max(scale, 1) * 100, err_msg=name)


def test_only_possible_sequence_is_unlikely():
    """The last tag must be 1, which is e^-500 times less likely than 0 at each step: exp(-500) is 0 in float32."""
    emissions = np.zeros((1, 4, 2), np.float32)
    emissions[:, :, 1] = -500
    transitions = np.array([[0, -np.inf], [-np.inf, 0]], np.float32)
    end = np.array([-np.inf, 0], np.float32)
    found = text.crf_log_partition(emissions, transitions, end=end)
    np.testing.assert_allclose(found, [-2000])
    marginals = text.crf_marginals(emissions, transitions, end=end)
    np.testing.assert_allclose(marginals[0], [[0, 1]] * 4)


def test_large_negative_transitions_as_constraints():
    rng = np.random.default_rng(8)
    arrays = random_scores(rng, 3, 6, 4)
    allowed = rng.random((4, 4)) < 0.7
    soft = np.where(allowed, arrays["transitions"], -1e4)
    hard, start, end = text.constrained(arrays["transitions"], arrays["start"], arrays["end"], allowed)
    others = {"start": start, "end": end}
    log_partition = jax.jit(lambda t: text.crf_log_partition(arrays["emissions"], t, **others))
    np.testing.assert_allclose(log_partition(soft), log_partition(hard), rtol=1e-12)


def test_constraints():
    rng = np.random.default_rng(9)
    allowed = np.array([[1, 1, 0], [1, 0, 1], [1, 0, 1]], bool)
    start, end = np.array([1, 1, 0], bool), np.array([1, 0, 1], bool)
    emissions = rng.normal(size=(3, 5, 3)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)
    tags = np.array([[0, 1, 2, 0, 0], [2, 0, 0, 0, 0], [1, 1, 1, 1, 1]])  # the second row starts with 2

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(emissions, transitions):
        scores = text.constrained(transitions, None, None, allowed, start, end)
        found = text.crf_log_likelihood(emissions, tags, *scores, mask)
        return jnp.sum(jnp.where(found > -jnp.inf, found, 0)), (found, text.crf_viterbi(emissions, *scores, mask))

    (_, (found, (best, score))), gradient = loss(emissions, np.zeros((3, 3), np.float32))
    assert -np.inf < found[0] < 0 and found[1] == -np.inf and found[2] == 0
    assert (gradient[1:] == 0).all() and (gradient[0] != 0).any()
    assert np.isfinite(score).all()
    for row, valid in zip(np.asarray(best)[:2], mask, strict=False):
        path = row[valid]
        assert start[path[0]] and end[path[-1]] and allowed[path[:-1], path[1:]].all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_half_precision(dtype):
    rng = np.random.default_rng(10)
    arrays = {name: jnp.asarray(a.astype(np.float32)) for name, a in random_scores(rng, 2, 40, 4).items()}
    arrays["emissions"] = (arrays["emissions"] * 1000).astype(dtype)  # the sum is beyond float16
    found, gradient = jax.value_and_grad(lambda e: jnp.sum(text.crf_log_partition(**{**arrays, "emissions": e})))(
        arrays["emissions"]
    )
    exact = text.crf_log_partition(**{**arrays, "emissions": arrays["emissions"].astype(jnp.float32)})
    assert found.dtype == jnp.float32 and gradient.dtype == dtype
    np.testing.assert_allclose(found, jnp.sum(exact), rtol=1e-6)


@pytest.mark.slow(5)
def test_no_steps_and_no_rows():
    transitions = jnp.zeros((2, 2))
    for shape in ((3, 0, 2), (0, 4, 2)):
        emissions, tags = jnp.zeros(shape), jnp.zeros(shape[:2], jnp.int32)
        assert text.crf_log_likelihood(emissions, tags, transitions).tolist() == [0] * shape[0]
        best, score = text.crf_viterbi(emissions, transitions)
        assert best.shape == shape[:2] and score.tolist() == [0] * shape[0]
        assert text.crf_marginals(emissions, transitions).shape == shape


def test_tags_out_of_range():
    emissions, transitions = jnp.zeros((2, 3, 2)), jnp.zeros((2, 2))
    tags = np.array([[0, 1, 1], [0, 2, 1]])
    with pytest.raises(ValueError, match=r"`tags` must be in 0 ... 1, got 2 at position \(1, 1\)"):
        text.crf_score(emissions, tags, transitions)
    found = jax.jit(text.crf_log_likelihood)(emissions, tags, transitions)
    assert np.isfinite(found[0]) and np.isnan(found[1])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"emissions": np.zeros((2, 3))}, r"`emissions` must be a floating point array \[B, T, K\], got float64 of sh"),
        ({"emissions": np.zeros((2, 3, 0))}, r"`emissions` must have the shape \[B, T, K\], K at least 1"),
        ({"transitions": np.zeros((3, 3))}, r"`transitions` must have the shape \(2, 2\), got \(3, 3\)"),
        ({"transitions": np.zeros((2, 3))}, r"`transitions` must have the shape \[K, K\], got \(2, 3\)"),
        ({"start": np.zeros(3)}, r"`start` must have the shape \(2,\), got \(3,\)"),
        ({"end": np.zeros(2, int)}, r"`end` must be a floating point array \[K\], got int64"),
        ({"mask": np.ones((2, 3))}, r"`mask` must be bool of shape \(2, 3\), got float64"),
        ({"tags": np.zeros((2, 2), int)}, r"`tags` must be integers of shape \(2, 3\), got int64 of shape \(2, 2\)"),
        ({"tags": np.zeros((2, 3))}, "`tags` must be an array of integers, got float64"),
    ],
)
def test_wrong_calls(changes, message):
    arrays = {"emissions": np.zeros((2, 3, 2)), "transitions": np.zeros((2, 2)), "tags": np.zeros((2, 3), int)}
    with pytest.raises(ValueError, match=message):
        text.crf_log_likelihood(**{**arrays, **changes})
