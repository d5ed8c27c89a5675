"""Bijectors: inverses, log-determinants and densities in float64, against normflows, nflows and scipy."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxnets import generative

GOLDEN = dict(np.load(Path(__file__).parent.parent / "reference" / "flows.npz"))


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def golden(name):
    prefix = f"{name}/"
    return {key.removeprefix(prefix): array for key, array in GOLDEN.items() if key.startswith(prefix)}


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


LU, VECTOR, OTHER, KERNEL, LONG = (0.5 * a for a in arrays((4, 4), (4,), (4,), (2, 4), (2, 2 * 14), seed=1))
PIXELS, TRIANGLE = (0.3 * a for a in arrays((16, 32), (4, 4), seed=2))
PERMUTATION, SIGNS = np.array([2, 0, 3, 1], np.int32), np.array([1.0, -1.0, -1.0, 1.0])
network = lambda xs: jnp.sin(xs @ KERNEL)


def of_all_pixels(xs):
    return jnp.sin(xs.reshape(len(xs), 16) @ PIXELS).reshape(*xs.shape[:-1], 8)


def autoregressive(xs):
    outputs = jnp.sin(xs @ jnp.triu(TRIANGLE, 1))  # column i depends on the rows before it
    return generative.chain(generative.shifting(outputs), generative.scaling(jnp.cos(outputs)))


def spline_of(xs):
    return generative.rational_quadratic_spline((xs @ LONG).reshape(*xs.shape[:-1], 2, 14), 2.0)


BIJECTORS = {
    "shifting": lambda: generative.shifting(VECTOR),
    "scaling": lambda: generative.scaling(VECTOR),
    "permuting": lambda: generative.permuting(PERMUTATION),
    "reversing": generative.reversing,
    "actnorm": lambda: generative.actnorm(VECTOR, OTHER),
    "invertible_linear": lambda: generative.invertible_linear(LU, PERMUTATION, SIGNS),
    "additive_coupling": lambda: generative.additive_coupling(lambda xs: network(xs)[..., :2]),
    "affine_coupling": lambda: generative.affine_coupling(network),
    "masked_affine_coupling": lambda: generative.masked_affine_coupling(
        generative.checkerboard(2, 2, 4), of_all_pixels
    ),
    "standardizing": lambda: generative.coupling(lambda xs: generative.standardizing(network(xs))),
    "spline": lambda: generative.coupling(spline_of),
    "identity": generative.chain,
    "squeezing": generative.squeezing,
    "masked_autoregressive": lambda: generative.masked_autoregressive(autoregressive),
    "chain": lambda: generative.chain(*(build() for build in list(BIJECTORS.values())[:10])),
}


@pytest.mark.parametrize("name", BIJECTORS)
def test_inverse_and_log_determinant(name):
    bijector = BIJECTORS[name]()
    (xs,) = arrays((3, 4) if name == "masked_autoregressive" else (3, 2, 2, 4))

    @jax.jit
    def run(xs):
        zs, log_det = bijector.forward(xs)
        jacobian = jax.vmap(jax.jacfwd(lambda x: bijector.forward(x[None])[0].reshape(-1)))(xs)
        return log_det, bijector.inverse(zs), jacobian.reshape(len(xs), xs[0].size, xs[0].size)

    log_det, (back, inverse_log_det), jacobian = run(xs)
    assert log_det.shape == inverse_log_det.shape == (3,) and log_det.dtype == jnp.float64
    np.testing.assert_allclose(back, xs, atol=1e-12)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-12)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-12)


@pytest.mark.parametrize("name", BIJECTORS)
def test_half_precision_and_one_row(name):
    bijector = BIJECTORS[name]()
    shape = (1, 4) if name == "masked_autoregressive" else (1, 2, 2, 4)

    def run(xs):
        zs, log_det = bijector.forward(xs)
        return (zs, log_det), bijector.inverse(zs)

    with jax.numpy_dtype_promotion("standard"):  # the networks above are in float64
        (zs, log_det), (back, inverse_log_det) = jax.eval_shape(run, jax.ShapeDtypeStruct(shape, jnp.bfloat16))
    assert back.dtype == zs.dtype == jnp.bfloat16 and back.shape == shape
    assert log_det.dtype == inverse_log_det.dtype == jnp.float32 and log_det.shape == (1,)


# ---- other libraries


def channels_last(images):
    return np.moveaxis(images, 1, -1)


def packed(torch):
    """Arguments of ``invertible_linear`` for a convolution of normflows."""
    lu = np.tril(torch["flows.1.L"], -1) + np.triu(torch["flows.1.U"], 1) + np.diag(torch["flows.1.log_S"])
    return lu, torch["flows.1.P"].argmax(0).astype(np.int32), torch["flows.1.sign_S"]


def test_spline_equals_nflows():
    torch = golden("spline")
    parameters = torch["parameters"].copy()
    parameters[:, 10:] -= math.log(math.expm1(1 - 1e-3))  # nflows adds no constant
    spline = generative.rational_quadratic_spline(parameters[:, None], 2.0)
    zs, log_det = jax.jit(spline.forward)(torch["xs"][:, None])
    np.testing.assert_allclose(zs[:, 0], torch["zs"], rtol=1e-12)
    np.testing.assert_allclose(log_det, torch["log_slopes"], atol=1e-12)
    assert not np.any(log_det[np.abs(torch["xs"]) > 2])


def test_invertible_linear_equals_normflows():
    torch, expected = golden("glow_step"), golden("linear")
    zs, log_det = jax.jit(generative.invertible_linear(*packed(torch)).forward)(channels_last(torch["xs"]))
    np.testing.assert_allclose(zs, channels_last(expected["zs"]), atol=1e-13)
    np.testing.assert_allclose(log_det, np.full(3, expected["log_det"]), rtol=1e-13)


def test_masked_coupling_equals_normflows():
    torch = golden("real_nvp")

    def both(xs):
        log_scale = jnp.tanh(xs @ torch["s.0.weight"].T + torch["s.0.bias"][None])
        return jnp.concatenate([log_scale, xs @ torch["t.weight"].T + torch["t.bias"][None]], -1)

    zs, log_det = jax.jit(generative.masked_affine_coupling(torch["b"][0] == 1, both).forward)(torch["xs"])
    np.testing.assert_allclose(zs, torch["zs"], atol=1e-13)
    np.testing.assert_allclose(log_det, torch["log_det"], atol=1e-13)


def test_masked_autoregressive_flow_equals_nflows():
    torch = golden("maf")
    masks = generative.made_masks(4, (9, 9), 2)
    layers = []
    for index, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, torch[f"layers.{index}.mask"].T == 1)
        layers.append({"kernel": torch[f"layers.{index}.weight"].T, "bias": torch[f"layers.{index}.bias"]})

    def transform(xs):
        outputs = generative.masked_perceptron(layers, masks, xs, dtype=jnp.float64).reshape(-1, 4, 2)
        log_scale = jnp.log(jax.nn.softplus(outputs[..., 0]) + 1e-3)
        return generative.chain(generative.scaling(log_scale), generative.shifting(outputs[..., 1]))

    flow = generative.masked_autoregressive(transform)
    zs, log_det = jax.jit(flow.forward)(torch["xs"])
    np.testing.assert_allclose(zs, torch["zs"], atol=1e-13)
    np.testing.assert_allclose(log_det, torch["log_det"], atol=1e-13)
    np.testing.assert_allclose(jax.jit(flow.inverse)(zs)[0], torch["xs"], atol=1e-12)


# ---- densities


def test_gaussian_density_of_an_affine_flow():
    # z = 2 (x - 1) is standard normal, so x has the mean 1 and the standard deviation 1/2.
    flow = generative.chain(
        generative.shifting(jnp.array([-1.0, -1.0])),
        generative.scaling(jnp.full(2, math.log(2))),
        generative.reversing(),
    )
    (xs,) = arrays((5, 2))
    expected = stats.norm(1, 0.5).logpdf(np.asarray(xs)).sum(-1)
    found = jax.jit(lambda xs: generative.flow_log_prob(flow, xs))(xs)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    bits = generative.bits_per_dim(expected, 2)
    np.testing.assert_allclose(bits, 8 - expected / (2 * math.log(2)), rtol=1e-12)
    sample = jax.jit(lambda temperature: generative.flow_sample(flow, jax.random.key(0), (4000, 2), temperature))
    samples = sample(jnp.float32(1))
    assert samples.dtype == jnp.float32
    np.testing.assert_allclose(np.mean(samples, 0), [1, 1], atol=0.03)
    np.testing.assert_allclose(np.std(samples, 0), [0.5, 0.5], atol=0.03)
    np.testing.assert_allclose(sample(jnp.float32(0.5)) - 1, 0.5 * (np.asarray(samples) - 1), atol=1e-6)


def test_density_integrates_to_one():
    parameters, kernel = 0.4 * arrays((1, 14))[0], arrays((2, 2), seed=1)[0]
    spline = lambda xs: generative.rational_quadratic_spline(
        jnp.sin(xs)[..., None] * parameters[None] + parameters[None], 3.0
    )
    affine = lambda xs: jnp.concatenate([jnp.sin(3 * xs), jnp.cos(xs)], axis=-1)
    flow = generative.chain(
        generative.invertible_linear(0.3 * kernel, np.array([1, 0], np.int32), np.array([1.0, -1.0])),
        generative.affine_coupling(affine),
        generative.reversing(),
        generative.coupling(spline),
    )
    side = np.linspace(-10, 10, 401)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    density = np.exp(jax.jit(lambda xs: generative.flow_log_prob(flow, xs))(grid))
    assert density.sum() * (side[1] - side[0]) ** 2 == pytest.approx(1, abs=1e-3)


def test_uniform_intensities_have_eight_bits():
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (200, 4, 4)), jnp.uint8)
    xs = generative.dequantize(jax.random.key(0), images)
    assert xs.dtype == jnp.float32 and xs.min() >= 0 and xs.max() < 1
    np.testing.assert_array_equal(np.floor(256 * np.asarray(xs)), images)
    assert np.std(256 * np.asarray(xs) - np.asarray(images)) == pytest.approx(1 / math.sqrt(12), rel=0.03)
    assert generative.bits_per_dim(jnp.zeros(()), 16) == 8  # a uniform density on [0, 1)
    assert generative.bits_per_dim(jnp.full((), -16 * math.log(2)), 16, intensities=1) == pytest.approx(1)
    few = generative.dequantize(jax.random.key(0), jnp.array([0, 3]), intensities=4)
    assert 0 <= few[0] < 0.25 and 0.75 <= few[1] < 1
    with pytest.raises(ValueError, match="`images` must be integers from 0 to 255, got float32"):
        generative.dequantize(jax.random.key(0), images.astype(jnp.float32))


# ---- initialization and single parts


def test_initial_matrix_is_orthogonal():
    lu, permutation, signs = jax.jit(generative.orthogonal_lu, static_argnums=1)(jax.random.key(0), 5)
    matrix, log_det = generative.invertible_linear(lu, permutation, signs).forward(jnp.eye(5, dtype=jnp.float32))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(5), atol=1e-6)
    np.testing.assert_allclose(log_det, np.zeros(5), atol=1e-6)
    assert len(set(np.asarray(permutation).tolist())) == 5 and (lu.dtype, permutation.dtype) == (jnp.float32, jnp.int32)


def test_normalized_batch_has_zero_mean_and_unit_variance():
    xs = arrays((6, 4, 4, 3))[0] * np.array([1.0, 20.0, 0.01]) + np.array([1.0, 300.0, 0.0])
    for dtype, tolerance in ((jnp.float64, 1e-12), (jnp.float32, 1e-4)):
        images = xs.astype(dtype)
        zs, _ = jax.jit(lambda xs: generative.actnorm(*generative.actnorm_parameters(xs)).forward(xs))(images)
        np.testing.assert_allclose(zs.mean((0, 1, 2)), np.zeros(3), atol=tolerance)
        np.testing.assert_allclose(zs.std((0, 1, 2)), np.ones(3), rtol=tolerance)


def test_constant_channels_keep_their_scale():
    normalized = jax.jit(lambda xs: generative.actnorm(*generative.actnorm_parameters(xs)).forward(xs))
    for xs in (np.array([[3.0, -1e4]]), np.full((5, 2), 7, np.float32)):
        zs, log_det = normalized(xs)
        assert not np.any(zs) and not np.any(log_det)
    assert jax.eval_shape(generative.actnorm_parameters, jnp.zeros((0, 2)))[0].shape == (2,)


def test_squeeze_orders_channels_before_pixels():
    images = np.arange(2 * 4 * 2 * 3).reshape(2, 4, 2, 3)
    squeezed = generative.squeeze(images)
    assert squeezed.shape == (2, 2, 1, 12)
    np.testing.assert_array_equal(squeezed[1, 1, 0, 4:8], images[1, 2:, :, 1].reshape(-1))
    np.testing.assert_array_equal(generative.unsqueeze(squeezed), images)


def test_masks_of_small_perceptrons():
    assert [mask.shape for mask in generative.made_masks(1, (3,), 2)] == [(1, 3), (3, 2)]
    masks = generative.made_masks(5, (7, 6), 3)
    reach = np.linalg.multi_dot([mask.astype(int) for mask in masks]).reshape(5, 5, 3) > 0
    np.testing.assert_array_equal(reach, np.broadcast_to(np.triu(np.ones((5, 5)), 1)[..., None] > 0, reach.shape))
    (direct,) = generative.made_masks(3, (), 1)
    np.testing.assert_array_equal(direct, np.triu(np.ones((3, 3)), 1) == 1)


def test_checkerboard():
    np.testing.assert_array_equal(generative.checkerboard(2, 3, 1)[..., 0], [[1, 0, 1], [0, 1, 0]])


def test_gradients_are_finite_at_extreme_inputs():
    values = jnp.array([-1e30, -3.0, -1e-30, 0.0, 1e-30, 2.9999999, 3.0, 1e30], jnp.float32)[:, None]
    scales = (0.0, 100.0, -1e4)

    @jax.jit
    def slopes(xs, parameters):
        def total(xs, parameters):
            spline = generative.rational_quadratic_spline(parameters)
            zs, log_det = spline.forward(xs)
            back, inverse_log_det = spline.inverse(xs)
            return jnp.sum(zs) + jnp.sum(log_det) + jnp.sum(back) + jnp.sum(inverse_log_det)

        return jax.grad(total, (0, 1))(xs, parameters)

    for scale in scales:
        signs = np.cos(np.arange(11, dtype=np.float32))
        parameters = jnp.broadcast_to(jnp.asarray(scale * signs, jnp.float32), (len(values), 1, 11))
        assert all(np.isfinite(leaf).all() for leaf in slopes(values, parameters)), scale


def test_wrong_arguments_are_errors():
    images = jnp.zeros((1, 2, 3, 4))
    with pytest.raises(ValueError, match=r"`images` must have the shape .* H and W even, got \(1, 2, 3, 4\)"):
        generative.squeeze(images)
    with pytest.raises(ValueError, match=r"`images` must have the shape .* C a multiple of 4, got \(1, 2, 4, 3\)"):
        generative.unsqueeze(images.transpose(0, 1, 3, 2))
    with pytest.raises(ValueError, match=r"`xs` must have at least 2 channels for a coupling, got the shape \(3, 1\)"):
        generative.additive_coupling(network).forward(jnp.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"`parameters` must be 3 K - 1, K from 1 to 999, got \(3, 1, 4\)"):
        generative.rational_quadratic_spline(jnp.zeros((3, 1, 4)))
    with pytest.raises(ValueError, match="`bound` must be positive, got 0"):
        generative.rational_quadratic_spline(jnp.zeros((3, 1, 5)), 0)
    with pytest.raises(ValueError, match="`features` must be an integer of at least 1, got 0"):
        generative.made_masks(0, (), 1)
    with pytest.raises(ValueError, match="`dims` must be an integer of at least 1, got 0"):
        generative.bits_per_dim(jnp.zeros(2), 0)
    with pytest.raises(ValueError, match="`order` must be a permutation of 0 ... 2, got int64 of shape"):
        generative.permuting(np.array([0, 2, 2]))


def test_squeezing_keeps_the_sharding_of_an_explicit_mesh():
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Explicit,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    images = jax.ShapeDtypeStruct((8, 4, 6, 4), jnp.float32, sharding=sharding)
    for function, shape in ((generative.squeeze, (8, 2, 3, 16)), (generative.unsqueeze, (8, 8, 12, 1))):
        y, gradient = jax.eval_shape(lambda x, f=function: (f(x), jax.vjp(f, x)[1](f(x))[0]), images)
        assert (y.shape, y.sharding.spec[0]) == (shape, "batch")
        assert (gradient.shape, gradient.sharding.spec[0]) == (images.shape, "batch")
