"""The cuDNN executor up to cuDNN itself, in whose place JAX's own reference of it is called here.

What cuDNN itself makes of it is checked on a GPU, by the last test and by benchmarks/gpu.sh.
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
def reference(monkeypatch):
    """``jax.experimental.rnn``'s reference in the place of its kernel, and a GPU as the backend."""

    def lstm(x, h, c, weights, lengths, features, hidden, layers, dropout, bidirectional):
        parts = rnn.unpack_lstm_weights(weights, features, hidden, layers, bidirectional)
        return rnn.lstm_ref(x, h, c, *parts, lengths, features, hidden, layers, dropout, bidirectional)

    monkeypatch.setattr(rnn, "lstm", lstm)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("time_major", [False, True])
def test_outputs_and_gradients_are_those_of_the_sequential_method(reference, batch, time_major):
    params, xs, carry = problem(LSTM, 7, batch)
    xs = jnp.moveaxis(xs, -2, 0) if time_major else xs
    run = lambda method: recurrent.scan(LSTM, params, xs, carry, time_major=time_major, method=method)
    chex.assert_trees_all_close(run("cudnn"), run("sequential"), atol=1e-5)
    of = lambda method: gradient(LSTM, time_major=time_major, method=method)(params, xs, carry)
    chex.assert_trees_all_close(of("cudnn"), of("sequential"), atol=1e-5)


NOT_SERVED = {
    "another cell": (recurrent.gru(6), {}, r"needs recurrent.lstm\(H\)"),
    "a projection": (recurrent.lstm(6, proj_size=2), {}, r"needs recurrent.lstm\(H\)"),
    "a wrapper": (recurrent.residual(LSTM), {}, r"needs recurrent.lstm\(H\)"),
    "lengths": (LSTM, {"lengths": jnp.array([1, 2, 3])}, '"cudnn" cannot serve lengths'),
    "resets": (LSTM, {"resets": jnp.zeros((3, 4), bool)}, '"cudnn" cannot serve resets'),
    "reverse": (LSTM, {"reverse": True}, '"cudnn" cannot serve reverse'),
    "half": (LSTM, {"xs": jnp.zeros((3, 4, 6), jnp.bfloat16)}, "another type than float32"),
}


@pytest.mark.parametrize("cell, arguments, message", NOT_SERVED.values(), ids=NOT_SERVED)
def test_what_cudnn_cannot_do_is_told(reference, cell, arguments, message):
    with pytest.raises(ValueError, match=message):
        recurrent.scan(
            cell, cell.init(jax.random.key(0), 6), **{"xs": jnp.zeros((3, 4, 6)), **arguments}, method="cudnn"
        )


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is a GPU")
def test_without_a_gpu_there_is_no_cudnn():
    with pytest.raises(ValueError, match="needs an NVIDIA GPU; the default backend is cpu"):
        recurrent.scan(LSTM, LSTM.init(jax.random.key(0), 6), jnp.zeros((3, 4, 6)), method="cudnn")


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
def test_cudnn_itself():
    arguments = problem(LSTM, 50)
    # cuDNN multiplies in TF32.
    chex.assert_trees_all_close(
        gradient(LSTM, method="cudnn")(*arguments), gradient(LSTM)(*arguments), rtol=1e-2, atol=1e-2
    )
