"""cuDNN method with JAX's reference implementation instead of the kernel.

The last test and benchmarks/gpu.sh check the kernel on a GPU.
"""

import chex
import jax
import jax.numpy as jnp
import pytest
from all_cells import CELLS, gradient, problem
from jax.experimental import rnn

from jaxnets import recurrent

LSTM = CELLS["lstm"]


@pytest.fixture
def cudnn_reference(monkeypatch):
    """Replaces the kernel of ``jax.experimental.rnn`` by its reference, and the default backend by a GPU."""

    def lstm(x, h, c, weights, lengths, features, hidden, layers, dropout, bidirectional):
        arrays = rnn.unpack_lstm_weights(weights, features, hidden, layers, bidirectional)
        return rnn.lstm_ref(x, h, c, *arrays, lengths, features, hidden, layers, dropout, bidirectional)

    monkeypatch.setattr(rnn, "lstm", lstm)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("time_major", [False, True])
def test_outputs_and_gradients_match_sequential(cudnn_reference, batch, time_major):
    params, xs, carry = problem(LSTM, 7, batch)
    xs = jnp.moveaxis(xs, -2, 0) if time_major else xs
    run = lambda method: recurrent.scan(LSTM, params, xs, carry, time_major=time_major, method=method)
    chex.assert_trees_all_close(run("cudnn"), run("sequential"), atol=1e-5)
    gradients = lambda method: gradient(LSTM, time_major=time_major, method=method)(params, xs, carry)
    chex.assert_trees_all_close(gradients("cudnn"), gradients("sequential"), atol=1e-5)


UNSUPPORTED = {
    "another cell": (recurrent.gru(6), {}, r"must be recurrent.lstm\(H\) without"),
    "a projection": (recurrent.lstm(6, proj_size=2), {}, r"must be recurrent.lstm\(H\) without"),
    "a wrapper": (recurrent.residual(LSTM), {}, r"must be recurrent.lstm\(H\) without"),
    "lengths": (LSTM, {"lengths": jnp.array([1, 2, 3])}, '"cudnn" does not support lengths'),
    "resets": (LSTM, {"resets": jnp.zeros((3, 4), bool)}, '"cudnn" does not support resets'),
    "reverse": (LSTM, {"reverse": True}, '"cudnn" does not support reverse'),
    "half": (LSTM, {"xs": jnp.zeros((3, 4, 6), jnp.bfloat16)}, "inputs in bfloat16 instead of float32"),
}


@pytest.mark.parametrize("cell, arguments, message", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_arguments_are_rejected(cudnn_reference, cell, arguments, message):
    with pytest.raises(ValueError, match=message):
        recurrent.scan(
            cell, cell.init(jax.random.key(0), 6), **{"xs": jnp.zeros((3, 4, 6)), **arguments}, method="cudnn"
        )


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="needs a machine without a GPU")
def test_cudnn_without_a_gpu_is_rejected():
    with pytest.raises(ValueError, match='"cudnn" must be an NVIDIA GPU, got cpu'):
        recurrent.scan(LSTM, LSTM.init(jax.random.key(0), 6), jnp.zeros((3, 4, 6)), method="cudnn")


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
def test_cudnn_on_a_gpu():
    arguments = problem(LSTM, 50)
    # cuDNN multiplies in TF32.
    chex.assert_trees_all_close(
        gradient(LSTM, method="cudnn")(*arguments), gradient(LSTM)(*arguments), rtol=1e-2, atol=1e-2
    )
