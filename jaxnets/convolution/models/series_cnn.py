"""A plain convolutional network over time, a baseline for time series and audio."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.blocks import HE_OUT
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.images import select_activations
from jaxnets.convolution.models.tcn import check_series, step_mask
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.checks import check_layer_sizes
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.layers.pooling import pool


class SeriesBlock(nn.Module):
    """A convolution over time without bias, batch normalization, ReLU, and max pooling.

    Padded steps are zeros for the convolution, do not enter the statistics of the norm, and are never the maximum of a
    window. The outputs of a sequence do not depend on the padding.

    Parameters: ``conv/kernel [k, D, features]``, ``norm``.

    Attributes:
        features: Output features.
        kernel_size: Kernel size k; the padding is k - 1 in total, so T steps become ceil(T / stride).
        stride: Stride of the convolution.
        pool: Window and stride of max pooling; the last window may be shorter.
        dtype: Compute dtype.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    pool: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, xs: Float[Array, "*batch T D"], lengths: Integer[Array, "*batch"] | None = None, train: bool = False
    ) -> tuple[Float[Array, "*batch out_steps features"], Integer[Array, "*batch"] | None]:
        """Applies the block.

        Args:
            xs: ``[*batch, T, D]``, with zeros in padded steps.
            lengths: Integers ``[*batch]``, the valid steps of each sequence; None: all steps are valid.
            train: Whether the norm uses the statistics of the batch.

        Returns:
            ``[*batch, ceil(ceil(T / stride) / pool), features]``, with zeros in padded steps, and the new lengths.
        """
        ys = Conv(
            self.features,
            (self.kernel_size,),
            strides=self.stride,
            padding=[((self.kernel_size - 1) // 2, self.kernel_size // 2)],
            use_bias=False,
            kernel_init=HE_OUT,
            dtype=self.dtype,
            name="conv",
        )(xs)
        valid = None
        if lengths is not None:
            lengths = -(-lengths // self.stride)
            valid = step_mask(ys, lengths)
        ys = nn.relu(BatchNorm(dtype=self.dtype, name="norm")(ys, train, valid))
        if valid is not None:
            ys = jnp.where(valid[..., None], ys, 0)
        if self.pool > 1:
            ys = _max_pool_over_time(ys, self.pool)
            lengths = None if lengths is None else -(-lengths // self.pool)
        return ys, lengths


def _max_pool_over_time(ys: jax.Array, window: int) -> jax.Array:
    """Max pooling over time with stride ``window``; the last window may be shorter."""
    *batch, length, features = ys.shape
    flat = ys.reshape(math.prod(batch), length, features)  # nn.max_pool accepts padding only with one batch axis
    pooled = nn.max_pool(flat, (window,), (window,), [(0, -length % window)])
    return pooled.reshape(*batch, -(-length // window), features)


class SeriesCNN(nn.Module):
    """A convolutional network over time: blocks of convolution and max pooling, pooling over time, and a linear head.

    Two published networks are special cases. The FCN of Wang, Yan and Oates (2016, arXiv:1611.06455) is
    ``SeriesCNN(num_classes, (128, 256, 128), (8, 5, 3), pool=1)``. The M5 of Dai et al. (2016, arXiv:1610.00087), for
    audio at 8 kHz, is ``SeriesCNN(num_classes, (128, 128, 256, 512), (80, 3, 3, 3), stride=4, pool=4)``.

    Activations, in order: ``block_1``, ``block_2``, ..., ``pooled``, ``outputs``.
    Parameters: ``block_<i>`` of ``SeriesBlock``; ``head``.

    Attributes:
        num_outputs: Output features, such as logits of classes; 0: no head, the output is ``pooled``.
        widths: Features of each block.
        kernel_sizes: Kernel size of each block.
        stride: Stride of the first convolution.
        pool: Window and stride of the max pooling in each block.
        pooling: Pooling over the valid steps: ``"mean"``, ``"max"`` or ``"last"``.
        dropout: Dropout rate before the head.
        dtype: Compute dtype; parameters, statistics and outputs are float32.
    """

    num_outputs: int
    widths: Sequence[int] = (32, 64, 64)
    kernel_sizes: Sequence[int] = (5, 3, 3)
    stride: int = 1
    pool: int = 2
    pooling: str = "mean"
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        xs: Float[Array, "*batch T D"],
        *,
        lengths: Integer[Array, "*batch"] | None = None,
        train: bool = False,
        features: Sequence[str] | None = None,
    ) -> Float[Array, "*batch F"] | dict[str, Float[Array, "..."]]:
        """Computes outputs, or the activations named in ``features``.

        Args:
            xs: ``[*batch, T, D]``.
            lengths: Integers ``[*batch]``, the valid steps of each sequence; None: all steps are valid.
            train: Whether norms use the statistics of the batch, which needs ``mutable=["batch_stats"]``, and dropout
                is on, which needs ``rngs={"dropout": key}``.
            features: Names of activations; None: the last one.

        Returns:
            ``[*batch, num_outputs]``, float32. If ``features`` is given, a dict of activations, with zeros in padded
            steps.

        Raises:
            ValueError: If the series do not match the model, an attribute is out of range, or a name is unknown.
        """
        check_layer_sizes(widths=self.widths, kernel_sizes=self.kernel_sizes)
        sizes = {
            "stride": self.stride,
            "pool": self.pool,
            "kernel_sizes": min(self.kernel_sizes),
            "widths": min(self.widths),
        }
        check_series(self, xs, ("block_1", "conv"), **sizes)
        if len(self.widths) != len(self.kernel_sizes):
            raise ValueError(
                f"`kernel_sizes` must have as many entries as `widths`, {len(self.widths)}, got {self.kernel_sizes}"
            )
        ys = xs if lengths is None else jnp.where(step_mask(xs, lengths)[..., None], xs, 0)
        activations = {}
        for i, (width, kernel_size) in enumerate(zip(self.widths, self.kernel_sizes, strict=True), 1):
            stride = self.stride if i == 1 else 1
            block = SeriesBlock(width, kernel_size, stride, self.pool, self.dtype, name=f"block_{i}")
            ys, lengths = block(ys, lengths, train)
            activations[f"block_{i}"] = ys
        pooled = pool(ys, self.pooling, lengths)
        activations["pooled"] = Dropout(self.dropout, deterministic=not train)(pooled)
        if self.num_outputs:
            head = nn.Dense(self.num_outputs, dtype=at_least_float32(self.dtype), name="head")
            activations["outputs"] = head(activations["pooled"])
        return select_activations(activations, features)
