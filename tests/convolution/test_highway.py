"""Highway networks: the gate, parameter counts, closed gates, shapes and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.convolution.highway import ConvHighwayNetwork, HighwayNetwork, highway_gate

IMAGES = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)


def shapes(model, images=IMAGES):
    return jax.eval_shape(model.init, jax.random.key(0), images)


def count(model, images=IMAGES):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(model, images)["params"]))


def test_gate_interpolates_between_input_and_transform():
    x, h = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(highway_gate(x, h, jnp.zeros(4)), (x + h) / 2, atol=1e-6)
    np.testing.assert_allclose(highway_gate(x, h, jnp.full(4, np.log(3))), (x + 3 * h) / 4, atol=1e-6)
    np.testing.assert_array_equal(highway_gate(x, h, jnp.full(4, -200.0)), x)
    np.testing.assert_array_equal(highway_gate(x, h, jnp.full(4, 200.0)), h)
    jacobian = jax.jacobian(lambda x: highway_gate(x, h[0], jnp.full(4, -200.0)))(x[0])
    np.testing.assert_array_equal(jacobian, np.eye(4))


@pytest.mark.parametrize("model", [HighwayNetwork(5, 6), ConvHighwayNetwork((6,), 3)])
def test_closed_gates_pass_on_the_first_layer(model):
    images = jax.random.normal(jax.random.key(0), (2, 5, 4, 3))
    names = ("layer_1", "layer_5") if isinstance(model, HighwayNetwork) else ("stage_1",)
    closed = model.clone(gate_bias=-200.0)
    variables = jax.jit(closed.init)(jax.random.key(1), images)
    actual = jax.jit(lambda v: closed.apply(v, images, features=names))(variables)
    params = variables["params"]
    if len(names) == 2:
        flat = np.moveaxis(np.asarray(images), -1, 1).reshape(2, -1)  # channel first
        first = np.maximum(flat @ params["layer_1"]["kernel"], 0)
        np.testing.assert_allclose(actual["layer_1"], first, atol=1e-5)
        np.testing.assert_array_equal(actual["layer_5"], actual["layer_1"])
        gates = [params[f"layer_{i}"]["gate"]["bias"] for i in range(2, 6)]
    else:
        kernel, windows = params["stage_1_plain"]["kernel"], np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
        first = sum(windows[:, i : i + 5, j : j + 4] @ kernel[i, j] for i in range(3) for j in range(3))
        np.testing.assert_allclose(actual["stage_1"], np.maximum(first, 0), atol=1e-5)
        gates = [params[f"stage_1_layer_{i}"]["gate"]["bias"] for i in range(1, 4)]
    assert all((bias == -200).all() for bias in gates)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(model.apply(v, images) ** 2)))(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("depth", [1, 10, 50])
def test_parameter_count_of_the_dense_network(depth):
    first = 28 * 28 * 50 + 50
    highway = 2 * (50 * 50 + 50)
    head = 50 * 10 + 10
    assert count(HighwayNetwork(depth)) == first + (depth - 1) * highway + head
    assert count(HighwayNetwork(depth), jax.ShapeDtypeStruct((3, 784), jnp.float32)) == count(HighwayNetwork(depth))


def test_parameter_count_of_the_convolutional_network():
    plain = (9 * 3 * 32 + 32) + (9 * 32 * 48 + 48) + (9 * 48 * 64 + 64)
    highway = 5 * 2 * ((9 * 32**2 + 32) + (9 * 48**2 + 48) + (9 * 64**2 + 64))
    head = 64 * 10 + 10
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    assert count(ConvHighwayNetwork(), images) == plain + highway + head


def test_shapes_dtypes_and_invalid_images():
    dense, conv = HighwayNetwork(3, 8, dtype=jnp.bfloat16), ConvHighwayNetwork((4, 6, 8), 1, dtype=jnp.bfloat16)
    apply = lambda model, shape, **options: jax.eval_shape(
        lambda v, x: model.apply(v, x, **options), shapes(model), jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    actual = apply(conv, (1, 9, 4, 1), features=("stage_3", "pooled", "logits"))
    assert {name: a.shape for name, a in actual.items()} == {
        "stage_3": (1, 2, 1, 8),
        "pooled": (1, 8),
        "logits": (1, 10),
    }
    assert [actual[name].dtype for name in ("stage_3", "logits")] == [jnp.bfloat16, jnp.float32]
    assert apply(dense, (1, 28, 28, 1)).dtype == jnp.float32
    assert apply(dense, (1, 28, 28, 1), features=("layer_3",))["layer_3"].dtype == jnp.bfloat16
    bare = dense.clone(num_classes=0)
    assert jax.eval_shape(bare.apply, shapes(bare), IMAGES).shape == (2, 8)
    for call, message in [
        (lambda: apply(conv, (1, 9, 3, 1)), "at least 4 x 4, got 9 x 3"),
        (lambda: apply(conv, (1, 9, 9, 3)), "`images` must have 1 channels, got 3"),
        (lambda: apply(dense, (1, 28, 28, 3)), "`images` must have 784 values each, got 2352"),
        (lambda: apply(dense, (1, 28, 28)), r"`images` must be \[B, H, W, C\]"),
        (
            lambda: apply(dense, (1, 28, 28, 1), features=("layer_4",)),
            "among layer_1, layer_2, layer_3.*, got 'layer_4'",
        ),
        (lambda: shapes(HighwayNetwork(0)), "`num_layers` must be an integer of at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
