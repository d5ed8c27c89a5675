"""Forecasting models: equality with twins in torch, published parameter counts, properties and wrong arguments."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

from jaxnets import recurrent, series, weights
from jaxnets.modules import MLP

GOLDEN = np.load(ROOT / "tests" / "reference" / "series.npz")
H, PATCHES, WIDTH, HEADS, SEGMENT, HIDDEN = 12, 6, 8, 2, 6, 8
MODELS = {
    "nlinear": series.NLinear(H),
    "dlinear": series.DLinear(H, window=5),
    "revin": series.RevIN(H, model=functools.partial(series.DLinear, window=5)),
    "segrnn": series.SegRNN(H, segment=SEGMENT, hidden_size=HIDDEN),
    "patchtst": series.PatchTST(
        H, patch=8, stride=4, embed_dim=WIDTH, num_heads=HEADS, mlp_dim=16, num_layers=2, dropout=0.5
    ),
}


def arrays_of(name, part):
    prefix = f"{name}/{part}/"
    found = {key.removeprefix(prefix): GOLDEN[key] for key in GOLDEN.files if key.startswith(prefix)}
    return {key: value for key, value in found.items() if key != "x"}


def dense(state, name, heads=0):
    kernel, bias = state[f"{name}.weight"].T, state[f"{name}.bias"]
    if heads == 1:  # the output of attention
        return {"kernel": kernel.reshape(HEADS, -1, WIDTH), "bias": bias}
    shape = (HEADS, WIDTH // HEADS)
    return (
        {"kernel": kernel.reshape(-1, *shape), "bias": bias.reshape(shape)}
        if heads
        else {"kernel": kernel, "bias": bias}
    )


def from_torch(name, state):
    """Returns the variables of a model from the state dict, or the gradients, of its twin."""
    if name in ("nlinear", "dlinear"):
        return {"params": {layer: dense(state, layer) for layer in sorted({key.split(".")[0] for key in state})}}
    if name == "revin":
        inner = from_torch("dlinear", {key: value for key, value in state.items() if "." in key})["params"]
        return {"params": {"model": inner, "scale": state["scale"], "bias": state["bias"]}}
    if name == "segrnn":
        gru = {key.removeprefix("rnn."): value for key, value in state.items() if key.startswith("rnn.")}
        cell = weights.from_torch(gru)["layer_0"]["cell"]
        dense_layers = {layer: dense(state, layer) for layer in ("embedding", "head")}
        return {"params": {**dense_layers, "rnn": cell, "positions": state["positions"], "channels": state["channels"]}}
    params = {"embedding": dense(state, "embedding"), "positions": state["positions"]}
    stats = {}
    for i in range(2):
        at = f"layers.{i}."
        layer = {key: dense(state, at + key, 2) for key in ("query", "key", "value")}
        layer |= {"out": dense(state, at + "out", 1), **{key: dense(state, at + key) for key in ("mlp_1", "mlp_2")}}
        for norm in ("norm_1", "norm_2"):
            layer[norm] = {"scale": state[f"{at}{norm}.weight"], "bias": state[f"{at}{norm}.bias"]}
            if f"{at}{norm}.running_mean" in state:
                moments = {"mean": state[f"{at}{norm}.running_mean"], "var": state[f"{at}{norm}.running_var"]}
                stats.setdefault(f"layer_{i}", {})[norm] = moments
        params[f"layer_{i}"] = layer
    head = dense(state, "head")  # torch flattens features before patches
    head["kernel"] = head["kernel"].reshape(WIDTH, PATCHES, -1).swapaxes(0, 1).reshape(WIDTH * PATCHES, -1)
    return {"params": {**params, "head": head}, **({"batch_stats": stats} if stats else {})}


def objective(output):
    return jnp.sum(jnp.cos(jnp.arange(output.size, dtype=output.dtype)).reshape(output.shape) * output**2)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_and_gradients_equal_torch(name, float64):
    model, variables = MODELS[name].clone(dtype=jnp.float64), from_torch(name, arrays_of(name, "weight"))
    x = GOLDEN[f"{name}/x"]
    # from_torch converts the weights of the GRU to float32.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6 if name == "segrnn" else 1e-9)
    chex.assert_trees_all_equal_shapes(variables, jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.asarray(x))))
    apply = lambda params, x: model.apply({**variables, "params": params}, x)
    close(apply(variables["params"], x), GOLDEN[f"{name}/output"])
    gradients = jax.grad(lambda *given: objective(apply(*given)), argnums=(0, 1))
    of_params, of_x = gradients(variables["params"], jnp.asarray(x))
    expected = from_torch(name, arrays_of(name, "gradient"))["params"]
    for layer in of_params.keys() - {"rnn"}:  # from_torch joins biases, whose gradients are equal in torch
        jax.tree.map(close, of_params[layer], expected[layer])
    close(of_x, GOLDEN[f"{name}/gradient/x"])


@pytest.mark.parametrize(
    ("model", "length", "count"),
    [
        (series.NLinear(96), 336, 32_352),
        (series.NLinear(720), 336, 242_640),
        (series.NLinear(96, use_bias=False), 336, 336 * 96),
        (series.NLinear(96), 96, 9_312),
        (series.DLinear(96), 336, 64_704),
        (series.PatchTST(96), 336, 81_728),
        (series.PatchTST(720), 336, 501_680),
        (series.PatchTST(96), 512, 115_872),
        (series.SegRNN(96), 96, 1_603_864),
        (series.SegRNN(720, segment=48), 720, 1_631_280),
    ],
)
def test_published_parameter_counts(model, length, count):
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, length, 7))))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


def test_weights_of_a_window_at_once_and_step_by_step():
    """9,648 weights for the concatenated window, 784 for a recurrent network: T 20, D 30, 16 units, 3 outputs."""
    xs = jnp.zeros((1, 20, 30))
    whole, stepwise = MLP(3, (16,)), recurrent.SequenceModel(3, cell=recurrent.elman, hidden_size=16)
    counts = []
    for model in (whole, stepwise):
        variables = jax.eval_shape(lambda model=model: model.init(jax.random.key(0), xs))
        leaves = jax.tree.leaves_with_path(variables)
        counts.append(sum(leaf.size for path, leaf in leaves if "bias" not in jax.tree_util.keystr(path)))
    assert counts == [9_648, 784]


SMALL = {
    "nlinear": series.NLinear(6),
    "nlinear_without_bias": series.NLinear(6, use_bias=False),
    "dlinear": series.DLinear(6),
    "segrnn": series.SegRNN(6, segment=3, hidden_size=4),
    "patchtst": series.PatchTST(6, patch=4, stride=2, embed_dim=4, num_heads=2, mlp_dim=8, num_layers=2),
    "nbeats": series.NBEATS(6, stacks=("trend", "seasonal", "generic"), num_blocks=2, num_layers=2, hidden_size=8),
    "recurrent": series.RecurrentForecaster(6, hidden_size=4),
    "mlp": series.WindowMLP(6, hidden_sizes=(8,)),
    "memoryless": series.Memoryless(6, hidden_sizes=(8,)),
}
XS = jnp.cumsum(jax.random.normal(jax.random.key(1), (3, 12, 2)), axis=1)


@pytest.fixture(scope="module", params=SMALL)
def small(request):
    """A model with variables."""
    model = SMALL[request.param]
    return model, model.init(jax.random.key(0), XS)


def test_shapes_of_points_and_of_several_outputs(small):
    model, variables = small
    chex.assert_shape(model.apply(variables, XS), (3, 6, 2))
    several = model.clone(num_outputs=4)
    outputs = several.apply(several.init(jax.random.key(0), XS), XS)
    chex.assert_shape(outputs, (3, 6, 2, 4))
    assert outputs.dtype == jnp.float32


def test_forecast_does_not_depend_on_the_batch(small):
    model, variables = small
    np.testing.assert_allclose(model.apply(variables, XS)[1:2], model.apply(variables, XS[1:2]), atol=1e-5)


def test_missing_values_have_no_effect(small):
    model, variables = small
    observed = jnp.ones(XS.shape, bool).at[:, 3:5, 0].set(False).at[1, -1].set(False)
    apply = lambda fill: model.apply(variables, jnp.where(observed, XS, fill), observed=observed)
    expected = apply(0.0)
    assert np.isfinite(expected).all()
    for fill in (1e6, jnp.nan):
        np.testing.assert_array_equal(apply(fill), expected)
    gradient = jax.grad(lambda xs: jnp.sum(model.apply(variables, xs, observed=observed) ** 2))
    assert not np.any(np.where(observed, 0, gradient(jnp.where(observed, XS, jnp.nan))))


@pytest.mark.parametrize("normalization", ["last", "standardize"])
def test_normalized_forecasts_follow_the_offset(small, normalization):
    model, variables = small
    model = model.clone(normalization=normalization)
    moved = model.apply(variables, XS + 100) - 100
    np.testing.assert_allclose(moved, model.apply(variables, XS), atol=2e-3)


@pytest.mark.parametrize("name", ["nlinear", "dlinear", "segrnn", "patchtst", "nbeats"])
def test_channels_are_independent(name):
    model = SMALL[name]
    variables = model.init(jax.random.key(0), XS)
    before, after = (model.apply(variables, xs) for xs in (XS, XS.at[..., 1].multiply(3)))
    np.testing.assert_allclose(before[..., 0], after[..., 0], atol=1e-6)
    assert np.abs(before[..., 1] - after[..., 1]).max() > 1e-3


def test_memoryless_model_reads_only_the_last_step():
    model = SMALL["memoryless"]
    variables = model.init(jax.random.key(0), XS)
    np.testing.assert_array_equal(model.apply(variables, XS), model.apply(variables, XS.at[:, :-1].set(0)))


def test_covariates_change_the_forecast():
    past, future, static = jnp.ones((3, 12, 1)), jnp.ones((3, 18, 2)), jnp.ones((3, 4))
    model, given = SMALL["recurrent"], {"past": past, "future": future, "static": static}
    variables = model.init(jax.random.key(0), XS, **given)
    outputs = model.apply(variables, XS, **given)
    for name, array in given.items():
        assert np.any(model.apply(variables, XS, **{**given, name: 2 * array}) != outputs), name
    given = {**given, "past": None}
    model.init(jax.random.key(0), XS, **given)
    with pytest.raises(ValueError, match="`past` must not be given to NLinear, which uses no covariates"):
        SMALL["nlinear"].init(jax.random.key(0), XS, past=past)


def test_bases_of_n_beats():
    np.testing.assert_allclose(series.trend_basis(4, 2), [[1] * 4, [0, 0.25, 0.5, 0.75], [0, 1 / 16, 1 / 4, 9 / 16]])
    basis = series.seasonal_basis(8)
    chex.assert_shape(basis, (7, 8))
    np.testing.assert_allclose(basis @ basis.T, np.diag(np.diag(basis @ basis.T)), atol=1e-5)  # orthogonal


@pytest.mark.parametrize(
    ("model", "length", "message"),
    [
        (series.NLinear(0), 12, "`horizon` must be an integer of at least 1, got 0"),
        (
            series.NLinear(6, normalization="max"),
            12,
            "`normalization` must be one of none, last, standardize, got 'max'",
        ),
        (series.DLinear(6, window=4), 12, "`window` must be odd, got 4"),
        (series.SegRNN(6, segment=4), 12, "`segment` must be a divisor of `horizon`, 6, got 4"),
        (series.SegRNN(6, segment=3, hidden_size=5), 12, "`hidden_size` must be even, got 5"),
        (series.PatchTST(6, num_heads=3), 32, "`num_heads` must be a divisor of `embed_dim`, 16, got 3"),
        (series.PatchTST(6), 12, "must have at least 16 steps, one patch, got 12"),
        (series.NBEATS(6, stacks=("season",)), 12, "`stacks` must be one of generic, trend, seasonal, got 'season'"),
        (series.RecurrentForecaster(6, cell=recurrent.gru(3)), 12, "`cell` must be a function from hidden_size"),
    ],
)
def test_wrong_arguments(model, length, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, length, 2))))


def test_integers_are_rejected():
    with pytest.raises(ValueError, match=r"`xs` must be a floating point array \[B, T, C\], got int32"):
        series.NLinear(6).init(jax.random.key(0), jnp.zeros((1, 12, 2), jnp.int32))
