"""ConvLSTM (Shi et al. 2015, arXiv:1506.04214): an LSTM whose products are convolutions, for fields over time."""

import math

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.ops.checks import check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.cell import Cell, along, check_width, zero_state
from jaxnets.recurrent.checking import cached

_LAYOUT = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}


def _convolve(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Convolution of ``x [*batch, *space, C]`` with ``kernel [*size, C, G]``, same size, stride 1."""
    space = kernel.ndim - 2
    chex.assert_axis_dimension(kernel, -2, x.shape[-1])
    leading = x.ndim - 1 - space
    images = x.reshape(math.prod(x.shape[:leading]), *x.shape[leading:])
    z = lax.conv_general_dilated(images, kernel.astype(x.dtype), (1,) * space, "SAME", dimension_numbers=_LAYOUT[space])
    return z.reshape(*x.shape[:-1], kernel.shape[-1]).astype(at_least_float32(x.dtype))


@cached
def conv_lstm(hidden_size: int, kernel_size: tuple[int, ...] = (3, 3), forget_bias: float = 1.0) -> Cell:
    r"""The ConvLSTM, without peepholes (as in Keras and flax):

    .. math::
        i, f, o &= \sigma(x_t * U_{i,f,o} + h_{t-1} * W_{i,f,o} + b_{i,f,o}) \\
        g &= \tanh(x_t * U_g + h_{t-1} * W_g + b_g) \\
        c_t &= f \odot c_{t-1} + i \odot g, \quad h_t = o \odot \tanh(c_t)

    with * a convolution of stride 1 and "same" padding. Inputs are ``[*batch, T, W, C]`` for a kernel of one size,
    ``[*batch, T, H, W, C]`` for two.

    Parameters: ``input = {kernel [*size, C, 4 H], bias [4 H]}``, ``recurrent = {kernel [*size, H, 4 H]}``, in the
    order i, f, g, o. The carry is (h, c), each of the size of an input with H channels.

    Args:
        hidden_size: H, the number of hidden channels.
        kernel_size: Sizes of the kernels.
        forget_bias: Initial bias of the forget gate.

    Raises:
        ValueError: The kernel has neither one nor two sizes.
    """
    check_integer("hidden_size", hidden_size)
    if not isinstance(kernel_size, tuple):
        raise ValueError(f"kernel must be a tuple of one or two sizes, such as (3, 3), got {kernel_size!r}")
    for size in kernel_size:
        check_integer("kernel_size", size)
    if len(kernel_size) not in _LAYOUT:
        raise ValueError(f"kernel_size: one or two sizes expected; given {kernel_size}")

    def init(key, features):
        first, second = jax.random.split(key)
        glorot = jax.nn.initializers.glorot_uniform()
        blocks = lambda key, channels: jnp.concatenate(
            [glorot(k, (*kernel_size, channels, hidden_size), jnp.float32) for k in jax.random.split(key, 4)], axis=-1
        )
        bias = jnp.zeros((4, hidden_size), jnp.float32).at[1].set(forget_bias).reshape(-1)
        return {
            "input": {"kernel": blocks(first, features), "bias": bias},
            "recurrent": {"kernel": blocks(second, hidden_size)},
        }

    def carry(params, x):
        check_width(params, 4 * hidden_size)
        return (zero_state(x, hidden_size),) * 2

    def project(params, xs):
        return tuple(jnp.split(_convolve(params["kernel"], xs) + along(params["bias"], xs), 4, axis=-1))

    def step(rest, carry, u, dot):
        h, c = carry
        i, f, g, o = (a + b for a, b in zip(u, jnp.split(dot("kernel", h), 4, axis=-1), strict=True))
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return Cell(
        init=init,
        carry=carry,
        project=project,
        step=step,
        product=_convolve,
        axes=1 + len(kernel_size),
    )
