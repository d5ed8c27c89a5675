"""Scaling benchmark: communication volume, memory per device, and step times on simulated devices.

    python -m benchmarks.runs.scaling
    python -m benchmarks.runs.scaling --topology=v5e:2x4  # compiles for a TPU without using one; needs libtpu

The number of bytes is read from the compiled training step and compared with the minimum for the layout. The step times
of 1, 2, 4 and 8 simulated CPU devices are measured alternately, in one process per number of devices. With few cores
they show the overhead of sharding, never a speedup. The tables of docs/scaling.md are updated from the results.
"""

import math
import os
import resource
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from absl import flags
from jax.experimental import topologies

from benchmarks import harness
from benchmarks.runs import scaling_tables
from benchmarks.runs.collectives import collectives
from benchmarks.runs.scaling_runs import LAYOUTS, compiled_run, compiled_step, times
from jaxnets import attention, program
from jaxnets.learning import partitioning
from jaxnets.tasks.task import partition_rules_of
from jaxnets.training.compiled import Compiled
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

HERE = Path(__file__).parent.parent
flags.DEFINE_integer("rounds", 5, "Number of measurements for each number of devices.", lower_bound=1)
flags.DEFINE_string("topology", None, "TPU topology to compile for, such as v5e:2x4. Nothing is run.")
flags.DEFINE_string(
    "json", None, "Output file. The default is scaling.json or scaling_tpu.json in benchmarks/results/runs."
)
flags.DEFINE_string("page", str(HERE.parent / "docs" / "scaling.md"), "Page whose tables are updated.")

DEVICES = 8
ROWS = {"char_lm": 64, "decoder_lm": 64, "gpt2": 8}  # batch sizes
MB = 1e6


# ---- communication volume


def least_bytes(run: Compiled, network: Any, batch: Any, fsdp: bool) -> float:
    """Returns the minimum number of bytes that a device sends in a step, with ring algorithms and float32.

    For P bytes of parameters on n data-parallel devices, the all-reduce of gradients sends 2 (n - 1) / n P bytes. With
    FSDP it is 3 (n - 1) / n P: two all-gathers of parameters and a reduce-scatter of gradients. Tensor parallelism over
    k devices adds four all-reduces of activations ``[B / n, T, D]`` for each of L layers (Shoeybi et al. 2019).
    """
    n, k = run.mesh.shape[partitioning.DATA], run.mesh.shape[partitioning.MODEL]
    params = run.abstract.learner.variables["params"]
    shardings = partitioning.parameter_shardings(run.mesh, partition_rules_of(network), params, fsdp=False)
    size = lambda leaf, at: math.prod(at.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    sent = (3 if fsdp else 2) * (n - 1) / n * sum(jax.tree.leaves(jax.tree.map(size, params, shardings)))
    if k > 1:
        activation = batch["inputs"].size / n * network.embed_dim * 4
        sent += 4 * network.num_layers * 2 * (k - 1) / k * activation
    return sent


def volume(model: str, layout: str) -> dict[str, Any]:
    """Returns the bytes sent in a step by kind, their minimum, and the memory of a device, in MB."""
    run, network, batch = compiled_run(model, layout, ROWS[model])
    step = compiled_step(run, batch)
    sent: dict[str, float] = defaultdict(float)
    for collective in collectives(step.as_text()):
        sent[collective.kind] += collective.sent / MB
    memory = step.memory_analysis()
    return {
        "model": model,
        "layout": layout,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.abstract.learner.variables["params"])),
        "sent_mb": sent,
        "least_mb": least_bytes(run, network, batch, LAYOUTS[layout][0]) / MB,
        "state_mb": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(run.abstract)) / MB,
        "argument_mb": memory.argument_size_in_bytes / MB,
        "output_mb": memory.output_size_in_bytes / MB,
        "temporary_mb": memory.temp_size_in_bytes / MB,
    }


def volumes() -> list[dict[str, Any]]:
    found = []
    for model in ROWS:
        for layout, (_, parts) in LAYOUTS.items():
            if parts == 1 or model != "char_lm":  # char_lm has no tensor parallelism
                found.append(volume(model, layout))
                sent, least = sum(found[-1]["sent_mb"].values()), found[-1]["least_mb"]
                print(f"{model:<12}{layout:<32}{sent:>10,.1f} MB sent, minimum {least:>10,.1f}", flush=True)
    return found


# ---- memory


def bytes_by_device(state: Any) -> dict[int, int]:
    """Returns the bytes of a state's arrays on each device."""
    found: Counter[int] = Counter()
    for leaf in jax.tree.leaves(state):
        for shard in leaf.addressable_shards:
            found[shard.device.id] += shard.data.nbytes
    return dict(found)


