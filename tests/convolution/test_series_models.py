"""Convolutional models of series: receptive field, weight normalization, padding, parameter counts and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.convolution.models.series_cnn import SeriesCNN
from jaxnets.convolution.models.tcn import TCN, CausalConv, TemporalBlock, receptive_field

LENGTHS = np.array([7, 0, 4, 4], np.int32)
XS = np.random.default_rng(0).normal(size=(4, 7, 3)).astype(np.float32)
SMALL = {
    **{f"TCN, {how}": TCN(2, channels=4, num_levels=2, pooling=how) for how in ("last", "max", "mean", "none")},
    "CNN": SeriesCNN(2, (4, 5), (4, 3)),
    "CNN, strides": SeriesCNN(2, (4, 5), (5, 3), stride=2, pool=3, pooling="max"),
}
# Pooling over time is also tested by the recurrent models.
QUICK = ("TCN, last", "CNN, strides")
each = pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)


def perturbed_variables(model, xs=XS):
    """Initial variables with noise, so that no bias or statistic is 0 or 1."""
    variables = jax.jit(model.init)(jax.random.key(0), jnp.asarray(xs))
    perturb = lambda path, a: (
        a + 0.2 * abs(jax.random.normal(jax.random.fold_in(jax.random.key(1), len(str(path))), a.shape))
    )
    return jax.tree_util.tree_map_with_path(perturb, variables)


@each
def test_padding_does_not_change_outputs(name):
    model = SMALL[name]
    variables, apply = perturbed_variables(model), jax.jit(model.apply)
    padded = np.where(np.arange(7)[:, None] < LENGTHS[:, None, None], XS, np.nan)
    actual = apply(variables, padded, lengths=LENGTHS)
    assert actual.dtype == jnp.float32
    for row, n, ys in zip(XS, LENGTHS, actual, strict=True):
        if n == 0:
            np.testing.assert_array_equal(ys, np.broadcast_to(variables["params"]["head"]["bias"], ys.shape))
        else:
            np.testing.assert_allclose(ys[:n] if ys.ndim == 2 else ys, apply(variables, row[:n]), atol=1e-5)


@each
def test_padding_does_not_change_gradients_or_statistics(name):
    model = SMALL[name]
    variables = perturbed_variables(model)

    def train(params, xs, lengths):
        given = {**variables, "params": params}
        ys, new = model.apply(given, xs, lengths=lengths, train=True, mutable="batch_stats")
        return jnp.sum(jnp.cos(ys[:, :4] if ys.ndim == 3 else ys)), new

    step = jax.jit(jax.grad(train, (0, 1), has_aux=True))
    (dparams, dxs), new = step(variables["params"], jnp.asarray(XS[:, :4]), None)
    padded = np.pad(XS[:, :4], [(0, 0), (0, 3), (0, 0)], constant_values=np.nan)
    empty = np.full((1, 7, 3), np.nan, np.float32)
    (dpadded, dlonger), updated = step(variables["params"], padded, np.full(4, 4, np.int32))
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5)
    jax.tree.map(close, (dpadded, updated), (dparams, new))
    close(dlonger, np.pad(dxs, [(0, 0), (0, 3), (0, 0)]))
    if new:
        more = step(variables["params"], np.concatenate([padded, empty]), np.array([4, 4, 4, 4, 0], np.int32))
        jax.tree.map(close, more[1], new)


@pytest.mark.parametrize("kernel, levels", [(2, 3), (3, 2)])
def test_outputs_depend_exactly_on_the_receptive_field(kernel, levels):
    model = TCN(1, channels=3, num_levels=levels, kernel_size=kernel, pooling="none")
    xs = jax.random.uniform(jax.random.key(0), (24, 2))
    variables = jax.tree.map(
        lambda a: abs(a) + 0.01, jax.jit(model.init)(jax.random.key(1), xs)
    )  # keeps all ReLUs active
    seen = jax.jit(jax.jacobian(lambda xs: model.apply(variables, xs)[:, 0]))(xs)
    back = np.arange(24)[:, None] - np.arange(24)
    expected = (back >= 0) & (back < model.receptive_field)
    np.testing.assert_array_equal((np.asarray(seen) != 0).all(-1), expected)
    assert not np.asarray(seen)[~expected].any()
    assert (
        model.receptive_field
        == receptive_field(kernel, levels)
        == 1 + sum(2 * (kernel - 1) * 2**i for i in range(levels))
    )


def test_causal_convolution_with_weight_normalization():
    conv = CausalConv(4, kernel_size=3, dilation=2)
    variables, apply = jax.jit(conv.init)(jax.random.key(0), XS), jax.jit(conv.apply)
    params = variables["params"]
    past = np.pad(XS, [(0, 0), (4, 0), (0, 0)])
    expected = sum(past[:, 2 * i : 2 * i + 7] @ np.asarray(params["kernel"][i]) for i in range(3))
    np.testing.assert_allclose(apply(variables, XS), expected, atol=1e-5)  # initially, g is the norm of v
    assert abs(params["kernel"]).max() <= 1 / 3  # 1 / sqrt(k D)
    scaled = {**params, "kernel": 3 * params["kernel"], "scale": 2 * params["scale"], "bias": jnp.arange(4.0)}
    np.testing.assert_allclose(apply({"params": scaled}, XS), 2 * expected + np.arange(4), atol=1e-5)


def test_dropout_drops_a_feature_at_all_steps():
    block = TemporalBlock(64, dropout=0.5)
    xs = jnp.abs(XS)
    variables = jax.tree.map(abs, jax.jit(block.init)(jax.random.key(0), xs))
    variables["params"]["shortcut"]["kernel"] *= 0
    run = jax.jit(lambda key: block.apply(variables, xs, train=True, rngs={"dropout": jax.random.key(key)}))
    dropped = np.asarray(run(0) == 0)
    assert (dropped.all(1) == dropped.any(1)).all()
    assert 0.3 < dropped.mean() < 0.7
    assert (run(1) != run(0)).any()


def test_counts_and_shapes_of_published_networks():
    shapes = lambda model, *shape: jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x), jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    count = lambda variables: sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    norms = lambda *widths: 2 * sum(widths)
    m5 = SeriesCNN(10, (128, 128, 256, 512), (80, 3, 3, 3), stride=4, pool=4)
    ys, variables = shapes(m5, 2, 8000, 1)
    kernels = 80 * 128 + 3 * (128 * 128 + 128 * 256 + 256 * 512)
    assert (ys.shape, count(variables)) == ((2, 10), kernels + norms(128, 128, 256, 512) + 512 * 10 + 10)
    fcn = SeriesCNN(10, (128, 256, 128), (8, 5, 3), pool=1)
    ys, variables = shapes(fcn, 2, 40, 1)
    assert count(variables) == 8 * 128 + 5 * 128 * 256 + 3 * 256 * 128 + norms(128, 256, 128) + 128 * 10 + 10
    ys, variables = shapes(TCN(10, channels=25, num_levels=8, kernel_size=7, pooling="none"), 2, 784, 1)
    first, other = 2 * 25 + 7 * 25 * 1, 2 * 25 + 7 * 25 * 25  # with a scale and a bias for each feature
    assert ys.shape == (2, 784, 10)
    assert count(variables) == first + 15 * other + (25 + 25) + 25 * 10 + 10
    bare = SeriesCNN(0, (4, 6), (4, 3), stride=4, pool=2)
    assert shapes(bare, 3, 2, 17, 1)[0].shape == (3, 2, 6)
    actual = jax.eval_shape(
        lambda v, x: bare.apply(v, x, features=("block_2", "block_1")), shapes(bare, 17, 1)[1], jnp.ones((17, 1))
    )
    assert (actual["block_1"].shape, actual["block_2"].shape) == ((3, 4), (2, 6))


@pytest.mark.parametrize("model", [TCN(2, channels=4, num_levels=2), SeriesCNN(2, (4, 5), (4, 3), dropout=0.1)])
def test_bfloat16_models_have_float32_outputs(model):
    model = model.clone(dtype=jnp.bfloat16)
    variables = perturbed_variables(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    apply = lambda v: model.apply(
        v,
        XS,
        lengths=LENGTHS,
        train=True,
        mutable="batch_stats",
        rngs={"dropout": jax.random.key(0)},
        features=("block_1", "pooled", "outputs"),
    )[0]

    def loss(v):
        actual = apply(v)
        return jnp.sum(actual["outputs"] ** 2), actual

    gradient, actual = jax.jit(jax.grad(loss, has_aux=True))(variables)
    assert [actual[name].dtype for name in ("block_1", "pooled", "outputs")] == [
        jnp.bfloat16,
        jnp.bfloat16,
        jnp.float32,
    ]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((actual, gradient)))


@pytest.mark.parametrize(
    "model, given, message",
    [
        (TCN(2), XS[0, 0], r"`xs` must be a floating point array \[\*batch, T, D\], got float32 of shape \(3,\)"),
        (TCN(2), XS.astype(int), "`xs` must be a floating point array .*, got int32"),
        (TCN(2, num_levels=0), XS, "`num_levels` must be an integer of at least 1, got 0"),
        (TCN(2, pooling="sum"), XS, "`pooling` must be one of last, max, mean, none, got 'sum'"),
        (SeriesCNN(2, stride=0), XS, "`stride` must be an integer of at least 1, got 0"),
        (SeriesCNN(2, (4,)), XS, "`kernel_sizes` must have as many entries as `widths`, 1, got"),
        (SeriesCNN(2, pooling="sum"), XS, "`pooling` must be last, max or mean, got 'sum'"),
    ],
)
def test_invalid_series_and_attributes_are_rejected(model, given, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), given)


@pytest.mark.parametrize("model", [TCN(2), SeriesCNN(2, stride=2)])
def test_invalid_lengths_are_rejected(model):
    variables = model.init(jax.random.key(0), XS)
    for lengths in (jnp.array([1]), jnp.full(len(XS), 1.0), jnp.full(len(XS), XS.shape[1] + 1)):
        with pytest.raises(ValueError, match="`lengths` must be "):
            model.apply(variables, XS, lengths=lengths)


@pytest.mark.parametrize("model", [TCN(2), SeriesCNN(2)])
def test_other_features_and_unknown_names_are_rejected(model):
    variables = jax.eval_shape(model.init, jax.random.key(0), XS)
    with pytest.raises(ValueError, match="`xs` must have 3 features, got 2"):
        jax.eval_shape(model.apply, variables, XS[..., :2])
    with pytest.raises(ValueError, match="among block_1.*, got 'block_9'"):
        jax.eval_shape(lambda v: model.apply(v, XS, features=("block_9",)), variables)
