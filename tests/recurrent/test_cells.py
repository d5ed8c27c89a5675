"""Cells against their equations, written out in numpy in float64, and their parameter counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxnets import recurrent


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def elman(p, h, x):
    h = np.tanh(x @ p["input"]["kernel"] + h @ p["recurrent"]["kernel"] + p["input"]["bias"])
    return h, h


def gru(p, h, x):
    size = h.shape[-1]
    block = lambda name, i: p["input"][name][..., i * size : (i + 1) * size]
    gates = p["recurrent"]["gates"]
    z = sigmoid(x @ block("kernel", 0) + h @ gates[:, :size] + block("bias", 0))
    r = sigmoid(x @ block("kernel", 1) + h @ gates[:, size:] + block("bias", 1))
    n = np.tanh(x @ block("kernel", 2) + (r * h) @ p["recurrent"]["candidate"] + block("bias", 2))
    h = (1 - z) * h + z * n
    return h, h


def lstm(p, carry, x):
    h, c = carry
    i, f, g, o = np.split(x @ p["input"]["kernel"] + h @ p["recurrent"]["kernel"] + p["input"]["bias"], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


@pytest.mark.parametrize("ours, equations", [(recurrent.elman, elman), (recurrent.gru, gru), (recurrent.lstm, lstm)])
def test_cell_equals_its_equations(float64, ours, equations):
    cell = ours(7)
    params = cell.init(jax.random.key(3), 4)
    params = jax.tree.map(
        lambda a: np.asarray(a, np.float64) + 0.05 * np.cos(np.arange(a.size)).reshape(a.shape), params
    )
    xs = np.random.default_rng(0).normal(size=(5, 13, 4))
    carry = jax.tree.map(np.asarray, cell.carry(params, jnp.asarray(xs[:, 0])))
    _, ys = recurrent.scan(cell, params, jnp.asarray(xs))
    for t in range(13):
        carry, y = equations(params, carry, xs[:, t])
        np.testing.assert_allclose(ys[:, t], y, atol=1e-13)


@pytest.mark.parametrize(
    "cell, parameters", [(recurrent.elman, 524_800), (recurrent.gru, 1_574_400), (recurrent.lstm, 2_099_200)]
)
def test_parameters_of_a_cell_of_512_from_512(cell, parameters):
    params = jax.eval_shape(lambda key: cell(512).init(key, 512), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


def test_recurrent_networks_need_fewer_weights_than_a_dense_one():
    # T 20, D 30, M 16, k 3: 784 weights, where a dense network on all 20 inputs has 9,648.
    params = jax.eval_shape(lambda key: recurrent.elman(16).init(key, 30), jax.random.key(0))
    weights = params["input"]["kernel"].size + params["recurrent"]["kernel"].size
    assert weights + 16 * 3 == 784
    assert 20 * 30 * 16 + 16 * 3 == 9_648


def test_lstm_begins_by_remembering():
    bias = recurrent.lstm(3).init(jax.random.key(0), 2)["input"]["bias"]
    np.testing.assert_array_equal(bias, [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])


def test_recurrent_blocks_begin_orthogonal():
    kernel = recurrent.lstm(8).init(jax.random.key(0), 2)["recurrent"]["kernel"]
    for block in np.split(kernel, 4, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(8), atol=1e-5)


def test_matmul_in_half_precision_has_float32_gradients_of_half_products():
    w = jax.random.normal(jax.random.key(0), (16, 8))
    h = jax.random.normal(jax.random.key(1), (2, 5, 16)).astype(jnp.bfloat16)
    f = lambda w, h: jnp.sum(jnp.sin(recurrent.matmul(w, h)))
    dw, dh = jax.grad(f, (0, 1))(w, h)
    exact = jax.grad(f, (0, 1))(w.astype(jnp.bfloat16).astype(jnp.float32), h.astype(jnp.float32))
    assert (dw.dtype, dh.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(dw, exact[0], atol=0.02 * float(jnp.abs(exact[0]).max()))
    np.testing.assert_allclose(dh.astype(jnp.float32), exact[1], atol=0.02 * float(jnp.abs(exact[1]).max()))


def test_lstm_and_elman_equal_those_of_flax():
    xs = jax.random.normal(jax.random.key(0), (3, 9, 5))
    for theirs, ours, gates in (
        (linen.OptimizedLSTMCell(7), recurrent.lstm(7), "ifgo"),
        (linen.SimpleCell(7), recurrent.elman(7), ""),
    ):
        variables = linen.RNN(theirs).init(jax.random.key(1), xs)
        variables = jax.tree.map(lambda a: a + 0.1 * jnp.cos(jnp.arange(a.size)).reshape(a.shape), variables)
        cell = variables["params"]["cell"]
        inputs = [cell[f"i{gate}"] for gate in gates] or [cell["i"]]
        states = [cell[f"h{gate}"] for gate in gates] or [cell["h"]]
        join = lambda blocks, name: jnp.concatenate([block[name] for block in blocks if name in block], axis=-1)
        biases = [join(blocks, "bias") for blocks in (inputs, states) if "bias" in blocks[0]]
        params = {
            "input": {"kernel": join(inputs, "kernel"), "bias": sum(biases)},
            "recurrent": {"kernel": join(states, "kernel")},
        }
        expected = linen.RNN(theirs).apply(variables, xs)
        np.testing.assert_allclose(recurrent.scan(ours, params, xs)[1], expected, atol=1e-5)
