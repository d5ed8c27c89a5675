"""Cells against their equations in NumPy in float64, parameter counts and initial parameters."""

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


def gates(p, h, x, names):
    """Input and state products of each gate, by name."""
    u = np.split(x @ p["input"]["kernel"] + p["input"]["bias"], len(names), axis=-1)
    z = np.split(h @ p["recurrent"]["kernel"], len(names), axis=-1) if "kernel" in p["recurrent"] else [0] * len(u)
    return dict(zip(names, zip(u, z, strict=True), strict=True))


def gru_after(p, h, x):
    (uz, wz), (ur, wr), (un, wn) = gates(p, h, x, "zrn").values()
    cz, cr, cn = np.split(p["recurrent_bias"], 3)
    z, r = sigmoid(uz + wz + cz), sigmoid(ur + wr + cr)
    h = (1 - z) * h + z * np.tanh(un + r * (wn + cn))
    return h, h


def gru_none(p, h, x):
    (uz, wz), (un, wn) = gates(p, h, x, "zn").values()
    z = sigmoid(uz + wz)
    h = (1 - z) * h + z * np.tanh(un + wn)
    return h, h


def mgu(p, h, x):
    uf, un = np.split(x @ p["input"]["kernel"] + p["input"]["bias"], 2, axis=-1)
    f = sigmoid(uf + h @ p["recurrent"]["gate"])
    h = (1 - f) * h + f * np.tanh(un + (f * h) @ p["recurrent"]["candidate"])
    return h, h


def lstm_projection(p, carry, x):
    (h, c), _ = lstm({**p, "recurrent": {"kernel": p["recurrent"]["kernel"]}}, carry, x)
    h = h @ p["recurrent"]["projection"]
    return (h, c), h


def lstm_coupled(p, carry, x):
    h, c = carry
    f, g, o = (u + w for u, w in gates(p, h, x, "fgo").values())
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def peephole(p, carry, x):
    h, c = carry
    i, f, g, o = (u + w for u, w in gates(p, h, x, "ifgo").values())
    pi, pf, po = p["peephole"]
    new = sigmoid(f + pf * c) * c + sigmoid(i + pi * c) * np.tanh(g)
    h = sigmoid(o + po * new) * np.tanh(new)
    return (h, new), h


def norm(x, scale):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * scale


