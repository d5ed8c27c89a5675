"""Convolutions, computed in the way that is fast where they run.

XLA's CPU backend has one fast path, for the outputs of dense convolutions: a depthwise one takes twenty times as long
as its arithmetic, the gradient of a 1 x 1 kernel ten times, that of a 3 x 3 kernel two to ten times as long as the
outputs, and outputs of a few pixels up to a hundred times. Here a 1 x 1 convolution is a matrix product everywhere. On
a CPU a depthwise one is a sum of shifted images, one with few pixels a product of patches, and the gradient of a dense
kernel a product of images shifted along rows and of gradients shifted along columns.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.sharding import PartitionSpec

from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import call_auto_sharded, spec_of
from jaxnets.ops.products import linear


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    rhs_dilation: Sequence[int],
    feature_group_count: int = 1,
    **options: Any,
) -> jax.Array:
    """``lax.conv_general_dilated`` of ``x [B, H, W, C]`` and ``kernel [h, w, C / groups, F]``, as Linen calls it."""
    numbers = dict(padding=padding, rhs_dilation=rhs_dilation, feature_group_count=feature_group_count, **options)
    return on_any_mesh(functools.partial(_convolve, strides=strides, **numbers), x, kernel)


def on_any_mesh(convolution: Callable, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``convolution(x, kernel)``; on an explicit mesh, the images stay divided as they are.

    JAX does not find the sharding of a convolution's gradient by itself.
    """
    spec = PartitionSpec(spec_of(x)[0])
    return call_auto_sharded(convolution, lambda _: spec, x, kernel)


def _convolve(x, kernel, *, strides, padding, rhs_dilation, feature_group_count, **options: Any) -> jax.Array:
    groups, features = feature_group_count, kernel.shape[-1]
    plain: Callable = functools.partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        rhs_dilation=rhs_dilation,
        feature_group_count=groups,
        **options,
    )
    if kernel.ndim != 4 or set(options.get("lhs_dilation") or (1,)) != {1}:
        return plain(x, kernel)
    if isinstance(padding, str):
        window = [step * (side - 1) + 1 for step, side in zip(rhs_dilation, kernel.shape[:2], strict=True)]
        padding = lax.padtype_to_pads(x.shape[1:3], window, strides, padding)
    if kernel.shape[:2] == (1, 1) and groups == 1 and all(tuple(pads) == (0, 0) for pads in padding):
        x = x[:, :: strides[0], :: strides[1]]
        return linear(x, kernel[0, 0], precision=options.get("precision"))
    pixels = math.prod(jax.eval_shape(plain, x, kernel).shape[1:3])
    if min(map(min, padding)) < 0 or not pixels or not x.size:  # what follows neither cuts nor reads beyond an image
        return plain(x, kernel)
    numbers: dict[str, Any] = dict(strides=strides, padding=padding, dilation=rhs_dilation)
    if groups == x.shape[-1] == features:
        return lax.platform_dependent(x, kernel, cpu=functools.partial(_depthwise, **numbers), default=plain)
    if groups == 1:
        numbers["precision"] = options.get("precision")
        if pixels <= 9:
            patches = functools.partial(_of_patches, **numbers)
            return lax.platform_dependent(x, kernel, cpu=patches, default=plain)
        if x.shape[-1] >= 8 and max(strides) <= 2:
            return _with_kernel_tangent(plain, functools.partial(_by_rows, **numbers))(x, kernel)
    return plain(x, kernel)


def _with_kernel_tangent(plain: Callable, table: Callable) -> Callable:
    """``plain`` with the gradient of its kernel through ``table``, an equal function, where a CPU computes it.

    Tangents are linear: what reverse mode runs is ``table`` transposed, and never ``table``.
    """
    of_kernel = functools.partial(lax.platform_dependent, cpu=table, default=plain)
    convolution = jax.custom_jvp(plain)

    def jvp(primals, tangents):
        (x, kernel), (dx, dkernel) = primals, tangents
        terms = []
        if not isinstance(dx, SymbolicZero):
            terms.append(plain(dx, kernel))
        if not isinstance(dkernel, SymbolicZero):
            terms.append(jax.checkpoint(of_kernel, prevent_cse=False)(x, dkernel))  # keeps x, and no copies of it
        y = convolution(x, kernel)
        return y, sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(y)

    convolution.defjvp(jvp, symbolic_zeros=True)
    return convolution


