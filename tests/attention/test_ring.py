"""Attention over devices: on eight simulated ones in a process of their own, on one and its errors here."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxnets import attention as at

CHECKS = Path(__file__).parent / "checks_of_ring.py"
MESH = jax.make_mesh((1,), ("time",), (AxisType.Auto,), devices=jax.devices()[:1])
QUERY, KEY, VALUE = jax.random.normal(jax.random.key(0), (3, 2, 7, 4, 3))


def test_outputs_and_gradients_are_those_of_one_device_and_only_parts_are_sent(run_on_devices):
    run_on_devices(CHECKS, "nothing_but_parts_is_sent", "a_few")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "every_option_and_number_of_devices",
        "float32",
        "edges",
        "a_bias_of_positions_that_is_not_of_their_distance",
        "padding_has_no_effect_whatever_is_in_it",
        "half_precision",
        "dropout_drops_its_share_and_the_gradient_knows_which",
        "memory_is_that_of_a_part",
        "a_batch_and_heads_go_on_being_divided",
        "a_model_of_many_devices",
    ],
)
def test_on_eight_devices(run_on_devices, name):
    run_on_devices(CHECKS, name)


def test_on_one_device_as_chunked():
    options = {"causal": True, "lengths": jnp.array([7, 3])}
    got = at.attention(QUERY, KEY, VALUE, implementation=at.Ring(MESH, "time"), **options)
    np.testing.assert_allclose(got, at.attention(QUERY, KEY, VALUE, implementation="xla", **options), atol=1e-6)


@pytest.mark.parametrize(
    "ring, options, message",
    [
        ((MESH, "time"), {"mask": jnp.ones((7, 7), bool)}, "`implementation` must not be a Ring with a mask"),
        ((MESH, "time"), {"bias": jnp.ones((7, 7))}, "`implementation` must not be a Ring with a mask"),
        ((MESH, "space"), {}, "axis: one of the mesh's, 'time', expected; given 'space'"),
        ((jax.make_mesh((1,), ("time",), (AxisType.Explicit,)), "time"), {}, "mesh: axes of type Auto.*given Explicit"),
        ((MESH, "time"), {"blocks": (0, 4)}, "`blocks` must be at least 1 query and 1 key"),
    ],
)
def test_what_a_user_gets_wrong(ring, options, message):
    with pytest.raises(ValueError, match=message):
        at.attention(QUERY, KEY, VALUE, implementation=at.Ring(*ring), **options)
