"""Benchmark of kernel launches: kernels and memory of recurrences in programs compiled for an NVIDIA H100.

    python -m benchmarks.recurrent.launches --json=benchmarks/results/recurrent/launches.json

The programs are compiled by XLA and Mosaic but not run, so that no GPU is needed. The CUDA plugin of JAX and the
compiler of CUDA must be installed, and without a GPU the variable JAX_SKIP_CUDA_CONSTRAINTS_CHECK=1 must be set:

    pip install --no-deps jax-cuda13-plugin==VERSION jax-cuda13-pjrt==VERSION   # the version of jax

A loop over time launches its kernels in every step, which takes a few microseconds per kernel.
"""

import functools
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from absl import flags
from jax.experimental import topologies

from benchmarks import harness, peers
from benchmarks.runs.hlo import launches
from benchmarks.side_by_side import work
from jaxnets import program, recurrent

FLAGS = flags.FLAGS

flags.DEFINE_list("shapes", ["16x1024x768x768"], "Sizes BxTxDxH.")
flags.DEFINE_list("cells", ["lstm", "gru", "elman"], "Cells: lstm, gru (reset after the product), elman.")
flags.DEFINE_list("peers", ["flax linen", "keras"], "JAX libraries to compare with, from peers.py.")
flags.DEFINE_list("dtypes", ["bfloat16", "float32"], "Compute dtypes.")
flags.DEFINE_string("json", None, "Output JSON file of the results.")

CELLS: dict[str, Any] = {
    "lstm": recurrent.lstm,
    "gru": lambda hidden: recurrent.gru(hidden, "after"),
    "elman": recurrent.elman,
}

# Description of an H100 (SXM) for the compiler.
H100 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 10 patch: 0 }
gpu_device_info {
  name: "NVIDIA H100 80GB HBM3" device_vendor: "NVIDIA Corporation" platform_version: "Compute Capability 9.0a"
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000 device_memory_size: 84942979072 device_address_bits: 64 l2_cache_size: 52428800
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0"
}
"""


@functools.cache
def h100() -> jax.sharding.SingleDeviceSharding:
    described = topologies.get_topology_desc("H100", platform="cuda", target_config=H100, topology="1x1x1")
    return jax.sharding.SingleDeviceSharding(described.devices[0])


def compiled(function: Any, *arguments: Any) -> Any:
    """Compiles a function for an H100."""
    sharding = h100()
    skip_check = mock.patch("jaxnets.recurrent.experimental.persistent.check_device")
    with skip_check, mock.patch.object(jax, "default_backend", lambda: "gpu"):  # methods choose by the backend
        traced = jax.jit(function, in_shardings=sharding, out_shardings=sharding).trace(*arguments)
        return traced.lower(lowering_platforms=("cuda",)).compile()


def jaxnets_layer(cell: str, method: str, features: int, hidden: int) -> peers.Implementation:
    layer = CELLS[cell](hidden)
    apply = lambda params, xs: recurrent.scan(layer, params, xs, method=method)[1]
    return apply, layer.init(jax.random.key(0), features)


def measure(cell: str, shape: str, dtype: Any) -> dict[str, dict[str, float]]:
    """Returns kernels of a forward pass and of a gradient, and megabytes of a gradient, by implementation."""
    batch, length, features, hidden = harness.parse_shape(shape)
    xs = jax.ShapeDtypeStruct((batch, length, features), dtype)
    found = {
        "jaxnets sequential": jaxnets_layer(cell, "sequential", features, hidden),
        "jaxnets persistent": jaxnets_layer(cell, "persistent", features, hidden),
    }
    for name in FLAGS.peers:
        try:
            found[name] = peers.JAX_PEERS[name](cell, features, hidden, dtype)
        except (KeyError, TypeError):  # the library does not support the cell or the dtype
            continue
    results = {}
    for name, (apply, params) in found.items():
        params = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params)
        try:
            forward, gradient = (compiled(work(apply, which, 2), params, xs) for which in ("forward", "gradient"))
        except (ValueError, TypeError) as error:
            if name in FLAGS.peers or "on the chip" in str(error):  # the library does not support the dtype
                print(f"{shape} {cell:6} {dtype} {name}: {str(error).splitlines()[0]}", flush=True)
                continue
            raise
        results[name] = {
            "forward": launches(forward.as_text()),
            "gradient": launches(gradient.as_text()),
            "mb": gradient.memory_analysis().temp_size_in_bytes / 2**20,
        }
    return results


def main(overrides: program.Overrides) -> None:
    found = []
    for shape in FLAGS.shapes:
        for cell in FLAGS.cells:
            for dtype in FLAGS.dtypes:
                for name, result in measure(cell, shape, jnp.dtype(dtype)).items():
                    found.append({"shape": shape, "cell": cell, "name": name, "dtype": dtype, **result})
                    kernels = f"{result['forward']:8.0f} kernels forward, {result['gradient']:8.0f} with gradients"
                    print(f"{shape} {cell:6} {dtype:9} {name:20} {kernels}, {result['mb']:7.0f} MB", flush=True)
    if FLAGS.json:
        about = {"command": harness.command(), **harness.machine(), "device": "compiled for an H100, not run"}
        harness.write(FLAGS.json, {**about, "launches": found})


if __name__ == "__main__":
    program.run(main)
