"""Folds over devices on one device and on eight simulated devices in a subprocess, and their errors."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxnets import sets

CHECKS = Path(__file__).parent / "checks_of_fold_over_devices.py"
MESH = jax.make_mesh((1,), ("time",), (AxisType.Auto,), devices=jax.devices()[:1])
XS = jax.random.uniform(jax.random.key(0), (2, 7, 3))


def test_folds_equal_pooling_and_messages_do_not_grow(run_on_devices):
    run_on_devices(CHECKS, "messages_do_not_grow_with_the_set", "some_folds")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "all_folds_and_device_counts",
        "float32",
        "short_and_empty_sets",
        "gradients_of_bins",
        "batch_stays_sharded",
    ],
)
def test_folds_on_eight_devices(run_on_devices, name):
    run_on_devices(CHECKS, name)


def test_fold_on_one_device_equals_pooling():
    mask = jnp.arange(7)[None] < jnp.array([[5], [0]])
    got = sets.fold_over_devices(sets.max_fold, XS, mask, mesh=MESH, axis="time")
    np.testing.assert_allclose(got, sets.max_pool(XS, mask))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"fold": sets.sum_fold._replace(merge=None)}, "`fold` must have `merge`"),
        ({"axis": "space"}, "`axis` must be one of 'time', the mesh axes, got 'space'"),
        ({"mesh": jax.make_mesh((1,), ("time",), (AxisType.Explicit,))}, "`mesh` must .* type Auto.*got Explicit"),
        ({"valid": jnp.ones((2, 6), bool)}, r"`valid` must be bool of shape \(2, 7\)"),
        ({"valid": sets.Segments(jnp.zeros(7, int), 2)}, r"`xs` must be \[M, D\] with segments"),
    ],
)
def test_invalid_arguments_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        sets.fold_over_devices(**{"fold": sets.sum_fold, "xs": XS, "mesh": MESH, "axis": "time", **changes})
