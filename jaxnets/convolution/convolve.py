"""Convolutions with fast algorithms for each platform.

XLA's CPU backend is fast only for the outputs of dense convolutions. The following cases are slow: a depthwise
convolution takes twenty times as long as its arithmetic; the gradient of a 1 x 1 kernel takes ten times as long; the
gradient of a 3 x 3 kernel takes two to ten times as long as the output; an output of a few pixels takes up to a hundred
times as long. Here, a 1 x 1 convolution is a matrix product on every platform. On a CPU, a depthwise convolution is a
sum of shifted images, a convolution with few output pixels is a product of patches and the kernel, and the gradient of
a dense kernel is a product of images shifted along rows and gradients shifted along columns.
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

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.meshes import call_auto_sharded, spec_of
from jaxnets.ops.products import linear


def convolve(
    x: Float[Array, "B *space C"],
    kernel: Float[Array, "*window group_channels F"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    rhs_dilation: Sequence[int],
    feature_group_count: int = 1,
    **options: Any,
) -> Float[Array, "B *out_space F"]:
    """Computes ``lax.conv_general_dilated``, with fast algorithms for the cases that are slow on a CPU.

    Pass it to ``flax.linen.Conv`` as ``conv_general_dilated``; ``convolution.Conv`` does.

    Args:
        x: ``[B, H, W, C]``.
        kernel: ``[h, w, C / groups, F]``.
        strides: Strides along height and width.
        padding: ``"SAME"``, ``"VALID"``, or pairs ``(low, high)`` for height and width.
        rhs_dilation: Dilation of the kernel along height and width.
        feature_group_count: Groups of channels.
        **options: Further arguments of ``lax.conv_general_dilated``.

    Returns:
        ``[B, H', W', F]``.
    """
    settings = dict(padding=padding, rhs_dilation=rhs_dilation, feature_group_count=feature_group_count, **options)
    return on_any_mesh(functools.partial(_convolve, strides=strides, **settings), x, kernel)


def on_any_mesh(convolution: Callable, x: Float[Array, "B ..."], kernel: Float[Array, "..."]) -> Float[Array, "B ..."]:
    """Computes ``convolution(x, kernel)``. On an explicit mesh, the output keeps the batch sharding of ``x``.

    JAX does not infer the sharding of a convolution's gradient.
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
    if min(map(min, padding)) < 0 or not pixels or not x.size:  # the algorithms below support neither
        return plain(x, kernel)
    settings: dict[str, Any] = dict(strides=strides, padding=padding, dilation=rhs_dilation)
    if groups == x.shape[-1] == features:
        return lax.platform_dependent(x, kernel, cpu=functools.partial(_depthwise, **settings), default=plain)
    if groups == 1:
        settings["precision"] = options.get("precision")
        if pixels <= 9:
            patches = functools.partial(_patch_product, **settings)
            return lax.platform_dependent(x, kernel, cpu=patches, default=plain)
        if x.shape[-1] >= 8 and max(strides) <= 2:
            return _with_kernel_tangent(plain, functools.partial(_row_product, **settings))(x, kernel)
    return plain(x, kernel)


def _with_kernel_tangent(plain: Callable, rows: Callable) -> Callable:
    """Returns ``plain``, with the tangent of its kernel computed by ``rows``, an equal function, on a CPU.

    The tangent is linear in the kernel, so reverse mode runs only the transpose of ``rows``.
    """
    kernel_tangent = functools.partial(lax.platform_dependent, cpu=rows, default=plain)
    convolution = jax.custom_jvp(plain)

    def jvp(primals, tangents):
        (x, kernel), (dx, dkernel) = primals, tangents
        terms = []
        if not isinstance(dx, SymbolicZero):
            terms.append(plain(dx, kernel))
        if not isinstance(dkernel, SymbolicZero):
            terms.append(
                jax.checkpoint(kernel_tangent, prevent_cse=False)(x, dkernel)
            )  # saves x, not its shifted copies
        y = convolution(x, kernel)
        return y, sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(y)

    convolution.defjvp(jvp, symbolic_zeros=True)
    return convolution


