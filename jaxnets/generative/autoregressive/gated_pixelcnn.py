"""The gated PixelCNN (van den Oord et al. 2016, arXiv:1606.05328)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.generative.autoregressive.causal import Rows, convolve_rows
from jaxnets.generative.autoregressive.levels import to_levels
from jaxnets.generative.autoregressive.masked_conv import MaskedConv
from jaxnets.generative.autoregressive.pixel_model import CategoricalPixelModel
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depth, check_integer


class GatedPixelCNN(CategoricalPixelModel):
    r"""A vertical stack, which sees all rows above, and a horizontal stack, which sees the row before a pixel.

    .. math::
        v' = \tanh(W_f v) \odot \sigma(W_g v), \quad
        h' = h + W \big(\tanh(U_f h + V_f W v) \odot \sigma(U_g h + V_g W v)\big)

    Every pixel sees all pixels before it, without the blind spot of ``PixelCNN``. Labels add a bias to each stack
    before the gates.

    Attributes:
        image_shape: (H, W, C) of samples; C channels divide the horizontal stack into groups, such as red, green, blue.
        num_levels: L, 2 for bits.
        hidden: Features of both stacks, a multiple of C.
        num_layers: Gated layers; the kernel of the first one is 7 x 7, those of the others 3 x 3.
        head: Features of the layer before the outputs, a multiple of C.
        num_classes: Classes of a conditional model; 0: no labels.
        embed_dim: E, size of the embedding of each level, for levels without an order, such as the codes of
            ``VQVAE``; 0: the network sees pixels as numbers.
        dtype: Compute dtype; outputs are at least float32.
    """

    image_shape: Sequence[int] = (28, 28, 1)
    num_levels: int = 2
    hidden: int = 32
    num_layers: int = 8
    head: int = 32
    num_classes: int = 0
    embed_dim: int = 0
    dtype: Dtype = jnp.float32

    @nn.compact
    def network(
        self, xs: Float[Array, "B rows W C"], rows: Rows, classes: Float[Array, "B K"] | None, train: bool
    ) -> Float[Array, "B rows W ..."]:
        check_depth(num_layers=self.num_layers)
        check_integer("num_layers", self.num_layers)
        check_integer("embed_dim", self.embed_dim, minimum=0)
        self.check_features(hidden=self.hidden, head=self.head)
        if self.embed_dim:
            levels = jnp.round(to_levels(xs, self.num_levels)).astype(jnp.int32)
            embedded = nn.Embed(self.num_levels, self.embed_dim, dtype=self.dtype, name="embed")(levels)
            xs = embedded.reshape(*xs.shape[:-1], -1)  # one group of features for each channel
        vertical = horizontal = xs
        for layer in range(self.num_layers):
            size = 3 if layer else 7
            vertical, horizontal = self._layer(vertical, horizontal, rows, classes, size, layer)
        return self.outputs_of(horizontal, rows)

    def _layer(self, vertical, horizontal, rows, classes, size, layer):
        first = layer == 0
        bias = lambda stack: self.class_bias(classes, 2 * self.hidden, f"{stack}_classes_{layer}")
        # The first layer sees the rows above only, so that later layers and the link may use their own row.
        above = RowsAbove(2 * self.hidden, size, strictly=first, dtype=self.dtype, name=f"vertical_{layer}")
        v = above(vertical, rows)
        link = nn.Dense(2 * self.hidden, dtype=self.dtype, name=f"link_{layer}")(v)
        row = MaskedConv(
            2 * self.hidden, (1, size), not first, self.channels, dtype=self.dtype, name=f"horizontal_{layer}"
        )
        h = self._gate(row(horizontal, rows) + link + bias("horizontal"))
        h = self.masked(self.hidden, 1, f"residual_{layer}")(h, rows)
        return self._gate(v + bias("vertical")), h if first else horizontal + h

    def _gate(self, x: jax.Array) -> jax.Array:
        # Each group of channels has its own halves, so that the gates of a group see no later one.
        halves = x.reshape(*x.shape[:-1], self.channels, 2, -1)
        return (jnp.tanh(halves[..., 0, :]) * jax.nn.sigmoid(halves[..., 1, :])).reshape(*x.shape[:-1], -1)


class RowsAbove(nn.Module):
    """A convolution over the rows above and, unless ``strictly``, the row of a pixel, over all columns.

    Parameters: ``kernel [size // 2 + 1, size, C, F]``, without the last row if ``strictly``; ``bias [F]``.

    Attributes:
        features: F.
        size: Width of the kernel.
        strictly: Whether the row of a pixel is left out.
        dtype: Compute dtype.
    """

    features: int
    size: int
    strictly: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B rows W C"], rows: Rows) -> Float[Array, "B rows W F"]:
        """Maps ``[B, R, W, C]`` to ``[B, R, W, F]``, with the rows above from ``rows``."""
        above = self.size // 2
        height = above + (not self.strictly)
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (height, self.size, x.shape[-1], self.features), jnp.float32
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        extended = rows.extend(x.astype(self.dtype), above)
        if self.strictly:
            extended = extended[:, :-1]
        y = convolve_rows(extended, kernel.astype(self.dtype), self.size // 2, self.size // 2)
        return y + bias.astype(self.dtype)[None, None, None]
