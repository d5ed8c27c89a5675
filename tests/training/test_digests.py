"""Digests of arrays: each flipped bit is seen, and where the arrays lie is not."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.training.checkpointing.digests import digests

TYPES = ("float32", "float64", "bfloat16", "float16", "int32", "int8", "uint16", "bool", "complex64", "float8_e4m3fn")


def array(dtype, shape=(5, 3)):
    numbers = np.random.default_rng(0).normal(size=shape) * 10
    if dtype == "complex64":
        return np.asarray(numbers + 1j * numbers[::-1], dtype)
    return np.asarray(jnp.asarray(numbers).astype(dtype)) if dtype != "bool" else numbers > 0


@pytest.mark.parametrize("dtype", TYPES)
def test_every_flipped_bit_changes_the_digest(dtype, float64):
    whole = array(dtype)
    before = digests({"a": whole})
    assert before == digests({"a": jnp.asarray(whole)})
    bits = 1 if dtype == "bool" else 8
    changed = set()
    for byte in range(whole.nbytes):
        for bit in range(bits):
            damaged = bytearray(whole.tobytes())
            damaged[byte] ^= 1 << bit
            changed.add(digests({"a": np.frombuffer(bytes(damaged), whole.dtype).reshape(whole.shape)})["a"])
    assert before["a"] not in changed
    assert len(changed) == whole.nbytes * bits


def test_signs_that_change_together_change_the_digest():
    a = array("float32", (100,))
    flipped = np.where(np.arange(100) % 7 < 2, -a, a)
    assert digests({"a": a}) != digests({"a": flipped})


def test_elements_that_change_places_change_the_digest():
    a = np.arange(6, dtype=np.float32)
    found = [
        digests({"a": a[list(order)]})["a"] for order in ((0, 1, 2, 3, 4, 5), (1, 0, 2, 3, 4, 5), (5, 1, 2, 3, 4, 0))
    ]
    assert len(set(found)) == 3


def test_paths_name_the_leaves_and_empty_arrays_have_a_digest():
    tree = {"params": {"kernel": jnp.ones((2, 2))}, "list": [jnp.zeros(()), jnp.zeros((0, 3))]}
    found = digests(tree)
    assert set(found) == {"params/kernel", "list/0", "list/1"}
    assert found["list/1"] == "0" * 16
    assert all(len(text) == 16 for text in found.values())


SHARDED = """
import jax, numpy as np
from jaxnets.training.checkpointing.digests import _halves, digests
mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
a = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
placed = jax.device_put(a, jax.NamedSharding(mesh, jax.P("data", "model")))
assert len(placed.addressable_shards) == 8 and placed.addressable_shards[0].data.shape == (2, 3)
assert digests({"a": placed}) == digests({"a": a})
assert "all-gather" not in _halves.lower(placed).compile().as_text()
"""


def test_a_sharded_array_has_the_same_digest_and_is_not_gathered_for_it(environment):
    own = {**environment, "JAX_NUM_CPU_DEVICES": "8"}
    done = subprocess.run([sys.executable, "-c", SHARDED], env=own, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
