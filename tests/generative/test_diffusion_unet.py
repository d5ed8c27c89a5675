"""The U-Net of diffusion: counts, conditions, dropout, dtypes and wrong settings."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.generative import TextUNet, UNet

SHAPE = (4, 6, 1)
SMALL = UNet(SHAPE, width=8, multipliers=(1, 2), num_blocks=1, num_groups=4, num_heads=2, dropout=0.5)
CLASSES = SMALL.clone(num_classes=3)
TEXT = TextUNet(SMALL.clone(context_dim=8), vocab_size=11, num_layers=1, num_heads=2)
XS = jnp.asarray(np.random.default_rng(0).normal(size=(3, *SHAPE)), jnp.float32)
TIMES = jnp.array([0, 10, 999])
TOKENS = jnp.array([[1, 2, 3], [4, 5, 0], [6, 0, 0]])
LENGTHS = jnp.array([3, 2, 1])


@functools.cache
def variables_of(model):
    """Random values for all parameters, so that no layer is zero."""
    conditions = {TEXT: {"tokens": TOKENS, "lengths": LENGTHS}}.get(model, {})
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), XS, TIMES, **conditions))
    random = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: (0.3 * random.normal(size=leaf.shape)).astype(np.float32), shapes)


@functools.cache
def applied(model):
    variables = variables_of(model)
    return jax.jit(lambda xs, times, condition: model.apply(variables, xs, times, **condition))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (UNet(), 35_746_307),
        (UNet((28, 28, 1), 32, (1, 2, 2), attention_levels=()), 1_539_329),
        (UNet((28, 28, 1), 32, (1, 2, 2), attention_levels=(2,)), 1_623_169),
        (UNet((8, 8, 1), 32, (1, 2), attention_levels=()), 917_889),
    ],
)
def test_counts(model, expected):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *model.image_shape)), jnp.zeros(1)))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == expected


def test_examples_are_independent():
    found = applied(SMALL)(XS, TIMES, {})
    others = applied(SMALL)(XS.at[1].multiply(2), TIMES, {})
    np.testing.assert_allclose(others[::2], found[::2], rtol=1e-4, atol=1e-5)
    assert np.abs(applied(SMALL)(XS, TIMES + 5, {}) - found).max() > 1e-2


def test_classes_and_no_class():
    found = [applied(CLASSES)(XS, TIMES, {"labels": jnp.full(3, label)}) for label in range(4)]
    np.testing.assert_allclose(applied(CLASSES)(XS, TIMES, {}), found[3], rtol=1e-5, atol=1e-6)
    for i in range(3):
        assert np.abs(found[i] - found[i + 1]).max() > 1e-2


@pytest.mark.slow(seconds=5)
def test_texts_end_at_their_length():
    condition = {"tokens": TOKENS, "lengths": LENGTHS}
    found = applied(TEXT)(XS, TIMES, condition)
    padded = {"tokens": jnp.where(jnp.arange(3)[None] < LENGTHS[:, None], TOKENS, 7), "lengths": LENGTHS}
    np.testing.assert_allclose(applied(TEXT)(XS, TIMES, padded), found, rtol=1e-4, atol=1e-5)
    other = {"tokens": TOKENS.at[:, 0].set(9), "lengths": LENGTHS}
    assert (np.abs(applied(TEXT)(XS, TIMES, other) - found).max((1, 2, 3)) > 1e-3).all()
    without = applied(TEXT)(XS, TIMES, {"tokens": TOKENS, "lengths": 0 * LENGTHS})
    np.testing.assert_allclose(applied(TEXT)(XS, TIMES, {}), without, rtol=1e-4, atol=1e-5)
    assert np.isfinite(without).all()


@pytest.mark.slow(seconds=3)
def test_dropout_needs_training():
    variables = variables_of(SMALL)
    apply = jax.jit(lambda key: SMALL.apply(variables, XS, TIMES, train=True, rngs={"dropout": key}))
    assert np.abs(apply(jax.random.key(0)) - apply(jax.random.key(1))).max() > 1e-3


def test_learned_variances_and_half_precision():
    model = SMALL.clone(learned_variance=True, dtype=jnp.bfloat16)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), XS, TIMES))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    found = jax.eval_shape(model.apply, variables, XS, TIMES)
    assert found.shape == (*XS.shape[:-1], 2) and found.dtype == jnp.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (30, 32, 1), "multipliers": (1, 2, 2)}, "multiples of 4 for 3 levels.*got 30 x 32"),
        ({"width": 10}, "`num_groups` must divide the channels of all levels, got 4 groups and 10 channels"),
        ({"num_heads": 3}, "`num_heads` must divide"),
        ({"attention_levels": (2,)}, "`attention_levels` must be from 0 to 1, got 2"),
        ({"num_blocks": 0}, "num_blocks"),
        ({"width": 2}, "width"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        SMALL.clone(**options)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (SMALL, {"xs": XS[:, :2]}, "`xs` must be images of shape"),
        (SMALL, {"times": TIMES[:2]}, "`times` must have the shape"),
        (SMALL, {"labels": TIMES}, "`labels` must be None for a model with `num_classes=0`"),
        (CLASSES, {"labels": TIMES[:2]}, "`labels` must be integers of shape"),
        (CLASSES, {"labels": jnp.array([0, 1, 4])}, "labels"),
        (SMALL, {"context": jnp.zeros((3, 2, 8))}, "`context` must be None"),
        (TEXT, {"tokens": TOKENS[:2]}, "`tokens` must be integers of shape"),
        (TEXT, {"tokens": TOKENS, "lengths": jnp.array([1, 2, 4])}, "`lengths` must be from 0 to 3, got 4"),
    ],
)
def test_wrong_inputs(model, changes, message):
    with pytest.raises(ValueError, match=message):
        model.apply(variables_of(model), **{"xs": XS, "times": TIMES, **changes})


def test_texts_need_a_context():
    with pytest.raises(ValueError, match="`context_dim` of the U-Net must be at least 1"):
        TextUNet(SMALL, 5)


@pytest.mark.slow(seconds=30)
def test_sampling_on_eight_devices(run_on_devices):
    run_on_devices(Path(__file__).with_name("diffusion_device_checks.py"), "samples_are_those_of_one_device")