def memory() -> dict[str, Any]:
    """Returns the memory of the initial state of a GPT-2 with FSDP, in MB."""
    run, _, _ = compiled_run("gpt2", "fully sharded", ROWS["gpt2"])
    create: Any = run.create
    creation = create.lower().compile().memory_analysis()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    state = jax.block_until_ready(create())
    process = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    whole, most = sum(leaf.nbytes for leaf in jax.tree.leaves(state)), max(bytes_by_device(state).values())
    found = {
        "state_mb": whole / MB,
        "device_mb": most / MB,
        "share": most * DEVICES / whole,
        "creation_temporary_mb": creation.temp_size_in_bytes / MB,
        "process_mb": process / MB,
    }
    print(
        f"state {whole / MB:,.1f} MB, maximum of a device {most / MB:,.1f}: {found['share']:.4f} times an eighth",
        flush=True,
    )
    return found


# ---- a pod


class Chip(NamedTuple):
    """A TPU chip.

    Attributes:
        flops: Peak bfloat16 FLOPs per second.
        memory: Memory in bytes.
        sends: Bandwidth of all links together, in bytes per second.
        pod: Number of chips in a pod.
    """

    flops: float
    memory: float
    sends: float
    pod: int


# From docs.cloud.google.com/tpu/docs/v5e and v5p, which list both directions of the links together: 400 and 1200 GB/s.
CHIPS = {"TPU v5e": Chip(197e12, 16e9, 200e9, 256), "TPU v5p": Chip(459e12, 95e9, 600e9, 8960)}
# Sizes and tokens per batch of GPT-3 Small and XL (Brown et al. 2020, arXiv:2005.14165, table 2.1). The small model has
# the sizes of GPT-2.
DECODERS = {
    "124 M": ({}, 0.5e6),
    "1.3 B": ({"embed_dim": 2048, "num_layers": 24, "num_heads": 16, "max_seq_len": 2048}, 1e6),
}
TOKENS = 8192  # per chip


def pod(chip: Chip, network: Any, batch_tokens: float) -> dict[str, Any]:
    """Estimates the step time of a decoder with N parameters and t tokens per chip, on many chips.

    Computation takes t (6 N + 12 L D T) / flops. Communication in float32 takes 8 N / sends for data parallelism and
    12 N / sends for FSDP. If both overlap, the slower one counts, which is computation above some number of tokens.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1), np.int32))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    token = (6 * parameters + 12 * network.num_layers * network.embed_dim * network.max_seq_len) / chip.flops
    found: dict[str, Any] = {"parameters": parameters, "compute_ms": 1e3 * TOKENS * token}
    for layout, passes, shared in (("data parallel", 2, False), ("fully sharded", 3, True)):
        sending = passes * 4 * parameters / chip.sends
        chips = min(int(batch_tokens * token / sending), chip.pod)
        kept = 16 * parameters / (chips if shared else 1)  # parameters, gradients and two moments of AdamW
        found[layout] = {
            "send_ms": 1e3 * sending,
            "fewest_tokens": sending / token,
            "chips": chips,
            "kept_gb": kept / 1e9,
            "fits": kept < chip.memory,
        }
    return found


def pods() -> list[dict[str, Any]]:
    return [
        {"chip": name, "model": size, "batch_tokens": tokens, **pod(chip, attention.gpt2(**options), tokens)}
        for name, chip in CHIPS.items()
        for size, (options, tokens) in DECODERS.items()
    ]


# ---- the command line


def for_topology(name: str) -> list[dict[str, Any]]:
    """Computes the volumes of programs compiled for a TPU topology, which replaces the local devices."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no network access
    try:
        devices = list(topologies.get_topology_desc(name, "tpu").devices)
    except Exception as error:
        raise UsageError(
            f"--topology={name}: {error}; the package libtpu supports topologies such as v5e:2x4"
        ) from error
    if len(devices) != DEVICES:
        raise UsageError(f"--topology must have {DEVICES} devices, got {name} with {len(devices)}")
    make_mesh = jax.make_mesh
    tpu_mesh = lambda sizes, names, **options: make_mesh(sizes, names, devices=devices, **options)
    with mock.patch.multiple(jax, make_mesh=tpu_mesh, device_count=lambda: DEVICES, default_backend=lambda: "tpu"):
        return volumes()


def main(overrides: program.Overrides) -> None:
    os.environ.setdefault("NPROC", "16")
    jax.config.update("jax_num_cpu_devices", DEVICES)
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), "devices": DEVICES}
    if FLAGS.topology:
        result |= {
            "device": f"{DEVICES} x TPU {FLAGS.topology}, compiled for only",
            "volumes": for_topology(FLAGS.topology),
        }
        path = FLAGS.json or str(HERE / "results" / "runs" / "scaling_tpu.json")
    else:
        result |= {"volumes": volumes(), "memory": memory(), "pods": pods()}
        result["scaling"] = {model: times(model, FLAGS.rounds) for model in ("char_lm", "decoder_lm")}
        path = FLAGS.json or str(HERE / "results" / "runs" / "scaling.json")
    harness.write(path, result)
    page = Path(FLAGS.page)
    page.write_text(scaling_tables.placed(page.read_text(), scaling_tables.tables(HERE / "results" / "runs")))


if __name__ == "__main__":
    program.run(main)