def _row_product(x: jax.Array, kernel: jax.Array, *, strides, padding, dilation, precision) -> jax.Array:
    """Computes the convolution as a product of image rows and the kernel ``[h C, w F]``, for a few images at a time.

    Row ``r`` of ``y`` is the sum over kernel columns ``j`` of ``[x_r, x_{r+1}, ...] K_j``, shifted by ``j``. The
    kernel's gradient is then a product of ``h`` copies of the images and ``w`` copies of the output gradients. The
    usual product, of patches and output gradients, copies the images ``h w`` times for the same arithmetic.
    """
    chex.assert_rank([x, kernel], 4)
    accum_dtype = at_least_float32(x.dtype)
    (num_images, _, _, channels), (kernel_height, kernel_width, _, features) = x.shape, kernel.shape
    rows, columns = (length + sum(pads) for length, pads in zip(x.shape[1:3], padding, strict=True))
    reach = [step * (size - 1) for step, size in zip(dilation, (kernel_height, kernel_width), strict=True)]
    dense_size = [length - extent for length, extent in zip((rows, columns), reach, strict=True)]  # at stride 1
    out_height = -(-dense_size[0] // strides[0])
    # A chunk of a few MB stays in the cache, but a product of fewer than 1024 rows is slow.
    chunk = max(2**20 // (kernel_height * channels + kernel_width * features), 1024) // (out_height * columns)
    chunk = next(count for count in range(max(1, min(chunk, num_images)), 0, -1) if num_images % count == 0)
    matrix = kernel.astype(accum_dtype).transpose(0, 2, 1, 3).reshape(kernel_height * channels, kernel_width * features)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def convolve_chunk(matrix, x):
        x = jnp.pad(x.astype(accum_dtype), ((0, 0), *padding, (0, 0)))
        shifted = [x[:, top : top + dense_size[0] : strides[0]] for top in range(0, reach[0] + 1, dilation[0])]
        y = jnp.matmul(jnp.concatenate(shifted, axis=-1).reshape(-1, len(matrix)), matrix, precision=precision)
        parts = lax.split(y.reshape(chunk, out_height, columns, -1), [features] * kernel_width, axis=-1)
        return sum(part[:, :, j * dilation[1] :][:, :, : dense_size[1] : strides[1]] for j, part in enumerate(parts))

    chunks = x.reshape(num_images // chunk, chunk, *x.shape[1:])
    _, y = lax.scan(lambda matrix, x: (matrix, convolve_chunk(matrix, x).astype(x.dtype)), matrix, chunks)
    return y.reshape(num_images, *y.shape[2:])


def _patch_product(x: jax.Array, kernel: jax.Array, *, strides, padding, dilation, precision) -> jax.Array:
    """Computes the convolution as a product of patches ``[h w C]``, one for each output pixel, and the kernel."""
    chex.assert_rank([x, kernel], 4)
    height, width, channels, features = kernel.shape
    patches = jnp.concatenate([image for _, _, image in _shifted(x, kernel, strides, padding, dilation)], axis=-1)
    matrix = kernel.reshape(height * width * channels, features)
    accum_dtype = at_least_float32(x.dtype)
    y = jnp.matmul(patches.reshape(-1, len(matrix)), matrix, precision=precision, preferred_element_type=accum_dtype)
    return y.astype(x.dtype).reshape(*patches.shape[:3], features)


def _shifted(x: jax.Array, kernel: jax.Array, strides, padding, dilation) -> Iterator[tuple[int, int, jax.Array]]:
    """Yields each row and column of the kernel, with the shifted image that this entry multiplies."""
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    reach = [step * (size - 1) for step, size in zip(dilation, kernel.shape[:2], strict=True)]
    sizes = [length - extent for length, extent in zip(padded.shape[1:3], reach, strict=True)]  # output at stride 1
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            top, left = row * dilation[0], column * dilation[1]
            yield row, column, padded[:, top : top + sizes[0] : strides[0], left : left + sizes[1] : strides[1]]


def _depthwise(x: jax.Array, kernel: jax.Array, *, strides, padding, dilation) -> jax.Array:
    """Computes the depthwise convolution as a sum over kernel entries of shifted images."""
    chex.assert_rank([x, kernel], 4)
    chex.assert_shape(kernel, (None, None, 1, x.shape[-1]))
    accum_dtype = at_least_float32(x.dtype)
    total = jnp.zeros((), accum_dtype)
    for row, column, image in _shifted(x, kernel, strides, padding, dilation):
        total += image.astype(accum_dtype) * kernel[row, column].astype(accum_dtype)[None, None]
    return total.astype(x.dtype)


def plain_convolve(
    x: Float[Array, "B ..."], kernel: Float[Array, "..."], *args: Any, **options: Any
) -> Float[Array, "B ..."]:
    """Computes ``lax.conv_general_dilated`` on any mesh."""
    return on_any_mesh(lambda x, kernel: lax.conv_general_dilated(x, kernel, *args, **options), x, kernel)


def causal_convolve(
    x: Float[Array, "*batch T D"], kernel: Float[Array, "k D F"], bias: Float[Array, " F"], dilation: int
) -> Float[Array, "*batch T F"]:
    r"""Computes a causal convolution over time, :math:`y_t = \sum_{i<k} W_i\, x_{t - d(k - 1 - i)} + b`.

    Steps before the first one are zero.

    Args:
        x: ``[*batch, T, D]``.
        kernel: W, ``[k, D, F]``, in the dtype of ``x``.
        bias: b, ``[F]``, in the dtype of ``x``.
        dilation: Steps d between the inputs of an output.

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
