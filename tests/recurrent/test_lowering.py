"""Lowering of every cell to StableHLO for TPUs and NVIDIA GPUs."""

import re

import jax
import jax.numpy as jnp
import pytest
from all_cells import CELLS, gradient, problem

from jaxnets import recurrent

LINEAR = ("min gru", "min lstm", "lru")
METHODS = [(name, method) for name in CELLS for method in ("sequential", recurrent.Newton(warn=False))]
METHODS += [(name, "associative") for name in LINEAR]


@pytest.mark.parametrize("name, method", METHODS, ids=lambda value: value if isinstance(value, str) else "newton")
def test_lowers_for_tpu_and_cuda(name, method):
    arguments = problem(CELLS[name], 9)
    lowered = jax.jit(gradient(CELLS[name], method=method, lengths=jnp.array([9, 0, 4]))).trace(*arguments)
    text = lowered.lower(lowering_platforms=("tpu", "cuda")).as_text()
    assert "stablehlo.while" in text


def test_products_of_a_chunk_are_single_matrix_products():
    """Time and batch are flattened for the products of a chunk, [chunk * B, D] times [D, gates * H]."""
    cell = recurrent.lstm(128)
    params, xs = cell.init(jax.random.key(0), 256), jnp.zeros((8, 64, 256))
    f = jax.grad(
        lambda params, xs: jnp.sum(recurrent.scan(cell, params, xs, method=recurrent.Sequential(16))[1]), (0, 1)
    )
    text = jax.jit(f).trace(params, xs).lower(lowering_platforms=("tpu",)).as_text()
    shapes = set(re.findall(r"dot_general.*: \(tensor<([\dx]+)xf32>, tensor<([\dx]+)xf32>\)", text))
    assert ("128x256", "256x512") in shapes  # the projection: 16 steps of 8 rows
    assert ("8x128", "128x512") in shapes  # a step of the forward pass
    assert ("8x512", "512x128") in shapes  # a step of the backward pass
    assert ("8x16x128", "128x512") in shapes  # the recomputed products of a chunk
    steps = {pair for pair in shapes if re.fullmatch(r"8x\d+", pair[0])}
    assert len(steps) == 2, "only two products must be computed step by step"
