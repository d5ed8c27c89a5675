"""PixelCNN (van den Oord et al. 2016, arXiv:1601.06759)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxnets.generative.autoregressive.causal import Rows
from jaxnets.generative.autoregressive.pixel_model import CategoricalPixelModel
from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_depth


class PixelCNN(CategoricalPixelModel):
    """A stack of masked convolutions: 7 x 7 with mask A, residual blocks with mask B, and 1 x 1 layers.

    A block maps 2h features by ReLU and 1 x 1 to h, by ReLU and 3 x 3 to h, by ReLU and 1 x 1 to 2h. The 3 x 3 kernels
    leave a blind spot to the right above a pixel, which ``GatedPixelCNN`` does not have. With 7 blocks, h = 16 and a
    head of 32, the network of gray images of two levels has 26,433 parameters, of which 18,465 are not masked.

    Attributes:
        image_shape: (H, W, C) of samples; C channels divide all layers into groups, such as red, green, blue.
        num_levels: L, 2 for bits.
        hidden: h, a multiple of C.
        num_blocks: Residual blocks.
        head: Features of the layer before the outputs, a multiple of C.
        num_classes: Classes of a conditional model, whose labels add a bias to the first layer and to each block; 0: no
            labels.
        dtype: Compute dtype; outputs are at least float32.
    """

    image_shape: Sequence[int] = (28, 28, 1)
    num_levels: int = 2
    hidden: int = 32
    num_blocks: int = 7
    head: int = 32
    num_classes: int = 0
    dtype: Dtype = jnp.float32

    @nn.compact
    def network(
        self, xs: Float[Array, "B rows W C"], rows: Rows, classes: Float[Array, "B K"] | None, train: bool
    ) -> Float[Array, "B rows W ..."]:
        check_depth(num_blocks=self.num_blocks)
        self.check_features(hidden=self.hidden, head=self.head)
        x = self.masked(2 * self.hidden, 7, "first", include_center=False)(xs, rows)
        x = x + self.class_bias(classes, 2 * self.hidden, "first_classes")
        for block in range(self.num_blocks):
            y = self.masked(self.hidden, 1, f"block_{block}_in")(jax.nn.relu(x), rows)
            y = self.masked(self.hidden, 3, f"block_{block}")(jax.nn.relu(y), rows)
            y = y + self.class_bias(classes, self.hidden, f"block_{block}_classes")
            x = x + self.masked(2 * self.hidden, 1, f"block_{block}_out")(jax.nn.relu(y), rows)
        return self.outputs_of(x, rows)
