"""``scan_over_devices`` on eight simulated devices and on one device."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import pytest
from all_cells import CELLS, problem
from jax.sharding import AxisType

from jaxnets import recurrent

CHECKS = Path(__file__).parent / "checks_of_scan_over_devices.py"
MESH = jax.make_mesh((1,), ("time",), (AxisType.Auto,), devices=jax.devices()[:1])


def test_results_match_scan_and_messages_do_not_grow(run_on_devices):
    run_on_devices(CHECKS, "messages_do_not_grow_with_time", "two_cells")


@pytest.mark.slow(seconds=50)
@pytest.mark.parametrize(
    "name",
    [
        "all_cells_options_and_device_counts",
        "float32",
        "edge_cases",
        "nan_padding_has_no_effect",
        "half_precision",
        "custom_cells",
        "memory_is_that_of_one_shard",
        "batch_stays_sharded",
    ],
)
def test_on_eight_devices(run_on_devices, name):
    run_on_devices(CHECKS, name)


def test_one_device_matches_scan():
    params, xs, carry = problem(CELLS["min gru"], 7)
    lengths = [7, 3, 0]
    got = recurrent.scan_over_devices(CELLS["min gru"], params, xs, carry, mesh=MESH, axis="time", lengths=lengths)
    wanted = recurrent.scan(CELLS["min gru"], params, xs, carry, lengths=lengths)
    chex.assert_trees_all_close(got, wanted, atol=1e-6)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"cell": "gru"}, "`cell` of scan_over_devices must be linear in its state, such as min_gru.*not a LinearStep"),
        ({"axis": "space"}, "`axis` must be one of 'time', the mesh axes, got 'space'"),
        ({"mesh": jax.make_mesh((1,), ("time",), (AxisType.Explicit,))}, "`mesh` must .* type Auto.*got Explicit"),
        ({"lengths": [7, 9, 0]}, "`lengths` must be from 0 to T = 7, got 9"),
        ({"resets": jnp.zeros((3, 6), bool)}, r"`resets` must be bool of shape \(3, 7\)"),
        ({"carry": jnp.zeros((2, 6))}, r"`carry` must have the shapes \(3, 6\) for this batch"),
        ({"method": "magic"}, "`method` must be one of auto, sequential.*got 'magic'"),
    ],
)
def test_wrong_arguments_are_rejected(changes, message):
    cell = CELLS[changes.pop("cell", "min gru")]
    params, xs, _ = problem(cell, 7)
    with pytest.raises(ValueError, match=message):
        recurrent.scan_over_devices(cell, params, xs, **{"mesh": MESH, "axis": "time", **changes})
