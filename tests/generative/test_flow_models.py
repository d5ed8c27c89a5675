"""Normalizing flows: published counts, inverses and log-determinants in float64, precision and wrong inputs."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.generative import (
    Glow,
    MaskedAutoregressiveFlow,
    RealNVP,
    SplineFlow,
)
from jaxnets.generative.flows.models.glow import GlowStep, convolve_3x3

GOLDEN = dict(np.load(Path(__file__).parent.parent / "reference" / "flows.npz"))


def shapes_of(model, count=2):
    xs = jax.ShapeDtypeStruct((count, *model.example_shape), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), xs)


def random_variables(model, std=0.2, dtype=np.float32):
    """Variables without compiled initializers; no parameter is zero."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = path[-1].key
        if name == "permutation":
            return rng.permuted(np.broadcast_to(np.arange(leaf.shape[-1], dtype=np.int32), leaf.shape), axis=-1)
        values = std * rng.normal(size=leaf.shape)
        if name == "lu":
            values /= leaf.shape[-1]  # large triangular matrices are ill-conditioned
        return np.sign(values).astype(leaf.dtype) if name == "signs" else values.astype(dtype)

    return jax.tree.map_with_path(fill, shapes_of(model))


def examples(model, count=3, dtype=np.float32):
    return np.random.default_rng(1).normal(size=(count, *model.example_shape)).astype(dtype)


# ---- published counts


@pytest.mark.parametrize(
    "model, count",
    [
        (Glow(), 44_603_604),
        (Glow(edge_channel=False), 44_135_856),
        (Glow(coupling="additive"), 38_395_668),
        (Glow((8, 8, 1), 2, 8, 64, edge_channel=False), 156_016),
    ],
)
def test_counts(model, count):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes_of(model)["params"])) == count


# ---- exactness


def check_exactness(model):
    """Checks the inverse, the log-determinant, and the likelihood in float64."""
    with jax.enable_x64(True):
        variables, xs = random_variables(model, 0.1, np.float64), examples(model, 2, np.float64)

        @jax.jit
        def run(xs):
            encode = lambda x: model.apply(variables, x[None], method="encode")[0][0]
            codes, log_det = model.apply(variables, xs, method="encode")
            jacobian = jax.jacfwd(encode)(xs[0]).reshape(model.latent, model.latent)
            return codes, log_det, jacobian, model.apply(variables, codes, method="decode")

        codes, log_det, jacobian, back = run(xs)
        assert codes.shape == (2, model.latent)
        np.testing.assert_allclose(back, xs, atol=1e-12)
        np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det[0], atol=1e-12)
        assert abs(log_det[0] - log_det[1]) > 1e-3  # depends on the example


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(Glow((4, 8, 1), 2, 2, 4, dtype=jnp.float64), marks=pytest.mark.slow(seconds=8)),
        MaskedAutoregressiveFlow(4, 2, (6,), scan_layers=True, dtype=jnp.float64),
    ],
    ids=lambda model: type(model).__name__,
)
def test_inverse_and_log_determinant(model):
    check_exactness(model)


@pytest.mark.slow(seconds=40)
@pytest.mark.parametrize(
    "model",
    [
        Glow((8, 8, 3), 3, 2, 6, edge_channel=False, scan_layers=True, dtype=jnp.float64),
        RealNVP((4, 8, 2), 2, 3, 1, dtype=jnp.float64),
        RealNVP((4, 4, 1), 3, 3, 0, dtype=jnp.float64),
        SplineFlow(2, 3, (), 2, dtype=jnp.float64),
        SplineFlow(5, 2, (6,), 4, scan_layers=True, dtype=jnp.float64),
        MaskedAutoregressiveFlow(5, 3, (7, 6), dtype=jnp.float64),
    ],
)
def test_inverse_and_log_determinant_of_more_settings(model):
    check_exactness(model)


@pytest.mark.slow(seconds=5)
def test_additive_coupling_keeps_volume():
    model = Glow((2, 2, 2), 1, 1, 3, coupling="additive")
    variables = random_variables(model)
    codes, log_det = jax.jit(lambda xs: model.apply(variables, xs, method="encode"))(examples(model))
    np.testing.assert_allclose(log_det, np.full(3, log_det[0]), rtol=1e-5)
    assert codes.shape == (3, 8)


