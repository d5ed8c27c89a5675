"""Scaling benchmark: collectives of compiled programs, and memory and communication per device."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT

from benchmarks.runs import scaling, scaling_tables
from benchmarks.runs.collectives import Collective, collectives
from jaxnets import attention
from jaxnets.training.reporting.flops import count

PROGRAMS = """
import json, jax, jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, PartitionSpec as P
from benchmarks.runs.collectives import collectives

mesh = jax.make_mesh((4, 2), ("rows", "parts"), axis_types=(AxisType.Auto,) * 2)

def scanned(x, reverse):
    return lax.scan(lambda carry, _: (lax.psum(carry, "rows") * 0.5, None), x, None, length=7, reverse=reverse)[0]

def nested(x):
    return lax.fori_loop(0, 3, lambda i, x: scanned(lax.ppermute(x, "parts", [(0, 1), (1, 0)]) * 0.5, False), x)

def while_of_unknown_length(x):
    return lax.while_loop(lambda x: jnp.sum(x) < 1000, lambda x: lax.psum(x, "rows"), x)

programs = {
    "sum": lambda x: lax.psum(x, "rows"),
    "twice": lambda x: lax.psum(jnp.sin(lax.psum(x, "rows")), "rows"),
    "everyone": lambda x: lax.psum(x, ("rows", "parts")),
    "gather": lambda x: lax.all_gather(x, "rows"),
    "scatter": lambda x: lax.psum_scatter(x, "rows", tiled=True),
    "exchange": lambda x: lax.all_to_all(x, "parts", 0, 1),
    "shift": lambda x: lax.ppermute(x, "rows", [(i, (i + 1) % 4) for i in range(4)]),
    "scan": lambda x: scanned(x, False),
    "reverse": lambda x: scanned(x, True),
    "nested": nested,
    "alone": lambda x: x + 1,
    "endless": while_of_unknown_length,
}
def read(name, f):
    x = jnp.ones((2, 5) if name == "exchange" else (8, 5))
    mapped = jax.shard_map(f, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    try:
        return sorted(collectives(jax.jit(mapped).lower(x).compile().as_text()))
    except ValueError as error:
        return str(error)

print(json.dumps({name: read(name, f) for name, f in programs.items()}))
"""
ARRAY = 8 * 5 * 4  # bytes of float32 [8, 5]
EXPECTED = {
    "sum": [("all-reduce", ARRAY, 4, 1)],
    "twice": [("all-reduce", ARRAY, 4, 1)] * 2,
    "everyone": [("all-reduce", ARRAY, 8, 1)],
    "gather": [("all-gather", 4 * ARRAY, 4, 1)],
    "scatter": [("reduce-scatter", ARRAY, 4, 1)],
    "exchange": [("all-to-all", 2 * 5 * 4, 2, 1)],
    "shift": [("collective-permute", ARRAY, 8, 1)],
    "scan": [("all-reduce", ARRAY, 4, 7)],
    "reverse": [("all-reduce", ARRAY, 4, 7)],
    "nested": [("all-reduce", ARRAY, 4, 21), ("collective-permute", ARRAY, 8, 3)],
    "alone": [],
}


def on_eight_devices(environment, script):
    # More threads than devices: with one thread per core, eight devices may wait for each other forever.
    own = {**environment, "JAX_NUM_CPU_DEVICES": "8", "NPROC": "16", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_collectives_of_known_programs(environment):
    found = json.loads(on_eight_devices(environment, PROGRAMS))
    assert found.pop("endless").startswith("a collective in a loop of unknown length")
    assert found == {name: list(map(list, rows)) for name, rows in EXPECTED.items()}


def test_sent_bytes_assume_a_ring():
    assert Collective("all-reduce", 80, 4, 3).sent == 3 * 2 * 60
    assert Collective("all-gather", 80, 4, 3).sent == Collective("reduce-scatter", 80, 4, 3).sent == 3 * 60
    assert Collective("all-to-all", 80, 8, 1).sent == 70
    assert Collective("collective-permute", 80, 8, 2).sent == 160


# XLA output for a TPU: asynchronous collectives, collectives in fusions, and loops with trip counts only in conditions.
TPU = """HloModule jit_step, num_partitions=8

%all-reduce-scatter.6 (input.6: f32[256,128]) -> f32[256,16] {
  %all-reduce.64 = f32[256,128]{0,1:T(8,128)} all-reduce(%input.6), channel_id=77, replica_groups={}, to_apply=%add
  ROOT %slice = f32[256,16]{0,1:T(8,128)S(1)} dynamic-slice(%all-reduce.64, %zero, %here)
}

%fused.start (p: bf16[1,16,4]) -> bf16[1,128,4] {
  ROOT %all-gather.1 = bf16[1,128,4]{2,1,0:T(4,128)(2,1)} all-gather(%p), channel_id=5, replica_groups=[1,8]<=[8]
}

%fused.done (p: bf16[1,16,4]) -> bf16[1,128,4] {
  ROOT %all-gather.2 = bf16[1,128,4]{2,1,0:T(4,128)(2,1)} all-gather(%p), channel_id=5, replica_groups=[1,8]<=[8]
}

%condition (state: (s32[], f32[8])) -> pred[] {
  %end = s32[]{:T(128)} constant(12)
  ROOT %lt = pred[]{:T(512)} compare(%i, %end), direction=LT, metadata={op_name="jit(step)/while/cond/lt"}
}

%body (state: (s32[], f32[8])) -> (s32[], f32[8]) {
  %a = bf16[1,128,4] fusion(%p), kind=kCustom, calls=%fused.start
  %b = bf16[1,128,4] fusion(%a), kind=kCustom, calls=%fused.done
  %c = f32[16]{0} all-reduce(%x), channel_id=9, replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}
  %alone = f32[16]{0} all-reduce(%x), channel_id=10, replica_groups={{0},{1},{2},{3},{4},{5},{6},{7}}, to_apply=%add
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %while.1 = (s32[], f32[8]) while(%init), condition=%condition, body=%body
  %fusion.10 = f32[256,16]{0,1} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.6
  %start = (f32[4,5]{1,0}, f32[8,5]{1,0}) all-gather-start(%z), channel_id=11, replica_groups={{0,1},{2,3},{4,5},{6,7}}
  %done = f32[8,5]{1,0} all-gather-done(%start)
  %moving = (f32[6]{0}, f32[6]{0}, u32[], u32[]) collective-permute-start(%w), source_target_pairs={{0,1},{1,0}}
  %moved = f32[6]{0} collective-permute-done(%moving)
}
"""


def test_asynchronous_collectives_of_a_tpu_count_once():
    assert sorted(collectives(TPU)) == [
        ("all-gather", 4 * 8 * 5, 2, 1),
        ("all-gather", 2 * 128 * 4, 8, 12),
        ("all-reduce", 4 * 16, 4, 12),
        ("collective-permute", 4 * 6, 8, 1),
        ("reduce-scatter", 4 * 256 * 128, 8, 1),
    ]


VOLUMES = """
import json
from benchmarks.runs import scaling
print(json.dumps([scaling.volume(*each) for each in (("char_lm", "fully sharded"), ("decoder_lm", "fully sharded"))]))
"""


def test_fsdp_gathers_parameters_and_does_not_exchange_activations(environment):
    recurrent, decoder = json.loads(on_eight_devices(environment, VOLUMES))
    # On CPU XLA uses an all-reduce of gradients instead of a reduce-scatter: 4/3 of the minimum.
    assert sum(decoder["sent_mb"].values()) < 1.4 * decoder["least_mb"]
    # Parameters are gathered once per training step, not in every time step: a third of the minimum for two gathers and
    # one scatter.
    assert recurrent["sent_mb"]["all-gather"] <= 1.01 * recurrent["least_mb"] / 3
    for row in (recurrent, decoder):
        assert row["argument_mb"] < 1.1 * row["state_mb"] / 8


GPT2 = """
import jax, json
from benchmarks.runs import scaling
run, _, _ = scaling.compiled_run("gpt2", "fully sharded", 8)
state = run.create()
held = scaling.bytes_by_device(state)
sizes = [leaf.size for leaf in jax.tree.leaves(state.learner.variables["params"])]
print(json.dumps([sum(sizes), sum(leaf.nbytes for leaf in jax.tree.leaves(state)), list(held.values())]))
"""


@pytest.mark.slow
def test_eight_devices_each_hold_an_eighth_of_gpt2_and_its_optimizer(environment):
    parameters, whole, held = json.loads(on_eight_devices(environment, GPT2))
    assert parameters == 124_439_808
    assert whole >= 12 * parameters  # plus two moments of the optimizer
    assert len(held) == 8
    assert max(held) <= 1.3 * whole / 8


def test_compute_time_on_a_pod_follows_from_flops():
    network = attention.gpt2()
    chip = scaling.CHIPS["TPU v5e"]
    forward = sum(part.flops for part in count(network, jax.ShapeDtypeStruct((1, network.max_seq_len), np.int32)))
    seconds = scaling.pod(chip, network, 1e6)["compute_ms"] / 1e3
    per_token = seconds * chip.flops / scaling.TOKENS
    np.testing.assert_allclose(per_token, 3 * forward / network.max_seq_len, rtol=0.01)


def test_send_time_equals_compute_time_at_the_minimum_token_count():
    found = scaling.pod(scaling.Chip(100.0, 1e9, 10.0, 256), attention.gpt2(num_layers=1), 1e9)
    for layout, passes in (("data parallel", 2), ("fully sharded", 3)):
        of = found[layout]
        assert of["send_ms"] == pytest.approx(1e3 * passes * 4 * found["parameters"] / 10)
        assert of["send_ms"] / found["compute_ms"] == pytest.approx(of["fewest_tokens"] / scaling.TOKENS)


def test_tables_of_the_page_match_stored_results():
    page = (ROOT / "docs" / "scaling.md").read_text()
    assert scaling_tables.placed(page, scaling_tables.tables(ROOT / "benchmarks" / "results" / "runs")) == page
