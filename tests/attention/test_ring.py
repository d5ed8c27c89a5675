"""Ring attention on one device and on eight simulated devices in a subprocess, and its errors."""

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


def test_outputs_equal_one_device_and_only_shards_are_sent(run_on_devices):
    run_on_devices(CHECKS, "only_shards_are_sent", "causal_and_all_options")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "all_options_and_device_counts",
        "float32",
        "short_and_empty_sequences",
        "bias_of_absolute_positions",
        "nan_in_padding_has_no_effect",
        "half_precision",
        "dropout_rate_and_gradient",
        "memory_scales_with_the_shard",
        "batch_and_heads_stay_sharded",
        "language_model",
    ],
)
def test_ring_on_eight_devices(run_on_devices, name):
    run_on_devices(CHECKS, name)


def test_ring_of_one_device_equals_full_attention():
    options = {"causal": True, "lengths": jnp.array([7, 3])}
    got = at.attention(QUERY, KEY, VALUE, implementation=at.Ring(MESH, "time"), **options)
    np.testing.assert_allclose(got, at.attention(QUERY, KEY, VALUE, implementation="xla", **options), atol=1e-6)


@pytest.mark.parametrize(
    "ring, options, message",
    [
        ((MESH, "time"), {"mask": jnp.ones((7, 7), bool)}, "`implementation` must not be a Ring with a mask"),
        ((MESH, "time"), {"bias": jnp.ones((7, 7))}, "`implementation` must not be a Ring with a mask"),
        ((MESH, "space"), {}, "`axis` must be one of 'time', the mesh axes, got 'space'"),
        ((jax.make_mesh((1,), ("time",), (AxisType.Explicit,)), "time"), {}, "`mesh` must .* type Auto.*got Explicit"),
        ((MESH, "time"), {"blocks": (0, 4)}, "`blocks` must be two sizes of at least 1"),
    ],
)
def test_invalid_ring_arguments_are_rejected(ring, options, message):
    with pytest.raises(ValueError, match=message):
        at.attention(QUERY, KEY, VALUE, implementation=at.Ring(*ring), **options)
