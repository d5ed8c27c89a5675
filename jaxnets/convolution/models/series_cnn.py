"""A convolutional network over time, for series and sound: the plain form that serves as a baseline for both."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.convolution.batch_norm import BatchNorm
from jaxnets.convolution.blocks import HE_OUT
from jaxnets.convolution.conv import Conv
from jaxnets.convolution.images import chosen
from jaxnets.convolution.models.tcn import check_series, real_steps
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.checks import check_layer_sizes
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.recurrent.layers.pooling import pool


class SeriesBlock(nn.Module):
    """A convolution over time without bias, batch norm, ReLU, and the largest of every few steps.

    A row's own end is like the end of the array: what is not real is 0 to a convolution, is not counted by the norm,
    and is not the largest of anything. So a row gives what it gives alone.

    Parameters: ``conv/kernel [k, D, features]``, ``norm``.

    Attributes:
        features: Of the output.
        kernel_size: k; padded by k - 1 in all, so that T steps become ceil(T / stride).
        stride: Of the convolution.
        pool: Steps of which one remains; the last may be fewer.
        dtype: Compute type.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    pool: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, xs: jax.Array, lengths: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, jax.Array | None]:
        """``[*batch, T, D]``, zeros where not real, to ``[*batch, ceil(ceil(T / stride) / pool), features]``, likewise.

        Returns:
            The result, and how many of its steps are real.
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
        real = None
        if lengths is not None:
            lengths = -(-lengths // self.stride)
            real = real_steps(ys, lengths)
        ys = nn.relu(BatchNorm(dtype=self.dtype, name="norm")(ys, train, real))
        if real is not None:
            ys = jnp.where(real[..., None], ys, 0)
        if self.pool > 1:
            ys = _largest(ys, self.pool)
            lengths = None if lengths is None else -(-lengths // self.pool)
        return ys, lengths


def _largest(ys: jax.Array, window: int) -> jax.Array:
    """Of every few steps, and of those that remain at the end."""
    *batch, length, features = ys.shape
    flat = ys.reshape(math.prod(batch), length, features)  # Linen pads no more than one batch axis
    found = nn.max_pool(flat, (window,), (window,), [(0, -length % window)])
    return found.reshape(*batch, -(-length // window), features)


class SeriesCNN(nn.Module):
    """Blocks of convolution, batch norm, ReLU and max pooling, pooling over time, and a linear output.

    Two networks of the literature are of this form: the FCN of Wang, Yan and Oates (2016, arXiv:1611.06455) is
    ``SeriesCNN(classes, (128, 256, 128), (8, 5, 3), pool=1)``, and for sound of 8000 steps a second the M5 of Dai et
    al. (2016, arXiv:1610.00087) is ``SeriesCNN(classes, (128, 128, 256, 512), (80, 3, 3, 3), stride=4, pool=4)``.

    Named activations, in order: ``block_1``, ``block_2``, ..., ``pooled``, ``num_outputs``.
    Parameters: ``block_<i>`` of ``SeriesBlock``; ``head``.

    Attributes:
        num_outputs: Numbers of one answer, such as the logits of classes; 0: no head, the answer is ``pooled``.
        widths: Features of each block.
        kernel_sizes: Steps of each block's convolution.
        stride: Of the first convolution.
        pool: Steps of which one remains, after each block.
        pooling: ``"mean"``, ``"max"`` or ``"last"``, over what remains of a row.
        dropout: Probability of dropping an element before the output.
        dtype: Compute type; parameters, statistics and answers are float32.
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
        xs: jax.Array,
        *,
        lengths: jax.Array | None = None,
        train: bool = False,
        features: Sequence[str] | None = None,
    ) -> jax.Array | dict[str, jax.Array]:
        """From ``xs [*batch, T, D]`` to ``[*batch, outputs]``, float32.

        Args:
            xs: As above.
            lengths: Integers ``[*batch]``, how many steps of a row are real; None: all.
            train: Whether statistics are the batch's and dropout is on, which needs ``rngs={"dropout": key}`` then.
            features: Names of activations to answer with, in a dict; what is not real is 0 in them.

        Raises:
            ValueError: The series do not fit, an attribute is out of range, or a name is unknown.
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
                f"`kernel_sizes` must be one for each of {len(self.widths)} widths, got {self.kernel_sizes}"
            )
        ys = xs if lengths is None else jnp.where(real_steps(xs, lengths)[..., None], xs, 0)
        found = {}
        for i, (width, kernel) in enumerate(zip(self.widths, self.kernel_sizes, strict=True), 1):
            stride = self.stride if i == 1 else 1
            block = SeriesBlock(width, kernel, stride, self.pool, self.dtype, name=f"block_{i}")
            ys, lengths = block(ys, lengths, train)
            found[f"block_{i}"] = ys
        pooled = pool(ys, self.pooling, lengths)
        found["pooled"] = Dropout(self.dropout, deterministic=not train)(pooled)
        if self.num_outputs:
            head = nn.Dense(self.num_outputs, dtype=at_least_float32(self.dtype), name="head")
            found["outputs"] = head(found["pooled"])
        return chosen(found, features)
