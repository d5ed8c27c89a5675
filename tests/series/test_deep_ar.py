"""DeepAR: equations in float64, teacher forcing, sample paths of known processes, masks and wrong arguments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import recurrent, series

T, H, C = 5, 4, 2
MODEL = series.DeepAR(H, hidden_size=3, embed_dim=2)
RANDOM = np.random.default_rng(0)
XS, YS = (RANDOM.normal(size=(3, steps, C)).astype(np.float32) for steps in (T, H))
OBSERVED, KNOWN = np.ones((3, T, C), bool), np.ones((3, H, C), bool)
OBSERVED[:, 1:3, 0] = OBSERVED[1, -1] = KNOWN[2, 1] = False
COVARIATES = {"future": RANDOM.normal(size=(3, T + H, 2)).astype(np.float32), "static": np.float32([[1], [2], [3]])}
GIVEN = {"observed": OBSERVED, "known": KNOWN, **COVARIATES}


@pytest.fixture(scope="module")
def variables():
    return jax.jit(MODEL.init)(jax.random.key(0), XS, YS, **GIVEN)


@pytest.fixture(scope="module")
def plain():
    """Variables for windows without covariates and missing values."""
    return jax.jit(MODEL.init)(jax.random.key(0), XS, YS)


def numpy_lstm(params, xs):
    """Runs a layer over ``[B, T, D]`` in float64."""
    kernel, bias = (np.float64(params["input"][name]) for name in ("kernel", "bias"))
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    h = c = np.zeros((len(xs), len(bias) // 4))
    outputs = []
    for x in np.moveaxis(xs, 1, 0):
        i, f, g, o = np.split(x @ kernel + h @ np.float64(params["recurrent"]["kernel"]) + bias, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, 1)


def numpy_outputs(params, counts=False):
    """Computes the outputs and the scale from the equations, for one channel at a time, in float64."""
    outputs, scales = [], []
    for channel in range(C):
        seen = OBSERVED[..., channel]
        scale = (np.abs(XS[..., channel], dtype=np.float64) * seen).sum(1) / seen.sum(1) + counts
        flags = np.concatenate([seen, KNOWN[..., channel]], 1)[:, :-1]
        values = np.concatenate([XS[..., channel], YS[..., channel]], 1, dtype=np.float64)[:, :-1]
        column = lambda array: np.broadcast_to(np.reshape(array, (3, -1, 1)), (3, T + H - 1, 1))
        vector = np.broadcast_to(np.float64(params["channels"][channel]), (3, T + H - 1, 2))
        before = [column(np.where(flags, values / scale[:, None], 0)), column(flags), column(np.log(scale)), vector]
        hs = np.concatenate([*before, COVARIATES["future"][:, 1:], column(COVARIATES["static"])], -1)
        for layer in ("layer_0", "layer_1"):
            hs = numpy_lstm(params["rnn"][layer]["cell"], hs)
        outputs.append(hs @ np.float64(params["head"]["kernel"]) + np.float64(params["head"]["bias"]))
        scales.append(scale[:, None])
    return np.stack(outputs, 2), np.stack(scales, 2)


@pytest.mark.parametrize("counts", [False, True])
def test_outputs_equal_the_equations(counts, variables):
    found = jax.jit(functools.partial(MODEL.apply, counts=counts))(variables, XS, YS, **GIVEN)
    for array, expected in zip(found, numpy_outputs(variables["params"], counts), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)


def test_teacher_forcing_equals_one_step_after_the_other(variables):
    outputs, scale = jax.jit(MODEL.apply)(variables, XS, YS, **GIVEN)
    values, flags, _, given = MODEL.prepare(XS, OBSERVED, False, COVARIATES)
    values = jnp.concatenate([values, np.where(KNOWN, YS / scale, 0)], 1)
    flags, carry = jnp.concatenate([flags, KNOWN], 1), None
    advance = jax.jit(functools.partial(MODEL.apply, variables, method="advance"))
    for t in range(T + H - 1):
        at = slice(t, t + 1)
        future = given["future"][:, t + 1 : t + 2]
        carry, found = advance(values[:, at], flags[:, at], scale, future, given["static"], carry)
        np.testing.assert_allclose(found[:, 0], outputs[:, t], atol=1e-6)


def test_outputs_depend_on_the_past_and_on_covariates_up_to_their_own_step(plain, variables):
    """The output at index i describes the value at step i + 1."""
    changed = lambda a, b: np.flatnonzero(np.any(np.asarray(a) != np.asarray(b), axis=(0, 2, 3))).tolist()
    apply = jax.jit(MODEL.apply)
    outputs, _ = apply(plain, XS, YS)
    later = np.array(YS)
    later[:, 1] += 1
    assert changed(apply(plain, XS, later)[0], outputs) == [T + 1, T + 2]
    outputs, _ = apply(variables, XS, YS, **GIVEN)
    future = np.array(COVARIATES["future"])
    future[:, T + 1] += 1
    assert changed(apply(variables, XS, YS, **{**GIVEN, "future": future})[0], outputs) == [T, T + 1, T + 2]
    assert changed(apply(variables, XS, YS, **{**GIVEN, "static": 2 * COVARIATES["static"]})[0], outputs)


@pytest.mark.parametrize(("features", "given"), [(1 + 1 + 8, {}), (1 + 1 + 1 + 8 + 2 + 1, GIVEN)])
def test_parameter_count(features, given):
    """Two LSTMs, 4 H (D + H + 1) each, with D = value + observed + log scale + channel + covariates; head; channels."""
    model, units = series.DeepAR(H), 40
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), XS, YS, **given))
    count = 4 * units * (features + units + 1) + 4 * units * (2 * units + 1) + (units + 1) * 3 + C * 8
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == count


def identity(hidden_size):
    """A cell whose output is the sum of the input features with weights, without memory."""
    return recurrent.Cell(
        init=lambda key, features: {"input": {"kernel": jnp.ones((features, hidden_size))}, "recurrent": {}},
        carry=lambda params, x: jnp.zeros((*x.shape[:-1], 1), x.dtype),
        project=lambda params, xs: recurrent.matmul(params["kernel"], xs.reshape(-1, xs.shape[-1])).reshape(
            *xs.shape[:-1], hidden_size
        ),
        step=lambda rest, carry, u, dot: (carry, u),
    )


@pytest.mark.slow
def test_sample_paths_of_an_autoregressive_process_have_its_moments():
    """x_t = a x_{t-1} + s e_t has mean a^h x_T and variance s^2 (1 - a^2h) / (1 - a^2) after h steps."""
    coefficient, std, steps, count = 0.8, 0.5, 6, 20_000
    xs = np.float32([[[1.0], [-1], [2]], [[2.0], [4], [-3]]])
    scale = np.abs(xs).mean(1, keepdims=True)
    model = series.DeepAR(steps, 2, cell=identity, hidden_size=1, num_layers=1, embed_dim=1)
    variables = model.init(jax.random.key(0), xs)
    params = jax.tree.map(jnp.zeros_like, variables["params"])
    params["rnn"]["layer_0"]["cell"]["input"]["kernel"] = jnp.eye(3, 1)  # the first feature is the value
    raw = np.log(np.expm1(std - 1e-3))  # the scaled std
    params["head"] = {"kernel": jnp.float32([[coefficient, 0]]), "bias": jnp.float32([0, raw])}
    keys = jax.random.split(jax.random.key(1), 2)
    sampled = jax.jit(
        lambda xs: series.sample_paths(model, {"params": params}, series.gaussian(), keys, xs, num_samples=count)
    )
    paths = np.asarray(sampled(xs), np.float64)
    assert paths.shape == (2, count, steps, 1)
    powers = coefficient ** np.arange(1, steps + 1)
    mean = powers[None] * xs[:, -1]
    stds = scale[:, 0] * std * np.sqrt((1 - powers**2) / (1 - coefficient**2))[None]
    z = (paths.mean(1)[..., 0] - mean) / (stds / np.sqrt(count))
    assert np.abs(z).max() < 4
    np.testing.assert_allclose(paths.std(1)[..., 0], stds, rtol=4 / np.sqrt(2 * count))
    lag = [np.corrcoef(paths[i, :, 0, 0], paths[i, :, 1, 0])[0, 1] for i in range(2)]
    np.testing.assert_allclose(lag, coefficient / np.sqrt(1 + coefficient**2), atol=0.02)


@pytest.mark.parametrize("name", ["student_t", pytest.param("negative_binomial", marks=pytest.mark.slow)])
def test_intervals_cover_data_of_the_model_itself(name):
    likelihood = getattr(series, name)()
    counts = name == "negative_binomial"
    model = MODEL.clone(num_outputs=likelihood.num_outputs, num_layers=1)
    xs = RANDOM.normal(size=(200, T, 1)).astype(np.float32)
    xs = np.round(np.exp(xs + 3)) if counts else xs
    variables = jax.jit(model.init)(jax.random.key(0), xs)
    draw = jax.jit(lambda keys: series.sample_paths(model, variables, likelihood, keys, xs, num_samples=100))
    paths, truth = draw(jax.random.split(jax.random.key(1), 200)), draw(jax.random.split(jax.random.key(2), 200))[:, 0]
    lower, upper = np.moveaxis(series.sample_quantiles(jnp.sort(paths, 1), jnp.float32([0.05, 0.95])), -1, 0)
    coverage = np.mean((lower <= truth) & (truth <= upper))
    assert abs(coverage - 0.9) < 4 * np.sqrt(0.09 / 200)
    assert not counts or (np.all(paths == np.round(paths)) and np.all(paths >= 0))


def test_missing_values_have_no_effect(variables):
    def objective(params, xs, ys):
        return jnp.sum(MODEL.apply({"params": params}, xs, ys, **GIVEN)[0] ** 2)

    compute = jax.jit(jax.value_and_grad(objective, argnums=(0, 1, 2)))
    keys = jax.random.split(jax.random.key(0), 3)
    given = {"observed": OBSERVED, "num_samples": 2, **COVARIATES}
    paths = jax.jit(lambda xs: series.sample_paths(MODEL, variables, series.student_t(), keys, xs, **given))
    expected = compute(variables["params"], XS, YS), paths(XS)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))
    for fill in (1e6, np.nan):
        xs, ys = np.where(OBSERVED, XS, np.float32(fill)), np.where(KNOWN, YS, np.float32(fill))
        found = compute(variables["params"], xs, ys), paths(xs)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    _, (_, of_xs, of_ys) = expected[0]
    assert not np.any(np.where(OBSERVED, 0, of_xs)) and not np.any(np.where(KNOWN, 0, of_ys)) and np.any(of_ys)


@pytest.mark.slow
def test_permuted_series_have_permuted_paths(plain):
    keys, order = jax.random.split(jax.random.key(0), 3), np.array([2, 0, 1])
    likelihood = series.student_t()
    paths = jax.jit(lambda keys, xs: series.sample_paths(MODEL, plain, likelihood, keys, xs, num_samples=3))
    found = paths(keys, XS)
    np.testing.assert_allclose(paths(keys[order], XS[order]), found[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(paths(keys[1:2], XS[1:2]), found[1:2], rtol=1e-5, atol=1e-6)
    assert np.unique(found).size == found.size


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float64])
def test_smallest_sizes_and_dtypes(dtype, request):
    if dtype == jnp.float64:
        request.getfixturevalue("float64")
    model = series.DeepAR(1, hidden_size=2, num_layers=1, dtype=dtype, cell=recurrent.gru)
    xs = jnp.ones((1, 1, 1), dtype if dtype == jnp.float64 else jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(0), xs, xs)
    wide = jnp.float64 if dtype == jnp.float64 else jnp.float32
    outputs, scale = jax.eval_shape(model.apply, variables, xs, xs)
    assert outputs.shape == (1, 1, 1, 3) and outputs.dtype == scale.dtype == wide
    keys = jax.random.split(jax.random.key(0), 1)
    paths = jax.jit(lambda xs: series.sample_paths(model, variables, series.student_t(), keys, xs))(xs)
    assert np.isfinite(paths).all()
    assert paths.shape == (1, 100, 1, 1) and paths.dtype == wide


def test_scale_is_the_mean_absolute_value_of_the_observed():
    xs = np.float32([[[1, 0, 5, -8]], [[-3, 0, 5, 0]]]).swapaxes(0, 1)
    observed = np.array([[[True, True, False, True], [True, True, False, False]]])
    assert series.mean_scale(xs, observed).tolist() == [[[2, 1, 1, 8]]]
    assert series.mean_scale(xs, observed, counts=True).tolist() == [[[3, 1, 1, 9]]]
    assert series.mean_scale(xs).tolist() == [[[2, 1, 5, 4]]]


def test_sample_quantiles_equal_numpy():
    paths = np.sort(RANDOM.normal(size=(2, 7, 3, 2)).astype(np.float32), axis=1)
    levels = np.float32([0.01, 0.125, 0.3, 0.5, 0.99])
    expected = np.moveaxis(np.quantile(paths, levels, axis=1, method="weibull"), 0, -1)
    np.testing.assert_allclose(series.sample_quantiles(paths, levels), expected, rtol=1e-5)
    one = series.sample_quantiles(paths[:, :1], levels)
    np.testing.assert_array_equal(one, np.broadcast_to(paths[:, 0, ..., None], one.shape))


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (series.DeepAR(0), {}, "`horizon` must be an integer of at least 1, got 0"),
        (series.DeepAR(H, embed_dim=0), {}, "`embed_dim` must be an integer of at least 1, got 0"),
        (series.DeepAR(H, dropout=1.0), {}, "`dropout` must be"),
        (series.DeepAR(H, cell=recurrent.lstm(3)), {}, "`cell` must be a function from hidden_size"),
        (MODEL, {"past": XS}, "`past` must not be given to DeepAR, which uses future and static"),
    ],
)
def test_wrong_arguments(model, given, message):
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), XS, YS, **given)


def test_wrong_samples(plain):
    keys = jax.random.split(jax.random.key(0), 3)
    with pytest.raises(ValueError, match="`likelihood` must be a distribution, such as series.student_t"):
        series.sample_paths(MODEL, plain, series.quantiles(), keys, XS)
    with pytest.raises(ValueError, match="`num_samples` must be an integer of at least 1, got 0"):
        series.sample_paths(MODEL, plain, series.student_t(), keys, XS, num_samples=0)
    with pytest.raises(ValueError, match="`xs` must have at least 1 step, got 0"):
        series.sample_paths(MODEL, plain, series.student_t(), keys, XS[:, :0])
