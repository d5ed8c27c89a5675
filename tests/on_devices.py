"""Helpers of checks on simulated devices, which the fixture ``run_on_devices`` runs."""

import re

import jax
import numpy as np
from jax.sharding import AxisType


def make_mesh(count):
    """Returns a mesh of ``count`` devices along the axis "time"."""
    return jax.make_mesh((count,), ("time",), (AxisType.Auto,), devices=jax.devices()[:count])


def collectives(f, *arguments):
    """Returns the shapes and kinds of the collective operations of a compiled function."""
    text = jax.jit(f).lower(*arguments).compile().as_text()
    kinds = "all-gather|all-reduce|all-to-all|collective-broadcast|collective-permute|reduce-scatter"
    return sorted(set(re.findall(rf"= (.+?)(?:{{[\d,]*}})? ({kinds})(?:-start)?\(", text)))


def assert_close(got, wanted, tolerance):
    """Asserts that two pytrees are equal up to a tolerance, relative to max(1, the largest magnitude of an array)."""
    got, wanted = jax.device_get((got, wanted))
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        scale = max(np.max(np.abs(b), initial=0).astype(np.float64), 1)
        np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=tolerance)