def layer_norm_lstm(p, carry, x):
    h, c = carry
    total = norm(x @ p["input"]["kernel"], p["input"]["scale"]) + p["input"]["bias"]
    total = total + norm(h @ p["recurrent"]["kernel"], p["recurrent_scale"])
    i, f, g, o = np.split(total, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(norm(c, p["state_scale"]) + p["state_bias"])
    return (h, c), h


def layer_norm_gru(p, h, x):
    az, ar, an = np.split(norm(x @ p["input"]["kernel"], p["input"]["scale"]) + p["input"]["bias"], 3, axis=-1)
    dz, dr, dn = np.split(norm(h @ p["recurrent"]["kernel"], p["recurrent_scale"]), 3, axis=-1)
    z, n = sigmoid(az + dz), np.tanh(an + sigmoid(ar + dr) * dn)
    h = (1 - z) * h + z * n
    return h, h


def min_gru(p, h, x):
    z, n = np.split(x @ p["input"]["kernel"] + p["input"]["bias"], 2, axis=-1)
    h = (1 - sigmoid(z)) * h + sigmoid(z) * n
    return h, h


def min_lstm(p, h, x):
    i, f, n = np.split(x @ p["input"]["kernel"] + p["input"]["bias"], 3, axis=-1)
    i, f = sigmoid(i), sigmoid(f)
    h = f / (f + i) * h + i / (f + i) * n
    return h, h


def lru(p, carry, x):
    state = carry[0] + 1j * carry[1]
    decay = np.exp(-np.exp(p["log_decay"]) + 1j * np.exp(p["log_phase"]))
    real, imaginary = np.split(p["input"]["kernel"], 2, axis=-1)
    state = decay * state + np.exp(p["input"]["log_gamma"]) * (x @ (real + 1j * imaginary))
    real, minus_imaginary = np.split(p["recurrent"]["output"], 2)
    return (state.real, state.imag), (state @ (real - 1j * minus_imaginary)).real


EQUATIONS = {
    "elman": (recurrent.elman(7), elman),
    "gru": (recurrent.gru(7), gru),
    "gru, after": (recurrent.gru(7, "after"), gru_after),
    "gru, none": (recurrent.gru(7, "none"), gru_none),
    "mgu": (recurrent.mgu(7), mgu),
    "lstm": (recurrent.lstm(7), lstm),
    "lstm, projection": (recurrent.lstm(7, proj_size=3), lstm_projection),
    "lstm, coupled": (recurrent.lstm(7, coupled=True), lstm_coupled),
    "peephole": (recurrent.peephole_lstm(7), peephole),
    "layer norm lstm": (recurrent.layer_norm_lstm(7), layer_norm_lstm),
    "layer norm gru": (recurrent.layer_norm_gru(7), layer_norm_gru),
    "min gru": (recurrent.min_gru(7), min_gru),
    "min lstm": (recurrent.min_lstm(7), min_lstm),
    "lru": (recurrent.lru(7, 3), lru),
}


@pytest.mark.parametrize("cell, equations", EQUATIONS.values(), ids=EQUATIONS)
def test_cells_match_their_equations(float64, cell, equations):
    params = cell.init(jax.random.key(3), 4)
    params = jax.tree.map(
        lambda a: np.asarray(a, np.float64) + 0.05 * np.cos(np.arange(a.size)).reshape(a.shape), params
    )
    xs = np.random.default_rng(0).normal(size=(5, 13, 4))
    carry = jax.tree.map(np.asarray, cell.carry(params, jnp.asarray(xs[:, 0])))
    _, ys = recurrent.scan(cell, params, jnp.asarray(xs))
    for t in range(13):
        carry, y = equations(params, carry, xs[:, t])
        np.testing.assert_allclose(ys[:, t], y, atol=1e-12)


@pytest.mark.parametrize("kernel", [(3,), (3, 2)], ids=["1-D", "2-D"])
def test_conv_lstm_matches_its_equations(float64, kernel):
    cell = recurrent.conv_lstm(2, kernel)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), cell.init(jax.random.key(3), 3))
    xs = np.random.default_rng(0).normal(size=(1, 5, *(6, 4)[: len(kernel)], 3))

    def convolve(weight, x):
        """Correlation with zero padding, one tap of the kernel at a time."""
        pads = [((size - 1) // 2, size // 2) for size in kernel]
        padded = np.pad(x, [(0, 0), *pads, (0, 0)])
        total = 0
        for tap in np.ndindex(*kernel):
            window = tuple(slice(at, at + size) for at, size in zip(tap, x.shape[1:-1], strict=True))
            total = total + padded[(slice(None), *window)] @ weight[tap]
        return total

    h = c = np.zeros((*xs.shape[:1], *xs.shape[2:-1], 2))
    _, ys = recurrent.scan(cell, params, jnp.asarray(xs))
    for t in range(5):
        total = convolve(params["input"]["kernel"], xs[:, t]) + convolve(params["recurrent"]["kernel"], h)
        i, f, g, o = np.split(total + params["input"]["bias"], 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(ys[:, t], h, atol=1e-13)


def test_lru_eigenvalues_are_initialized_on_the_ring():
    params = recurrent.lru(512, r_min=0.4, r_max=0.8).init(jax.random.key(0), 3)
    modulus = np.exp(-np.exp(params["log_decay"]))
    assert 0.4 <= modulus.min() < 0.45 < 0.75 < modulus.max() <= 0.8
    np.testing.assert_allclose(np.exp(params["input"]["log_gamma"]), np.sqrt(1 - modulus**2), rtol=1e-4)


@pytest.mark.parametrize(
    "cell, parameters",
    [
        (recurrent.elman, 524_800),
        (recurrent.gru, 1_574_400),
        (lambda hidden: recurrent.gru(hidden, "after"), 1_575_936),
        (recurrent.lstm, 2_099_200),
        (recurrent.peephole_lstm, 2_099_200 + 1_536),
    ],
)
def test_parameter_counts_of_512_units(cell, parameters):
    params = jax.eval_shape(lambda key: cell(512).init(key, 512), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


def test_recurrent_network_has_fewer_weights_than_a_dense_one():
    # T 20, D 30, M 16, k 3: 784 weights, where a dense network on all 20 inputs has 9,648.
    params = jax.eval_shape(lambda key: recurrent.elman(16).init(key, 30), jax.random.key(0))
    weights = params["input"]["kernel"].size + params["recurrent"]["kernel"].size
    assert weights + 16 * 3 == 784
    assert 20 * 30 * 16 + 16 * 3 == 9_648


def test_lstm_forget_bias_is_initialized_to_one():
    bias = recurrent.lstm(3).init(jax.random.key(0), 2)["input"]["bias"]
    np.testing.assert_array_equal(bias, [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])


def test_recurrent_blocks_are_initialized_orthogonal():
    kernel = recurrent.lstm(8).init(jax.random.key(0), 2)["recurrent"]["kernel"]
    for block in np.split(kernel, 4, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(8), atol=1e-5)


def test_matmul_in_half_precision_has_float32_weight_gradients():
    w = jax.random.normal(jax.random.key(0), (16, 8))
    h = jax.random.normal(jax.random.key(1), (2, 5, 16)).astype(jnp.bfloat16)
    f = lambda w, h: jnp.sum(jnp.sin(recurrent.matmul(w, h)))
    dw, dh = jax.grad(f, (0, 1))(w, h)
    exact = jax.grad(f, (0, 1))(w.astype(jnp.bfloat16).astype(jnp.float32), h.astype(jnp.float32))
    assert (dw.dtype, dh.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(dw, exact[0], atol=0.02 * float(jnp.abs(exact[0]).max()))
    np.testing.assert_allclose(dh.astype(jnp.float32), exact[1], atol=0.02 * float(jnp.abs(exact[1]).max()))


def test_lstm_and_elman_match_flax():
    xs = jax.random.normal(jax.random.key(0), (3, 9, 5))
    for flax_cell, cell, gates in (
        (linen.OptimizedLSTMCell(7), recurrent.lstm(7), "ifgo"),
        (linen.SimpleCell(7), recurrent.elman(7), ""),
    ):
        variables = linen.RNN(flax_cell).init(jax.random.key(1), xs)
        variables = jax.tree.map(lambda a: a + 0.1 * jnp.cos(jnp.arange(a.size)).reshape(a.shape), variables)
        layers = variables["params"]["cell"]
        inputs = [layers[f"i{gate}"] for gate in gates] or [layers["i"]]
        states = [layers[f"h{gate}"] for gate in gates] or [layers["h"]]
        join = lambda blocks, name: jnp.concatenate([block[name] for block in blocks if name in block], axis=-1)
        biases = [join(blocks, "bias") for blocks in (inputs, states) if "bias" in blocks[0]]
        params = {
            "input": {"kernel": join(inputs, "kernel"), "bias": sum(biases)},
            "recurrent": {"kernel": join(states, "kernel")},
        }
        expected = linen.RNN(flax_cell).apply(variables, xs)
        np.testing.assert_allclose(recurrent.scan(cell, params, xs)[1], expected, atol=1e-5)