def test_glow_step_equals_normflows():
    with jax.enable_x64(True):
        prefix = "glow_step/"
        torch = {key.removeprefix(prefix): a for key, a in GOLDEN.items() if key.startswith(prefix)}
        network = {
            key.removeprefix("flows.0.flows.1.param_map.net."): a for key, a in torch.items() if "param_map" in key
        }
        kernel = lambda index: network[f"{index}.weight"].transpose(2, 3, 1, 0)
        flip = np.array([-1.0, 1.0, -1.0, 1.0])  # normflows subtracts the shift

        def inner_norm(index):
            scale, shift = network[f"{index}.actNorm.s"].reshape(-1), network[f"{index}.actNorm.t"].reshape(-1)
            return {"bias": shift * np.exp(-scale), "log_scale": scale / 3}

        lu = np.tril(torch["flows.1.L"], -1) + np.triu(torch["flows.1.U"], 1) + np.diag(torch["flows.1.log_S"])
        params = {
            "actnorm": {"bias": -torch["flows.2.t"].reshape(-1), "log_scale": -torch["flows.2.s"].reshape(-1) / 3},
            "linear": {"lu": lu},
            "network": {
                "kernel_1": kernel(0),
                "actnorm_1": inner_norm(1),
                "kernel_2": kernel(3),
                "actnorm_2": inner_norm(4),
                "conv_3": {"kernel": kernel(6) * flip, "bias": network["6.bias"] * flip, "log_scale": np.zeros(4)},
            },
        }
        constants = {"permutation": torch["flows.1.P"].argmax(0).astype(np.int32), "signs": torch["flows.1.sign_S"]}
        step = GlowStep(3, "affine", False, jnp.float64)
        variables = {"params": params, "constants": {"linear": constants}}
        xs = np.moveaxis(torch["xs"], 1, -1)

        @jax.jit
        def run(xs):
            zs, log_det = step.apply(variables, xs, False)
            jacobian = jax.jacfwd(lambda x: step.apply(variables, x[None], False)[0].reshape(-1))(xs[0])
            return zs, log_det, jacobian.reshape(xs[0].size, xs[0].size), step.apply(variables, zs, True)

        zs, log_det, jacobian, (back, inverse_log_det) = run(xs)
        np.testing.assert_allclose(np.moveaxis(zs, -1, 1), torch["zs"], atol=1e-12)
        np.testing.assert_allclose(log_det, torch["log_det"], atol=1e-12)
        np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det[0], atol=1e-12)
        np.testing.assert_allclose(back, xs, atol=1e-12)
        np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-12)


def test_edge_channel_is_one_in_the_padding():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        images, kernel = rng.normal(size=(2, 3, 4, 2)), rng.normal(size=(3, 3, 3, 5))
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        edge = np.pad(np.zeros((2, 3, 4, 1)), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
        windows = np.lib.stride_tricks.sliding_window_view(np.concatenate([padded, edge], -1), (3, 3), (1, 2))
        expected = np.einsum("bhwcij,ijcf->bhwf", windows, kernel)
        np.testing.assert_allclose(jax.jit(convolve_3x3)(images, kernel), expected, atol=1e-12)


# ---- precision


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(Glow((4, 4, 1), 1, 1, 4, dtype=jnp.bfloat16), marks=pytest.mark.slow(seconds=5)),
        pytest.param(SplineFlow(3, 2, (8,), 2, dtype=jnp.bfloat16), marks=pytest.mark.slow(seconds=5)),
        MaskedAutoregressiveFlow(3, 2, (8,), scan_layers=True, dtype=jnp.bfloat16),
    ],
    ids=lambda model: type(model).__name__,
)
def test_half_precision_and_extreme_inputs(model):
    variables = random_variables(model, 0.1)
    xs = examples(model)
    extreme = np.concatenate([xs, 1e4 * xs[:1], np.zeros_like(xs[:1])])

    @jax.jit
    def run(xs):
        log_likelihood, pullback = jax.vjp(
            lambda params: model.apply({**variables, "params": params}, xs), variables["params"]
        )
        codes, log_det = model.apply(variables, xs, method="encode")
        return (
            log_likelihood,
            pullback(jnp.ones_like(log_likelihood))[0],
            log_det,
            model.apply(variables, codes, method="decode"),
        )

    log_likelihood, slopes, log_det, back = run(extreme)
    assert log_likelihood.dtype == log_det.dtype == back.dtype == jnp.float32
    assert np.isfinite(log_likelihood).all() and log_likelihood[3] < np.min(log_likelihood[:3])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    np.testing.assert_allclose(back[:3], xs, atol=0.05)


