"""Residual attention networks: gate, interpolation, parameter counts, shapes and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.convolution.models.residual_attention import (
    ResidualAttentionNetwork,
    SoftMask,
    attention_gate,
    bilinear,
    residual_attention56,
    residual_attention92,
)
from jaxnets.training.reporting import flops

SMALL = ResidualAttentionNetwork((1, 0, 1), num_classes=5, width=4)


def shapes(model, side=224, channels=3):
    images = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images)


def test_gate_scales_the_trunk_by_one_to_two():
    mask, trunk = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(attention_gate(mask, trunk), (1 + 1 / (1 + np.exp(-mask))) * trunk, rtol=1e-6)
    np.testing.assert_array_equal(attention_gate(jnp.full((3, 4), -200.0), trunk), trunk)
    np.testing.assert_array_equal(attention_gate(jnp.full((3, 4), 200.0), trunk), 2 * trunk)


@pytest.mark.parametrize("height, width", [(5, 7), (4, 3), (1, 1), (9, 2)])
def test_bilinear_matches_numpy_along_each_axis(height, width):
    images = np.random.default_rng(0).normal(size=(2, 4, 3, 2)).astype(np.float32)
    along = lambda size, axis, x: np.apply_along_axis(
        lambda row: np.interp(np.linspace(0, len(row) - 1, size), np.arange(len(row)), row), axis, x
    )
    expected = along(width, 2, along(height, 1, images))
    np.testing.assert_allclose(bilinear(jnp.asarray(images), height, width), expected, atol=1e-6)
    assert bilinear(jnp.asarray(images, jnp.bfloat16), height, width).dtype == jnp.bfloat16


@pytest.mark.parametrize("make, count", [(residual_attention56, 31_810_728), (residual_attention92, 52_466_344)])
def test_parameter_counts_match_the_authors_models(make, count):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes(make())["params"])) == count


def test_size_and_multiply_adds_match_the_paper():
    model = residual_attention56()
    variables = shapes(model)
    size = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert round(size / 1e6, 1) == 31.9
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    multiply_adds = sum(flops.flops(model.apply, variables, images).values()) / 2
    assert multiply_adds / 1e9 == pytest.approx(6.26, rel=0.01)


@pytest.mark.parametrize("poolings, units", [(1, 2), (2, 5), (3, 8)])
def test_mask_has_a_skip_connection_at_each_intermediate_size(poolings, units):
    images = jax.ShapeDtypeStruct((1, 17, 8, 8), jnp.float32)
    mask = SoftMask(poolings)
    actual, variables = jax.eval_shape(lambda x: mask.init_with_output(jax.random.key(0), x), images)
    assert actual.shape == images.shape
    names = {name for name in variables["params"] if not name.startswith(("norm", "conv"))}
    intermediate = {f"{kind}_{i}" for i in range(1, poolings) for kind in ("skip", "up")}
    assert names == {"bottom", *(f"down_{i + 1}" for i in range(poolings)), *intermediate}
    assert len(names) == units


def test_activation_shapes_and_invalid_images():
    variables = shapes(SMALL)
    apply = lambda shape, **options: jax.eval_shape(
        lambda v, x: SMALL.apply(v, x, **options), variables, jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    names = ("stem", "stage_1", "stage_2", "stage_3", "stage_4", "pooled", "logits")
    actual = apply((1, 31, 75, 3), features=names)
    sides = [(16, 38), (8, 19), (4, 10), (2, 5), (1, 3)]
    assert [actual[name].shape for name in names] == [
        *((1, *side, features) for side, features in zip(sides, (4, 16, 32, 64, 128), strict=True)),
        (1, 128),
        (1, 5),
    ]
    with pytest.raises(ValueError, match="at least 31 x 31, got 31 x 30"):
        apply((1, 31, 30, 3))
    with pytest.raises(ValueError, match="`images` must have 3 channels, got 4"):
        apply((1, 32, 32, 4))
    with pytest.raises(ValueError, match="among stem.*, got 'mask'"):
        apply((1, 32, 32, 3), features=("mask",))
    assert "head" not in shapes(SMALL.clone(num_classes=0))["params"]


def test_bfloat16_at_the_minimum_size():
    model = ResidualAttentionNetwork((1, 0, 0), num_classes=5, width=4, dtype=jnp.bfloat16)
    images = jax.random.normal(jax.random.key(0), (1, 31, 31, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(1), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}
    variables = jax.tree.map(lambda a: jnp.linspace(0.1, 0.3, a.size).reshape(a.shape), shapes)
    actual = jax.jit(lambda v: model.apply(v, images, features=("stage_1", "logits")))(variables)
    assert [actual[name].dtype for name in ("stage_1", "logits")] == [jnp.bfloat16, jnp.float32]
    assert np.isfinite(actual["logits"]).all()
