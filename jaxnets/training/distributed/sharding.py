"""The mesh of a run, and the rows of a batch that each process reads."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

from jaxnets.learning.partitioning import COPIES, DATA, MODEL, count_rows, of_rows
from jaxnets.training.errors import UsageError

READING = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)


def make_mesh(settings: ConfigDict, rows: int) -> Mesh:
    """All devices of all processes, as ``data`` times ``copies`` times ``model``.

    Args:
        settings: ``config.devices``.
        rows: Of a batch, or of a part of it where gradients are accumulated. Where they cannot be divided by the
            devices that are left for them, groups of devices read the same rows.

    Raises:
        UsageError: ``settings.model`` does not divide the number of devices.
    """
    count, model = jax.device_count(), settings.model
    if model < 1 or count % model:
        raise UsageError(f"--config.devices.model_parallel must divide the number of devices, {count}, got {model}")
    data = math.gcd(count // model, rows)
    sizes = data, count // model // data, model
    return jax.make_mesh(sizes, (DATA, COPIES, MODEL), axis_types=(AxisType.Auto,) * len(sizes))


def rows_here(mesh: Mesh, count: int) -> np.ndarray:
    """Numbers of those of a batch's ``count`` rows that devices of this process hold, ascending."""
    at = of_rows(mesh, jax.ShapeDtypeStruct((count,), np.bool_))
    found = at.addressable_devices_indices_map((count,)).values()
    return np.unique(np.concatenate([np.arange(count)[index] for index in found]))


class Share(NamedTuple):
    """Batches as one process reads them.

    Attributes:
        batches: Of each, the rows of ``rows_here``.
        mesh: The devices that compute.
        rows: How many a batch has in all processes; None: those that this one reads.
    """

    batches: grain.MapDataset
    mesh: Mesh
    rows: int | None = None

    def on_devices(self) -> Iterator[Any]:
        """The batches of a split, on all devices, read a few ahead."""
        # By itself a map dataset reads 500 batches ahead, gigabytes of images.
        return map(self.put, self.batches.to_iter_dataset(READING))

    def put(self, batch: Any) -> Any:
        """One of the batches on all devices."""
        if jax.process_count() == 1:  # one call for all arrays: a call for each is most of what the loop costs
            return jax.device_put(batch, of_rows(self.mesh, batch))
        rows = self.rows or count_rows(batch)
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype), batch)
        place = lambda at, leaf, whole: jax.make_array_from_process_local_data(at, leaf, whole.shape)
        return jax.tree.map(place, of_rows(self.mesh, shapes), batch, shapes)


def on_one_device(batches: grain.MapDataset) -> Share:
    """Whole batches, for the first device of this process."""
    mesh = Mesh(np.array(jax.local_devices()[:1]).reshape(1, 1, 1), (DATA, COPIES, MODEL))
    return Share(batches, mesh)


def settled(tree: Any) -> Any:
    """The arrays, computed where one CPU is made to look like several devices, else still on their way.

    There programs of all devices that are under way at once may wait for each other for ever.
    """
    simulated = jax.default_backend() == "cpu" and jax.device_count() > 1
    return jax.block_until_ready(tree) if simulated else tree