@pytest.mark.parametrize(
    "model",
    [
        Glow((4, 4, 1), 1, 1, 2, dtype=jnp.bfloat16),
        RealNVP((4, 4, 1), 1, 2, 0, dtype=jnp.bfloat16),
    ],
    ids=lambda model: type(model).__name__,
)
def test_shapes_and_dtypes_of_samples(model):
    variables = shapes_of(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}
    sample = lambda variables: model.apply(variables, jax.random.key(0), 5, method="sample")
    samples = jax.eval_shape(sample, variables)
    assert samples.shape == (5, *model.example_shape) and samples.dtype == jnp.float32
    xs = jax.ShapeDtypeStruct((1, *model.example_shape), jnp.bfloat16)
    log_likelihood = jax.eval_shape(model.apply, variables, xs)
    assert log_likelihood.shape == (1,) and log_likelihood.dtype == jnp.float32


# ---- wrong inputs


@pytest.mark.parametrize(
    "model, shape, message",
    [
        (Glow((28, 28, 1), 3), (2, 28, 28, 1), "`image_shape` must .* multiples of 8 for `levels` 3, got 28 x 28"),
        (Glow((9, 8, 1), 1), (2, 9, 8, 1), "`image_shape` must .* multiples of 2 for `levels` 1, got 9 x 8"),
        (Glow((8, 8), 1), (2, 8, 8), r"`image_shape` must be \(H, W, C\), positive integers, got \(8, 8\)"),
        (Glow(), (2, 28, 28, 1), r"`xs` must be .* of shape \[B, 32, 32, 3\], got float32 of shape \(2, 28, 28, 1\)"),
        (Glow(), (2, 32, 32, 1), r"`xs` must be .* of shape \[B, 32, 32, 3\], got float32 of shape \(2, 32, 32, 1\)"),
        (Glow(coupling="spline"), (2, 32, 32, 3), "`coupling` must be one of affine, additive, got 'spline'"),
        (Glow(steps=0), (2, 32, 32, 3), "`steps` must be an integer of at least 1, got 0"),
        (Glow(levels=10**6), (2, 32, 32, 3), "`levels` must be an integer of at most 1000"),
        (RealNVP((6, 6, 1), 3), (2, 6, 6, 1), "`image_shape` must .* multiples of 4 for `levels` 3, got 6 x 6"),
        (RealNVP(blocks=-1), (2, 32, 32, 3), "`blocks` must be an integer of at least 0, got -1"),
        (SplineFlow(1), (2, 1), "`features` must be an integer of at least 2, got 1"),
        (SplineFlow(3, num_bins=0), (2, 3), "`num_bins` must be an integer of at least 2, got 0"),
        (SplineFlow(3), (2, 4), r"`xs` must be .* of shape \[B, 3\], got float32 of shape \(2, 4\)"),
        (MaskedAutoregressiveFlow(0), (2, 0), "`features` must be an integer of at least 1, got 0"),
        (MaskedAutoregressiveFlow(3, hidden_sizes=4), (2, 3), "`hidden_sizes` must be a sequence, got 4"),
    ],
)
def test_wrong_settings_and_shapes_are_errors(model, shape, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(shape)))


def test_discrete_data_and_codes_of_another_shape_are_errors():
    model = Glow((4, 4, 1), 1, 1, 2)
    with pytest.raises(
        ValueError, match="`xs` must be a floating point array .* got uint8 .*; dequantize discrete data"
    ):
        model.init(jax.random.key(0), jnp.zeros((2, 4, 4, 1), jnp.uint8))
    with pytest.raises(ValueError, match=r"`codes` must be .* of shape \[B, 16\], got float32 of shape \(2, 4, 4, 1\)"):
        model.apply(random_variables(model), jnp.zeros((2, 4, 4, 1)), method="decode")
