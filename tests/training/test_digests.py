"""Digests of arrays: sensitivity to every bit, and independence of the sharding."""

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
    values = array(dtype)
    before = digests({"a": values})
    assert before == digests({"a": jnp.asarray(values)})
    bits = 1 if dtype == "bool" else 8
    changed = set()
    for byte in range(values.nbytes):
        for bit in range(bits):
            damaged = bytearray(values.tobytes())
            damaged[byte] ^= 1 << bit
            changed.add(digests({"a": np.frombuffer(bytes(damaged), values.dtype).reshape(values.shape)})["a"])
    assert before["a"] not in changed
    assert len(changed) == values.nbytes * bits


def test_flipping_several_signs_changes_the_digest():
    a = array("float32", (100,))
    flipped = np.where(np.arange(100) % 7 < 2, -a, a)
    assert digests({"a": a}) != digests({"a": flipped})


def test_permuting_elements_changes_the_digest():
    a = np.arange(6, dtype=np.float32)
    orders = ((0, 1, 2, 3, 4, 5), (1, 0, 2, 3, 4, 5), (5, 1, 2, 3, 4, 0))
    assert len({digests({"a": a[list(order)]})["a"] for order in orders}) == 3


def test_digests_are_named_by_path_and_exist_for_empty_arrays():
    tree = {"params": {"kernel": jnp.ones((2, 2))}, "list": [jnp.zeros(()), jnp.zeros((0, 3))]}
    by_path = digests(tree)
    assert set(by_path) == {"params/kernel", "list/0", "list/1"}
    assert by_path["list/1"] == "0" * 16
    assert all(len(text) == 16 for text in by_path.values())


SHARDED = """
import jax, numpy as np
from jaxnets.training.checkpointing.digests import _two_digests, digests
mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
a = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
placed = jax.device_put(a, jax.NamedSharding(mesh, jax.P("data", "model")))
assert len(placed.addressable_shards) == 8 and placed.addressable_shards[0].data.shape == (2, 3)
assert digests({"a": placed}) == digests({"a": a})
assert "all-gather" not in _two_digests.lower(placed).compile().as_text()
"""


def test_a_sharded_array_has_the_same_digest_without_being_gathered(environment):
    variables = {**environment, "JAX_NUM_CPU_DEVICES": "8"}
    done = subprocess.run([sys.executable, "-c", SHARDED], env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
