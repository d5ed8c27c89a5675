"""Device meshes and the batches of each process."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

from jaxnets.learning.partitioning import COPIES, DATA, MODEL, count_rows, row_shardings
from jaxnets.training.errors import UsageError

READ_OPTIONS = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)


def make_mesh(settings: ConfigDict, rows: int) -> Mesh:
    """Creates the mesh of all devices of all processes, with the axes ``data``, ``copies`` and ``model``.

    Args:
        settings: ``config.devices``.
        rows: Number of rows of a microbatch. If it is not divisible by the number of devices along ``data`` and
            ``copies``, devices along ``copies`` compute the same rows.

    Raises:
        UsageError: ``settings.model_parallel`` does not divide the number of devices.
    """
    count, model = jax.device_count(), settings.model_parallel
    if model < 1 or count % model:
        raise UsageError(f"--config.devices.model_parallel must divide the number of devices, {count}, got {model}")
    data = math.gcd(count // model, rows)
    sizes = data, count // model // data, model
    return jax.make_mesh(sizes, (DATA, COPIES, MODEL), axis_types=(AxisType.Auto,) * len(sizes))


def local_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """Returns the sorted indices of the rows of a batch that the devices of this process hold."""
    sharding = row_shardings(mesh, jax.ShapeDtypeStruct((batch_size,), np.bool_))
    slices = sharding.addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[index] for index in slices]))


class ProcessBatches(NamedTuple):
    """The rows of batches that one process reads.

    Attributes:
        batches: The batches, each with the rows of ``local_rows``.
        mesh: The device mesh.
        rows: Number of rows of a batch over all processes. None: this process reads all rows.
    """

    batches: grain.MapDataset
    mesh: Mesh
    rows: int | None = None

    def on_devices(self) -> Iterator[Any]:
        """Returns an iterator over the batches on all devices, with a small prefetch buffer."""
        # The default of a map dataset prefetches 500 batches, which are gigabytes of images.
        return map(self.put, self.batches.to_iter_dataset(READ_OPTIONS))

    def put(self, batch: Any) -> Any:
        """Puts a batch on all devices."""
        if jax.process_count() == 1:  # one call for all arrays: one call per array would dominate the loop's overhead
            return jax.device_put(batch, row_shardings(self.mesh, batch))
        rows = self.rows or count_rows(batch)
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype), batch)
        place = lambda sharding, leaf, full: jax.make_array_from_process_local_data(sharding, leaf, full.shape)
        return jax.tree.map(place, row_shardings(self.mesh, shapes), batch, shapes)


def single_device(batches: grain.MapDataset) -> ProcessBatches:
    """Returns full batches for the first device of this process."""
    mesh = Mesh(np.array(jax.local_devices()[:1]).reshape(1, 1, 1), (DATA, COPIES, MODEL))
    return ProcessBatches(batches, mesh)


def block_if_simulated(tree: Any) -> Any:
    """Waits for the arrays if the devices are simulated on a CPU; otherwise returns them at once.

    Concurrent programs on simulated devices can deadlock.
    """
    simulated = jax.default_backend() == "cpu" and jax.device_count() > 1
    return jax.block_until_ready(tree) if simulated else tree
