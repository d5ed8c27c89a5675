"""A layer of transposed convolutions."""

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer

from jaxnets.convolution.transposed_convolve import transposed_convolve
from jaxnets.ops.array_types import Array, Float


class ConvTranspose(nn.Module):
    """A transposed 4 x 4 convolution with stride 2, which doubles height and width; see ``transposed_convolve``.

    Parameters: ``kernel [4, 4, C, features]``, ``bias [features]``.

    Attributes:
        features: Output channels.
        use_bias: Whether there is a bias.
        kernel_init: Initializer of the kernel.
        dtype: Compute dtype.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B out_height out_width features"]:
        """Maps ``[B, H, W, C]`` to ``[B, 2 H, 2 W, features]``."""
        kernel = self.param("kernel", self.kernel_init, (4, 4, x.shape[-1], self.features), jnp.float32)
        y = transposed_convolve(x.astype(self.dtype), kernel.astype(self.dtype))
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return y + jnp.broadcast_to(bias.astype(self.dtype), y.shape)
