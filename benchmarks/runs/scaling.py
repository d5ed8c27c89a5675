"""What training on several devices costs: bytes sent, memory of a device, and time on simulated devices.

    python -m benchmarks.runs.scaling
    python -m benchmarks.runs.scaling --topology=v5e:2x4  # compiled for a TPU that need not be there; needs libtpu

Bytes are read from the compiled training step, and compared with the least that the layout needs. Times of 1, 2, 4 and
8 simulated CPU devices are taken in turns, in a process each; on few cores they show what dividing the program costs,
never a gain. The tables of docs/scaling.md are made anew from the results.
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
from jaxnets.tasks.task import rules_of
from jaxnets.training.compiled import Compiled
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

HERE = Path(__file__).parent.parent
flags.DEFINE_integer("rounds", 5, "How often each number of devices gets its turn.", lower_bound=1)
flags.DEFINE_string("topology", None, "Compile for these TPUs instead, such as v5e:2x4, and run nothing.")
flags.DEFINE_string(
    "json", None, "Write the result to this file; benchmarks/results/runs/scaling.json or scaling_tpu.json."
)
flags.DEFINE_string("page", str(HERE.parent / "docs" / "scaling.md"), "Make the tables of this page anew.")

DEVICES = 8
ROWS = {"char_lm": 64, "decoder_lm": 64, "gpt2": 8}  # of a batch
MB = 1e6


# ---- bytes that are sent


def least_bytes(run: Compiled, network: Any, batch: Any, fully: bool) -> float:
    """The least that a device must send in a step, by the ring algorithm, in float32.

    Of the parameters that it computes with, P bytes, on n devices with rows of their own: 2 (n - 1) / n P, an
    all-reduce of gradients; fully sharded 3 (n - 1) / n P, gathered for each of both passes, and gradients scattered.
    Split over k devices, each of L layers adds four all-reduces of activations ``[B / n, T, D]`` (Shoeybi et al. 2019).
    """
    n, k = run.mesh.shape[partitioning.DATA], run.mesh.shape[partitioning.MODEL]
    params = run.abstract.learner.variables["params"]
    places = partitioning.of_parameters(run.mesh, rules_of(network), params, fully=False)
    size = lambda leaf, at: math.prod(at.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    sent = (3 if fully else 2) * (n - 1) / n * sum(jax.tree.leaves(jax.tree.map(size, params, places)))
    if k > 1:
        activation = batch["inputs"].size / n * network.width * 4
        sent += 4 * network.layers * 2 * (k - 1) / k * activation
    return sent


def volume(model: str, layout: str) -> dict[str, Any]:
    """What a step sends by kind, the least it must, and what a device needs, in MB."""
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
            if parts == 1 or model != "char_lm":  # which has nothing to split
                found.append(volume(model, layout))
                sent, least = sum(found[-1]["sent_mb"].values()), found[-1]["least_mb"]
                print(f"{model:<12}{layout:<32}{sent:>10,.1f} MB sent, {least:>10,.1f} at least", flush=True)
    return found


# ---- memory


def held(state: Any) -> dict[int, int]:
    """Bytes of a state's arrays on each device."""
    found: Counter[int] = Counter()
    for leaf in jax.tree.leaves(state):
        for shard in leaf.addressable_shards:
            found[shard.device.id] += shard.data.nbytes
    return dict(found)


def memory() -> dict[str, Any]:
    """Of a GPT-2, fully sharded: what each device holds of the state when it was created, in MB."""
    run, _, _ = compiled_run("gpt2", "fully sharded", ROWS["gpt2"])
    create: Any = run.create
    creation = create.lower().compile().memory_analysis()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    state = jax.block_until_ready(create())
    process = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    whole, most = sum(leaf.nbytes for leaf in jax.tree.leaves(state)), max(held(state).values())
    found = {
        "state_mb": whole / MB,
        "device_mb": most / MB,
        "share": most * DEVICES / whole,
        "creation_temporary_mb": creation.temp_size_in_bytes / MB,
        "process_mb": process / MB,
    }
    print(
        f"state {whole / MB:,.1f} MB, a device at most {most / MB:,.1f}: {found['share']:.4f} of an eighth", flush=True
    )
    return found


# ---- a pod


class Chip(NamedTuple):
    """Attributes:
    flops: Peak rate in bfloat16, a second.
    memory: Bytes.
    sends: Bytes a second over all its links together.
    pod: Chips that are linked so.
    """

    flops: float
    memory: float
    sends: float
    pod: int


# Google's pages of Cloud TPU v5e and v5p (docs.cloud.google.com/tpu/docs/v5e and v5p), which give both directions of
# the links together: 400 and 1200 GB/s.
CHIPS = {"TPU v5e": Chip(197e12, 16e9, 200e9, 256), "TPU v5p": Chip(459e12, 95e9, 600e9, 8960)}
# Sizes and tokens of a batch of GPT-3 Small and XL (Brown et al. 2020, arXiv:2005.14165, table 2.1), the small one as
# wide as GPT-2.
DECODERS = {"124 M": ({}, 0.5e6), "1.3 B": ({"embed_dim": 2048, "num_layers": 24, "num_heads": 16, "max_seq_len": 2048}, 1e6)}
TOKENS = 8192  # of a chip


def pod(chip: Chip, network: Any, batch_tokens: float) -> dict[str, Any]:
    """Times of a step of a decoder with N parameters, where a chip has t tokens and the others are many.

    Computing takes t (6 N + 12 L D T) / flops, sending 8 N bytes (gradients) or fully sharded 12 N / sends, all in
    float32. Both at once are as slow as the slower: computing, from some number of tokens on.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1), np.int32))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    token = (6 * parameters + 12 * network.layers * network.width * network.context) / chip.flops
    found: dict[str, Any] = {"parameters": parameters, "compute_ms": 1e3 * TOKENS * token}
    for layout, passes, shared in (("data parallel", 2, False), ("fully sharded", 3, True)):
        sending = passes * 4 * parameters / chip.sends
        chips = min(int(batch_tokens * token / sending), chip.pod)
        kept = 16 * parameters / (chips if shared else 1)  # parameters, gradients and AdamW's two averages
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
    """The volumes of programs that are compiled for TPUs; a mesh of them takes the place of the devices here."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # nothing is asked of a network
    try:
        devices = list(topologies.get_topology_desc(name, "tpu").devices)
    except Exception as error:
        raise UsageError(f"--topology={name}: {error}; the package libtpu knows v5e:2x4 and its like") from error
    if len(devices) != DEVICES:
        raise UsageError(f"--topology={name}: {DEVICES} devices expected; given {len(devices)}")
    make_mesh = jax.make_mesh
    ours = lambda sizes, names, **options: make_mesh(sizes, names, devices=devices, **options)
    with mock.patch.multiple(jax, make_mesh=ours, device_count=lambda: DEVICES, default_backend=lambda: "tpu"):
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