def _by_rows(x: jax.Array, kernel: jax.Array, *, strides, padding, dilation, precision) -> jax.Array:
    """The convolution as one product of rows with the kernel as a table ``[h C, w F]``, a few images at a time.

    Row ``r`` of ``y`` is the sum over columns ``j`` of the kernel of ``[x_r, x_{r+1}, ...] K_j``, moved by ``j``.
    The gradient of the table is then a product of h-fold images with w-fold gradients, where the usual one, of patches
    with gradients, moves ``h w`` copies for as much arithmetic.
    """
    chex.assert_rank([x, kernel], 4)
    wide = at_least_float32(x.dtype)
    (images, _, _, channels), (high, across, _, features) = x.shape, kernel.shape
    rows, columns = (length + sum(pads) for length, pads in zip(x.shape[1:3], padding, strict=True))
    reach = [step * (side - 1) for step, side in zip(dilation, (high, across), strict=True)]
    last = [length - far for length, far in zip((rows, columns), reach, strict=True)]
    heights = -(-last[0] // strides[0])
    # A few MB in flight stay in the cache; a product of less than 1024 rows is no faster for that.
    together = max(2**20 // (high * channels + across * features), 1024) // (heights * columns)
    together = next(count for count in range(max(1, min(together, images)), 0, -1) if images % count == 0)
    table = kernel.astype(wide).transpose(0, 2, 1, 3).reshape(high * channels, across * features)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def some(table, x):
        x = jnp.pad(x.astype(wide), ((0, 0), *padding, (0, 0)))
        tall = [x[:, far : far + last[0] : strides[0]] for far in range(0, reach[0] + 1, dilation[0])]
        y = jnp.matmul(jnp.concatenate(tall, axis=-1).reshape(-1, len(table)), table, precision=precision)
        parts = lax.split(y.reshape(together, heights, columns, -1), [features] * across, axis=-1)
        return sum(part[:, :, j * dilation[1] :][:, :, : last[1] : strides[1]] for j, part in enumerate(parts))

    chunks = x.reshape(images // together, together, *x.shape[1:])
    _, y = lax.scan(lambda table, x: (table, some(table, x).astype(x.dtype)), table, chunks)
    return y.reshape(images, *y.shape[2:])


def _of_patches(x: jax.Array, kernel: jax.Array, *, strides, padding, dilation, precision) -> jax.Array:
    """The convolution as one product: what every pixel of the output sees with the kernel, ``[h w C]`` each."""
    chex.assert_rank([x, kernel], 4)
    high, across, channels, features = kernel.shape
    seen = jnp.concatenate([piece for _, _, piece in _pieces(x, kernel, strides, padding, dilation)], axis=-1)
    table = kernel.reshape(high * across * channels, features)
    wide = at_least_float32(x.dtype)
    y = jnp.matmul(seen.reshape(-1, len(table)), table, precision=precision, preferred_element_type=wide)
    return y.astype(x.dtype).reshape(*seen.shape[:3], features)


def _pieces(x: jax.Array, kernel: jax.Array, strides, padding, dilation) -> Iterator[tuple[int, int, jax.Array]]:
    """The places of the kernel, and the image that each of them sees."""
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    reach = [step * (side - 1) for step, side in zip(dilation, kernel.shape[:2], strict=True)]
    sizes = [length - far for length, far in zip(padded.shape[1:3], reach, strict=True)]  # of the unstrided output
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            top, left = row * dilation[0], column * dilation[1]
            yield row, column, padded[:, top : top + sizes[0] : strides[0], left : left + sizes[1] : strides[1]]


def _depthwise(x: jax.Array, kernel: jax.Array, *, strides, padding, dilation) -> jax.Array:
    """A sum over the places of the kernel: the image shifted there, times one number for each channel."""
    chex.assert_rank([x, kernel], 4)
    chex.assert_shape(kernel, (None, None, 1, x.shape[-1]))
    wide = at_least_float32(x.dtype)
    total = jnp.zeros((), wide)
    for row, column, piece in _pieces(x, kernel, strides, padding, dilation):
        total += piece.astype(wide) * kernel[row, column].astype(wide)[None, None]
    return total.astype(x.dtype)


def plain_convolve(x: jax.Array, kernel: jax.Array, *args: Any, **options: Any) -> jax.Array:
    """``lax.conv_general_dilated`` on any mesh."""
    return on_any_mesh(lambda x, kernel: lax.conv_general_dilated(x, kernel, *args, **options), x, kernel)


def causal_convolve(x: jax.Array, kernel: jax.Array, bias: jax.Array, dilation: int) -> jax.Array:
    r"""A convolution over time that sees no later step: :math:`y_t = \sum_{i<k} W_i\, x_{t - d(k - 1 - i)} + b`.

    Args:
        x: ``[*batch, T, D]``; what was before the first step is 0.
        kernel: W, ``[k, D, F]``, in the dtype of ``x``.
        bias: b, ``[F]``, likewise.
        dilation: d.

    Returns:
        ``[*batch, T, F]``.
    """
    length, _, features = kernel.shape
    chex.assert_shape(kernel, (length, x.shape[-1], features))
    y = plain_convolve(
        x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:]),
        kernel,
        window_strides=(1,),
        padding=[(dilation * (length - 1), 0)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
    return (y + bias[None, None]).reshape(*x.shape[:-1], features)
