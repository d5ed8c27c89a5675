"""Recurrent layers of other libraries, for comparison.

Each function takes (cell, features, hidden, dtype) and returns ``(apply, params)``, where ``apply(params, xs)`` maps
``xs [B, T, D]`` to ``ys [B, T, H]``. PyTorch has a separate function. A cell that the library does not have raises a
``KeyError``. Parameters are float32 and ``dtype`` is the compute type, except in Haiku, Equinox and PyTorch, where it
is also the type of the parameters.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Case

Implementation = tuple[Callable[[Any, jax.Array], jax.Array], Any]


def linen(cell: str, features: int, hidden: int, dtype: Any) -> Implementation:
    from flax import linen as nn

    kind = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "elman": nn.SimpleCell}[cell]
    layer: Any = nn.RNN(kind(hidden, dtype=dtype))
    return layer.apply, layer.init(jax.random.key(0), jnp.zeros((1, 2, features)))


def nnx(cell: str, features: int, hidden: int, dtype: Any) -> Implementation:
    from flax import nnx

    kind = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "elman": nnx.SimpleCell}[cell]
    layer = nnx.RNN(kind(features, hidden, dtype=dtype, rngs=nnx.Rngs(0)), rngs=False)
    graph, params, rest = nnx.split(layer, nnx.Param, ...)  # type: ignore[misc]
    return lambda params, xs: nnx.merge(graph, params, rest)(xs, rngs=nnx.Rngs(0)), params


def haiku(cell: str, features: int, hidden: int, dtype: Any) -> Implementation:
    import haiku as hk

    kind = {"lstm": hk.LSTM, "gru_before": hk.GRU, "elman": hk.VanillaRNN}[cell]

    def unroll(xs: jax.Array) -> jax.Array:
        core = kind(hidden)
        start = jax.tree.map(lambda a: a.astype(dtype), core.initial_state(xs.shape[0]))
        return hk.dynamic_unroll(core, xs, start, time_major=False)[0]

    layer = hk.without_apply_rng(hk.transform(unroll))
    return layer.apply, layer.init(jax.random.key(0), jnp.zeros((1, 2, features), dtype))


def keras(cell: str, features: int, hidden: int, dtype: Any) -> Implementation:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "elman": keras.layers.SimpleRNN}[cell]
    policy = "float32" if dtype == jnp.float32 else f"mixed_{jnp.dtype(dtype).name}"
    layer = kind(hidden, return_sequences=True, dtype=policy)
    layer.build((None, None, features))
    fixed = [variable.value for variable in layer.non_trainable_variables]
    trained = [variable.value for variable in layer.trainable_variables]
    return lambda params, xs: layer.stateless_call(params, fixed, xs)[0], trained


def equinox(cell: str, features: int, hidden: int, dtype: Any) -> Implementation:
    import equinox as eqx

    layer = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}[cell](features, hidden, dtype=dtype, key=jax.random.key(0))
    params, static = eqx.partition(layer, eqx.is_array)
    zero = jnp.zeros(hidden, dtype)

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        layer = eqx.combine(params, static)

        def step(state, x):
            state = layer(x, state)
            return state, state[0] if cell == "lstm" else state

        start = (zero, zero) if cell == "lstm" else zero
        return jax.vmap(lambda row: jax.lax.scan(step, start, row)[1])(xs)

    return apply, params


def jax_cudnn(cell: str, features: int, hidden: int, dtype: Any) -> Implementation:
    """cuDNN's LSTM from ``jax.experimental.rnn``, in float32 on an NVIDIA GPU."""
    from jax.experimental import rnn

    if cell != "lstm" or jax.default_backend() != "gpu" or dtype != jnp.float32:
        raise KeyError(cell)

    def apply(weights: jax.Array, xs: jax.Array) -> jax.Array:
        batch, time, _ = xs.shape
        zero = jnp.zeros((1, batch, hidden))
        lengths = jnp.full(batch, time, jnp.int32)
        return rnn.lstm(xs, zero, zero, weights, lengths, features, hidden, 1, 0.0, False)[0]

    return apply, rnn.init_lstm_weight(jax.random.key(0), features, hidden, 1, False)


JAX_PEERS: dict[str, Callable[[str, int, int, Any], Implementation]] = {
    "flax linen": linen,
    "flax nnx": nnx,
    "haiku": haiku,
    "keras": keras,
    "equinox": equinox,
    "jax cudnn": jax_cudnn,
}


def torch(cell: str, xs: jax.Array, hidden: int) -> dict[str, Case]:
    """Returns cases for PyTorch's layer: the forward pass, and the gradients of parameters and inputs."""
    import torch

    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN}[cell]
    cuda = jax.default_backend() == "gpu"
    if cuda and not torch.cuda.is_available():
        raise ImportError("torch was built without CUDA")
    device, dtype = "cuda" if cuda else "cpu", getattr(torch, xs.dtype.name)
    layer = kind(xs.shape[-1], hidden, batch_first=True, device=device, dtype=dtype)
    plain = torch.from_numpy(np.array(xs, np.float32)).to(device, dtype)
    watched = plain.clone().requires_grad_(True)
    wait = torch.cuda.synchronize if cuda else lambda: None

    def forward() -> None:
        with torch.inference_mode():
            layer(plain)
        wait()

    def gradient() -> None:
        layer.zero_grad(set_to_none=True)
        watched.grad = None
        ys = layer(watched)[0]
        (ys * ys).sum().backward()
        wait()

    return {"forward": Case(forward), "gradient": Case(gradient)}
