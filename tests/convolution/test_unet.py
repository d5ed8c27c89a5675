"""U-Net: the published count and sizes, sizes that do not fit, the transposed convolution, the middle of the skips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxnets.convolution.models.unet import UNet, UpConvolution, unet

SMALL = UNet(3, depth=3, width=2)


def images(*sides, channels=1, batch=1):
    return jax.ShapeDtypeStruct((batch, *sides, channels), jnp.float32)


def shape(model, given):
    return jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], given).shape


def test_the_published_network():
    answer, variables = jax.eval_shape(lambda x: unet().init_with_output(jax.random.key(0), x), images(572, 572))
    assert answer.shape == (1, 388, 388, 2)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 31_030_658


def test_sizes_that_fit_without_padding():
    assert shape(UNet(width=2), images(188, 204)) == (1, 4, 20, 2)
    assert shape(UNet(depth=1, width=2), images(5, 6)) == (1, 1, 2, 2)
    for depth, smallest in ((1, 5), (2, 18), (3, 44), (4, 92), (5, 188)):
        small = UNet(depth=depth, width=1)
        assert min(shape(small, images(smallest, smallest))[1:3]) >= 1
        with pytest.raises(ValueError, match=f"at least {smallest} x {smallest}, got {smallest - 1} x 572"):
            shape(small, images(smallest - 1, 572))
        if depth > 1:  # the next size that every pooling halves would leave nothing
            assert smallest - 2 ** (depth - 1) * 4 - 8 * 2 ** (depth - 1) + 4 <= 0
    with pytest.raises(ValueError, match=r"height must be 556 or 572 \(188 \+ 16 k\) with padding='valid', got 570"):
        shape(UNet(width=2), images(570, 572))
    with pytest.raises(ValueError, match=r"width must be 44 or 48 \(44 \+ 4 k\) with padding='valid', got 45"):
        shape(SMALL, images(44, 45))


def test_any_size_fits_with_padding():
    model = SMALL.clone(padding="same")
    for sides in ((4, 4), (37, 42), (5, 7)):
        assert shape(model, images(*sides, batch_size=2)) == (2, *sides, 3)
    with pytest.raises(ValueError, match="at least 4 x 4, got 3 x 8"):
        shape(model, images(3, 8))


def test_the_transposed_convolution_is_the_usual_one():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))
    ours = UpConvolution(6)
    theirs = nn.ConvTranspose(6, (2, 2), strides=(2, 2), padding="VALID", transpose_kernel=True)
    variables = ours.init(jax.random.key(1), x)
    variables["params"]["bias"] += jnp.arange(6.0)
    assert variables["params"]["kernel"].std() == pytest.approx(np.sqrt(2 / 4), rel=0.2)
    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-5)


def test_skips_are_cropped_in_the_middle():
    """A pixel of the answer sees 9 x 9 of the image through the topmost skip, around its own place."""
    model = UNet(1, depth=2, width=2)
    x = jax.random.uniform(jax.random.key(0), (1, 24, 26, 1))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    variables = jax.tree.map(abs, variables)  # no ReLU is closed
    variables["params"]["upconv_1"] = jax.tree.map(jnp.zeros_like, variables["params"]["upconv_1"])
    margin = (24 - shape(model, x)[1]) // 2
    seen = jax.jit(jax.grad(lambda x: model.apply(variables, x)[0, 2, 3, 0]))(x)[0, :, :, 0]
    expected = np.zeros((24, 26), bool)
    expected[2 + margin - 4 : 2 + margin + 5, 3 + margin - 4 : 3 + margin + 5] = True
    np.testing.assert_array_equal(np.asarray(seen) > 0, expected)


def test_without_padding_a_shifted_image_gives_a_shifted_answer():
    x = jax.random.normal(jax.random.key(0), (1, 52, 48, 1))
    variables = jax.jit(SMALL.init)(jax.random.key(1), x)
    apply = jax.jit(SMALL.apply)
    np.testing.assert_allclose(apply(variables, x[:, 4:]), apply(variables, x)[:, 4:], atol=1e-5)


def test_batch_norm_half_precision_and_dropout():
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
            found, new = model.apply(
                given, x, train=True, mutable="batch_stats", rngs=rngs, features=("bottom", "logits")
            )
            return jnp.mean(found["logits"] ** 2), (found, new)

        return jax.grad(loss, has_aux=True)(params)

    grads, (found, new) = gradient(params, jax.random.key(2))
    assert [found[name].dtype for name in ("bottom", "logits")] == [jnp.bfloat16, jnp.float32]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((grads, new)))
    assert (found["bottom"] == 0).mean() > 0.4
    assert (gradient(params, jax.random.key(3))[1][0]["bottom"] != found["bottom"]).any()


def test_inner_activations_and_what_does_not_fit():
    variables = jax.eval_shape(SMALL.init, jax.random.key(0), images(44, 44))
    apply = lambda given, **options: jax.eval_shape(lambda v, x: SMALL.apply(v, x, **options), variables, given)
    names = ("down_1", "down_2", "bottom", "up_2", "up_1")
    found = apply(images(44, 44), features=names)
    assert [found[name].shape[1:] for name in names] == [(40, 40, 2), (16, 16, 4), (4, 4, 8), (4, 4, 4), (4, 4, 2)]
    assert shape(SMALL.clone(num_classes=0), images(44, 44)) == (1, 4, 4, 2)
    for call, message in [
        (lambda: apply(images(44, 44, channels=2)), "images must have 1 channels, got 2"),
        (
            lambda: apply(images(44, 44), features=("down_3",)),
            "among down_1, down_2, bottom, up_2, up_1.*, got 'down_3'",
        ),
        (
            lambda: shape(SMALL.clone(padding="SAME"), images(44, 44)),
            "`padding` must be one of valid, same, got 'SAME'",
        ),
        (lambda: shape(SMALL.clone(depth=0), images(44, 44)), "`depth` must be an integer of at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
