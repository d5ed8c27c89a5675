"""A sequence over devices: on eight simulated ones in a process of their own, on one and its errors here."""

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


def test_states_and_gradients_are_those_of_scan_and_messages_do_not_grow(run_on_devices):
    run_on_devices(CHECKS, "messages_do_not_grow_with_time", "a_few")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "every_cell_option_and_number_of_devices",
        "float32",
        "edges",
        "padding_has_no_effect_whatever_is_in_it",
        "half_precision",
        "cells_of_ones_own",
        "memory_is_that_of_a_part",
        "a_batch_goes_on_being_divided",
    ],
)
def test_on_eight_devices(run_on_devices, name):
    run_on_devices(CHECKS, name)


def test_on_one_device_as_scan():
    params, xs, carry = problem(CELLS["min gru"], 7)
    lengths = [7, 3, 0]
    got = recurrent.scan_over_devices(CELLS["min gru"], params, xs, carry, mesh=MESH, axis="time", lengths=lengths)
    wanted = recurrent.scan(CELLS["min gru"], params, xs, carry, lengths=lengths)
    chex.assert_trees_all_close(got, wanted, atol=1e-6)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"cell": "gru"}, "scan_over_devices needs a cell that is linear in its state, such as min_gru.*no LinearStep"),
        ({"axis": "space"}, "axis: one of the mesh's, 'time', expected; given 'space'"),
        ({"mesh": jax.make_mesh((1,), ("time",), (AxisType.Explicit,))}, "mesh: axes of type Auto.*given Explicit"),
        ({"lengths": [7, 9, 0]}, "lengths: from 0 to T = 7 expected; given 9"),
        ({"resets": jnp.zeros((3, 6), bool)}, r"resets: bool of shape \(3, 7\) expected"),
        ({"carry": jnp.zeros((2, 6))}, r"carry: shapes \(3, 6\) expected for this batch"),
        ({"method": "magic"}, "method must be one of auto, sequential.*got 'magic'"),
    ],
)
def test_what_a_user_gets_wrong(changes, message):
    cell = CELLS[changes.pop("cell", "min gru")]
    params, xs, _ = problem(cell, 7)
    with pytest.raises(ValueError, match=message):
        recurrent.scan_over_devices(cell, params, xs, **{"mesh": MESH, "axis": "time", **changes})
