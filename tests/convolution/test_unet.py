"""U-Net: published sizes, valid image sizes, the transposed convolution, cropping, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxnets.convolution.models.unet import UNet, UpConvolution, unet

SMALL = UNet(3, depth=3, width=2)


def images(*sides, channels=1, batch=1):
    return jax.ShapeDtypeStruct((batch, *sides, channels), jnp.float32)


def output_shape(model, images):
    return jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], images).shape


def test_published_sizes_and_parameter_count():
    logits, variables = jax.eval_shape(lambda x: unet().init_with_output(jax.random.key(0), x), images(572, 572))
    assert logits.shape == (1, 388, 388, 2)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 31_030_658


def test_valid_image_sizes_without_padding():
    assert output_shape(UNet(width=2), images(188, 204)) == (1, 4, 20, 2)
    assert output_shape(UNet(depth=1, width=2), images(5, 6)) == (1, 1, 2, 2)
    for depth, min_size in ((1, 5), (2, 18), (3, 44), (4, 92), (5, 188)):
        small = UNet(depth=depth, width=1)
        assert min(output_shape(small, images(min_size, min_size))[1:3]) >= 1
        with pytest.raises(ValueError, match=f"at least {min_size} x {min_size}, got {min_size - 1} x 572"):
            output_shape(small, images(min_size - 1, 572))
        if depth > 1:  # the next smaller valid size would have an empty output
            assert min_size - 2 ** (depth - 1) * 4 - 8 * 2 ** (depth - 1) + 4 <= 0
    with pytest.raises(
        ValueError, match=r"height of `images` must be 556 or 572 \(188 \+ 16 k\) with .*'valid', got 570"
    ):
        output_shape(UNet(width=2), images(570, 572))
    with pytest.raises(ValueError, match=r"width of `images` must be 44 or 48 \(44 \+ 4 k\) with .*'valid', got 45"):
        output_shape(SMALL, images(44, 45))


def test_any_image_size_is_valid_with_padding():
    model = SMALL.clone(padding="same")
    for size in ((4, 4), (37, 42), (5, 7)):
        assert output_shape(model, images(*size, batch=2)) == (2, *size, 3)
    with pytest.raises(ValueError, match="at least 4 x 4, got 3 x 8"):
        output_shape(model, images(3, 8))


def test_transposed_convolution_matches_flax():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))
    conv = UpConvolution(6)
    reference = nn.ConvTranspose(6, (2, 2), strides=(2, 2), padding="VALID", transpose_kernel=True)
    variables = conv.init(jax.random.key(1), x)
    variables["params"]["bias"] += jnp.arange(6.0)
    assert variables["params"]["kernel"].std() == pytest.approx(np.sqrt(2 / 4), rel=0.2)
    np.testing.assert_allclose(conv.apply(variables, x), reference.apply(variables, x), atol=1e-5)


def test_skip_connections_are_cropped_at_the_center():
    """Through the first skip connection, a logit depends on the 9 x 9 pixels around its position."""
    model = UNet(1, depth=2, width=2)
    x = jax.random.uniform(jax.random.key(0), (1, 24, 26, 1))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    variables = jax.tree.map(abs, variables)  # keeps all ReLUs active
    variables["params"]["upconv_1"] = jax.tree.map(jnp.zeros_like, variables["params"]["upconv_1"])
    margin = (24 - output_shape(model, x)[1]) // 2
    gradient = jax.jit(jax.grad(lambda x: model.apply(variables, x)[0, 2, 3, 0]))(x)[0, :, :, 0]
    expected = np.zeros((24, 26), bool)
    expected[2 + margin - 4 : 2 + margin + 5, 3 + margin - 4 : 3 + margin + 5] = True
    np.testing.assert_array_equal(np.asarray(gradient) > 0, expected)


def test_without_padding_logits_are_shift_equivariant():
    x = jax.random.normal(jax.random.key(0), (1, 52, 48, 1))
    variables = jax.jit(SMALL.init)(jax.random.key(1), x)
    apply = jax.jit(SMALL.apply)
    np.testing.assert_allclose(apply(variables, x[:, 4:]), apply(variables, x)[:, 4:], atol=1e-5)


def test_batch_norm_bfloat16_and_dropout():
    model = UNet(3, depth=2, width=4, padding="same", batch_norm=True, dropout=0.5, dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (2, 8, 9, 3))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    params = variables["params"]
    assert set(params["down_1"]) == {"conv_1", "norm_1", "conv_2", "norm_2"}
    assert "bias" not in params["down_1"]["conv_1"]

    @jax.jit
    def gradient(params, key):
        def loss(params):
            given = {**variables, "params": params}
            rngs = {"dropout": key}
            actual, new = model.apply(
                given, x, train=True, mutable="batch_stats", rngs=rngs, features=("bottom", "logits")
            )
            return jnp.mean(actual["logits"] ** 2), (actual, new)

        return jax.grad(loss, has_aux=True)(params)

    grads, (actual, new) = gradient(params, jax.random.key(2))
    assert [actual[name].dtype for name in ("bottom", "logits")] == [jnp.bfloat16, jnp.float32]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((grads, new)))
    assert (actual["bottom"] == 0).mean() > 0.4
    assert (gradient(params, jax.random.key(3))[1][0]["bottom"] != actual["bottom"]).any()


def test_activation_shapes_and_invalid_arguments():
    variables = jax.eval_shape(SMALL.init, jax.random.key(0), images(44, 44))
    apply = lambda given, **options: jax.eval_shape(lambda v, x: SMALL.apply(v, x, **options), variables, given)
    names = ("down_1", "down_2", "bottom", "up_2", "up_1")
    actual = apply(images(44, 44), features=names)
    assert [actual[name].shape[1:] for name in names] == [(40, 40, 2), (16, 16, 4), (4, 4, 8), (4, 4, 4), (4, 4, 2)]
    assert output_shape(SMALL.clone(num_classes=0), images(44, 44)) == (1, 4, 4, 2)
    for call, message in [
        (lambda: apply(images(44, 44, channels=2)), "`images` must have 1 channels, got 2"),
        (
            lambda: apply(images(44, 44), features=("down_3",)),
            "among down_1, down_2, bottom, up_2, up_1.*, got 'down_3'",
        ),
        (
            lambda: output_shape(SMALL.clone(padding="SAME"), images(44, 44)),
            "`padding` must be one of valid, same, got 'SAME'",
        ),
        (lambda: output_shape(SMALL.clone(depth=0), images(44, 44)), "`depth` must be an integer of at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
