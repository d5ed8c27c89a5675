"""Bit-equal results and gradients of pure functions, Linen, NNX and Equinox with the same parameters."""

from collections.abc import Callable
from typing import Any

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxnets import attention, convolution, recurrent, sets
from jaxnets.ops.masks import valid_steps
from jaxnets.ops.products import dot_general, linear

LENGTHS = jnp.array([7, 3, 0])
MASK = valid_steps(LENGTHS, 7)


class EquinoxModule(eqx.Module):
    """An Equinox module that holds parameters and calls a pure function."""

    params: Any
    function: Callable = eqx.field(static=True)

    def __init__(self, init: Callable, function: Callable, key: jax.Array):
        self.params, self.function = init(key), function

    def __call__(self, xs: jax.Array) -> jax.Array:
        return self.function(self.params, xs)


def lstm(params, xs):
    return recurrent.scan(recurrent.lstm(5), params["cell"], xs, lengths=LENGTHS)[1]


def self_attention(params, xs):
    def dense(layer, xs, axes=1):
        last, first = tuple(range(xs.ndim - axes, xs.ndim)), tuple(range(axes))
        ys = dot_general(xs, layer["kernel"], ((last, first), ((), ())))
        return ys + jnp.broadcast_to(layer["bias"], ys.shape)

    query, key, value = (dense(params[name], xs) for name in ("query", "key", "value"))
    mixed = attention.attention(query, key, value, causal=True, lengths=LENGTHS)
    return dense(params["out"], mixed, axes=2)


def conv_highway(params, xs):
    def conv(layer, xs):
        ys = convolution.convolve(xs, layer["kernel"], (1, 1), ((1, 1), (1, 1)), rhs_dilation=(1, 1), **AXES)
        return ys + jnp.broadcast_to(layer["bias"], ys.shape)

    return convolution.highway_gate(xs, jax.nn.relu(conv(params["transform"], xs)), conv(params["gate"], xs))


AXES = {"dimension_numbers": jax.lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))}


def deep_sets(params, xs):
    def dense(layer, xs):
        ys = linear(xs, layer["kernel"])
        return ys + jnp.broadcast_to(layer["bias"], ys.shape)

    elements = jax.nn.relu(dense(params["elementwise_0"], jnp.where(MASK[..., None], xs, 0)))
    pooled = sets.mean_pool(elements, MASK)
    return dense(params["head"], jax.nn.relu(dense(params["whole_0"], pooled)))


# A pure function of parameters and input, a Linen module, its other arguments, and a function that selects its result.
MODELS = {
    "recurrent": (lstm, recurrent.RNN(recurrent.lstm(5)), {"lengths": LENGTHS}, lambda found: found[1]),
    "attention": (
        self_attention,
        attention.MultiHeadAttention(embed_dim=4, num_heads=2, num_kv_heads=1),
        {"causal": True, "lengths": LENGTHS},
        lambda found: found[0],
    ),
    "convolution": (conv_highway, convolution.ConvHighwayLayer(), {}, lambda found: found),
    "set": (
        deep_sets,
        sets.DeepSets(num_outputs=3, phi=(6,), rho=(5,), pooling="mean"),
        {"valid": MASK},
        lambda found: found,
    ),
}


def to_nnx(module, params, xs, options):
    """Converts a Linen module with its parameters to an NNX module."""
    converted = nnx.bridge.lazy_init(nnx.bridge.ToNNX(module, rngs=nnx.Rngs(1)), xs, **options)
    state = nnx.state(converted, nnx.Param)
    nnx.replace_by_pure_dict(state, params)
    nnx.update(converted, state)
    return converted


@pytest.mark.parametrize("name", MODELS)
def test_pure_functions_linen_nnx_and_equinox_are_bit_equal(name):
    function, module, options, result = MODELS[name]
    xs = jax.random.normal(jax.random.key(0), (3, 7, 7, 4) if name == "convolution" else (3, 7, 4))
    init = lambda key: module.init(key, xs, **options)["params"]
    params = init(jax.random.key(1))
    weights = jax.random.normal(jax.random.key(2), jax.eval_shape(function, params, xs).shape)

    linen = lambda params, xs: result(module.apply({"params": params}, xs, **options))
    in_nnx = to_nnx(module, params, xs, options)
    call_nnx = lambda model, xs: result(model(xs, **options))
    in_equinox = EquinoxModule(init, function, jax.random.key(1))
    call_equinox = lambda model, xs: model(xs)

    eager = function(params, xs)
    chex.assert_trees_all_equal(linen(params, xs), eager)
    chex.assert_trees_all_equal(call_nnx(in_nnx, xs), eager)
    chex.assert_trees_all_equal(call_equinox(in_equinox, xs), eager)

    def compiled(call, model, jit, grad):
        gradient = grad(lambda model, xs: jnp.sum(weights * call(model, xs)))
        return jit(lambda model, xs: (call(model, xs), gradient(model, xs)))(model, xs)

    expected = compiled(function, params, jax.jit, jax.grad)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(expected))
    chex.assert_trees_all_equal(compiled(linen, params, jax.jit, jax.grad), expected)
    outputs, gradient = compiled(call_nnx, in_nnx, nnx.jit, nnx.grad)
    chex.assert_trees_all_equal((outputs, nnx.to_pure_dict(gradient)), expected)
    outputs, gradient = compiled(call_equinox, in_equinox, eqx.filter_jit, eqx.filter_grad)
    chex.assert_trees_all_equal((outputs, gradient.params), expected)
