"""PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.generative.autoregressive.causal import Rows, shift_right
from jaxnets.generative.autoregressive.logistic_mixture import (
    discretized_logistic_mixture_log_prob,
    num_mixture_parameters,
    sample_discretized_logistic_mixture,
)
from jaxnets.generative.autoregressive.pixel_model import PixelModel
from jaxnets.generative.autoregressive.weight_norm import WeightNormConv
from jaxnets.modules.dropout import Dropout
from jaxnets.ops.array_types import Array, Float, Key
from jaxnets.ops.checks import check_depth, check_integer, check_probability
from jaxnets.ops.dtypes import at_least_float32

LEVELS = 3  # sizes of the images: full, a half and a quarter


class PixelCNNPlusPlus(PixelModel):
    """Two streams of gated residual blocks at three image sizes, with shortcuts, and mixtures of logistics as pixels.

    One stream sees the rows above, the other one also the row before a pixel. The defaults for 3 channels are the
    network for CIFAR-10, with 53,659,080 parameters. All layers have weight normalization, and are initialized by the
    batch at hand. The height and the width must be multiples of 4.

    Attributes:
        image_shape: (H, W, C) of samples; C is 1 or 3.
        num_levels: L, levels of a channel.
        hidden: Features of all layers.
        num_blocks: Residual blocks at each size on the way down.
        num_mixtures: Components of the mixture.
        dropout: Dropout probability in each block.
        num_classes: Classes of a conditional model; 0: no labels.
        dtype: Compute dtype; outputs are at least float32.
    """

    image_shape: Sequence[int] = (32, 32, 3)
    num_levels: int = 256
    hidden: int = 160
    num_blocks: int = 5
    num_mixtures: int = 10
    dropout: float = 0.5
    num_classes: int = 0
    dtype: Dtype = jnp.float32

    @property
    def block_rows(self) -> int:
        return 2 ** (LEVELS - 1)

    @nn.compact
    def network(
        self, xs: Float[Array, "B rows W C"], rows: Rows, classes: Float[Array, "B K"] | None, train: bool
    ) -> Float[Array, "B rows W P"]:
        check_depth(num_blocks=self.num_blocks)
        if self.channels not in (1, 3):
            raise ValueError(f"`image_shape` must have 1 or 3 channels, got {tuple(self.image_shape)}")
        check_integer("num_mixtures", self.num_mixtures)
        check_probability("dropout", self.dropout)
        # Over the row of a pixel and the one above: centered at the pixel, or ending at it.
        down, down_right = self._conv(rows, 3), self._conv(rows, 2)

        def block(x, extra, conv, name):
            return self._block(x, extra, conv, name, classes, train)

        # A channel of ones shows the network where the image ends.
        xs = jnp.concatenate([xs, jnp.ones_like(xs[..., :1])], axis=-1).astype(self.dtype)
        above = [rows.shift_down(down(xs, "above_first"))]
        before_row = WeightNormConv(self.hidden, (1, 3), 1, 1, dtype=self.dtype, name="before_first_row")(xs)
        column = WeightNormConv(self.hidden, (2, 1), dtype=self.dtype, name="before_first_column")
        before = [rows.shift_down(before_row) + shift_right(column(rows.extend(xs, 1)))]

        for level in range(LEVELS):
            for i in range(self.num_blocks):
                above.append(block(above[-1], None, down, f"above_down_{level}_{i}"))
                before.append(block(before[-1], above[-1], down_right, f"before_down_{level}_{i}"))
            if level < LEVELS - 1:
                above.append(down(above[-1], f"above_halve_{level}", stride=2))
                before.append(down_right(before[-1], f"before_halve_{level}", stride=2))

        u, ul = above.pop(), before.pop()
        for level in reversed(range(LEVELS)):
            for i in range(self.num_blocks + (level < LEVELS - 1)):
                u = block(u, above.pop(), down, f"above_up_{level}_{i}")
                ul = block(ul, jnp.concatenate([u, before.pop()], axis=-1), down_right, f"before_up_{level}_{i}")
            if level:
                double = lambda width, name: WeightNormConv(
                    self.hidden, (2, width), transposed=True, dtype=self.dtype, name=name
                )
                u, ul = double(3, f"above_double_{level}")(u), double(2, f"before_double_{level}")(ul)

        size = num_mixture_parameters(self.channels, self.num_mixtures)
        return WeightNormConv(size, dtype=at_least_float32(self.dtype), name="output")(jax.nn.elu(ul))

    def log_prob(self, outputs: Float[Array, "B H W P"], xs: Float[Array, "B H W C"]) -> Float[Array, " B"]:
        return jnp.sum(discretized_logistic_mixture_log_prob(outputs, xs, self.num_levels), axis=(1, 2))

    def draw(self, key: Key[Array, ""], outputs: Float[Array, " P"]) -> Float[Array, " C"]:
        return sample_discretized_logistic_mixture(key, outputs, self.channels, self.num_levels)

    def _conv(self, rows: Rows, width: int) -> Any:
        """Returns a function that applies a new 2 x ``width`` convolution, 3 or 2, with one column to the left."""

        def apply(x: jax.Array, name: str, features: int = self.hidden, **options: Any) -> jax.Array:
            layer = WeightNormConv(features, (2, width), 1, width - 2, dtype=self.dtype, name=name, **options)
            return layer(rows.extend(x, 1))

        return apply

    def _block(self, x, extra: Any, conv: Any, name: str, classes: Any, train: bool):
        r"""A gated residual block, :math:`x + a \odot \sigma(b)`, with a shortcut ``extra``."""
        y = conv(concat_elu(x), f"{name}_in")
        if extra is not None:
            y = y + WeightNormConv(self.hidden, dtype=self.dtype, name=f"{name}_shortcut")(concat_elu(extra))
        y = Dropout(self.dropout, deterministic=not train)(concat_elu(y))
        y = conv(y, f"{name}_out", features=2 * self.hidden, init_scale=0.1)
        y = y + self.class_bias(classes, 2 * self.hidden, f"{name}_classes", kernel_init=nn.initializers.normal(0.05))
        a, b = jnp.split(y, 2, axis=-1)
        return x + a * jax.nn.sigmoid(b)


def concat_elu(x: Float[Array, "B rows W C"]) -> Float[Array, "B rows W channels"]:
    """Returns the ELU of x and of -x, ``[..., 2 C]``."""
    return jax.nn.elu(jnp.concatenate([x, -x], axis=-1))
