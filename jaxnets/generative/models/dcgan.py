"""Deep convolutional adversarial networks (Radford et al. 2016, arXiv:1511.06434)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import lax

from jaxnets.convolution import BatchNorm, ConvTranspose, convolve
from jaxnets.convolution.convolve import on_any_mesh
from jaxnets.generative.adversarial.minibatch import minibatch_std
from jaxnets.generative.models.adversarial_model import AdversarialModel
from jaxnets.generative.models.spectral_norm import SpectralNorm
from jaxnets.ops.array_types import Array, Float, Integer
from jaxnets.ops.checks import check_choice, check_integer
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.products import dot_general

INIT = nn.initializers.normal(0.02)
GRIDS = (4, 5, 6, 7)  # heights of the smallest feature maps
POSSIBLE = sorted(grid * 2**doublings for grid in GRIDS for doublings in range(1, 7))


class DCGAN(AdversarialModel):
    """A generator and a discriminator of images in [-1, 1], of 4 x 4 convolutions with stride 2.

    The networks are those of the example of torch: 3,576,704 and 2,765,568 parameters by default. The generator starts
    from a grid of 4 to 7 pixels, and doubles it. Each doubling halves the channels, down to ``width``. The
    discriminator is its reverse. Kernels are initialized by N(0, 0.02), scales of batch normalization by N(1, 0.02).

    The critic of a Wasserstein GAN with gradient penalty is ``discriminator_norm="none"``.

    Attributes:
        image_size: Height and width of the images: 4, 5, 6 or 7 times a power of two.
        channels: C, channels of the images.
        latent: Z, size of a latent code.
        width: Channels of the largest hidden feature maps.
        discriminator_norm: ``"batch"``, ``"spectral"`` (Miyato et al. 2018, arXiv:1802.05957) or ``"none"``. With
            ``"batch"``, the convolutions have no bias.
        num_classes: Classes of a conditional network; 0: no labels.
        pack: Examples that the discriminator sees at once, see ``pack_examples``.
        minibatch_std: Whether the last feature map of the discriminator has the channel of ``minibatch_std``.
        dtype: Compute dtype; images and logits are at least float32.
    """

    image_size: int = 64
    channels: int = 3
    latent: int = 100
    width: int = 64
    discriminator_norm: str = "batch"
    num_classes: int = 0
    pack: int = 1
    minibatch_std: bool = False
    dtype: Dtype = jnp.float32

    def setup(self):
        grid, doublings = grid_and_doublings(self.image_size)
        check_choice("discriminator_norm", self.discriminator_norm, ("batch", "spectral", "none"))
        widths = tuple(self.width * 2**level for level in range(doublings))
        self.generator = DCGANGenerator(grid, widths[::-1], self.channels, self.dtype)
        self.discriminator = DCGANDiscriminator(widths, self.discriminator_norm, self.minibatch_std, self.dtype)

    def check_image(self, height: int, width: int) -> None:
        """Raises a ``ValueError`` unless images are square, of a possible ``image_size``."""
        if height != width:
            raise ValueError(f"the images of generative.DCGAN must be square, got {height} x {width}")
        grid_and_doublings(height)

    def discriminate(
        self, xs: Float[Array, "B H W C"], labels: Integer[Array, " B"] | None = None, train: bool = False
    ) -> Float[Array, " packs"]:
        """Computes the logits ``[B / pack]`` that images ``[B, H, W, C]`` are real; see ``AdversarialModel``."""
        shape = (self.image_size, self.image_size, self.channels)
        if xs.ndim != 4 or xs.shape[1:] != shape:
            raise ValueError(f"`xs` must be images of shape [B, {', '.join(map(str, shape))}], got {xs.shape}")
        return super().discriminate(xs, labels, train)


class DCGANGenerator(nn.Module):
    """The generator of ``DCGAN``.

    Attributes:
        grid: Height and width of the first feature map.
        widths: Channels of the feature maps.
        channels: Channels of the images.
        dtype: Compute dtype.
    """

    grid: int
    widths: tuple[int, ...]
    channels: int
    dtype: Dtype

    @nn.compact
    def __call__(self, codes: Float[Array, "B latent"], train: bool) -> Float[Array, "B H W C"]:
        """Maps codes ``[B, Z]`` to images ``[B, H, W, C]``."""
        norm = functools.partial(_batch_norm, dtype=self.dtype)
        units = self.grid**2 * self.widths[0]
        x = nn.Dense(units, use_bias=False, kernel_init=INIT, dtype=self.dtype, name="dense")(codes)
        x = nn.relu(norm("norm_1")(x.reshape(-1, self.grid, self.grid, self.widths[0]), train))
        for layer, width in enumerate((*self.widths[1:], self.channels), 1):
            x = ConvTranspose(width, use_bias=False, kernel_init=INIT, dtype=self.dtype, name=f"conv_{layer}")(x)
            if layer < len(self.widths):
                x = nn.relu(norm(f"norm_{layer + 1}")(x, train))
        return jnp.tanh(x.astype(at_least_float32(self.dtype)))


class DCGANDiscriminator(nn.Module):
    """The discriminator of ``DCGAN``.

    Attributes:
        widths: Channels of the feature maps.
        norm: ``"batch"``, ``"spectral"`` or ``"none"``.
        minibatch_std: Whether the last feature map has the channel of ``minibatch_std``.
        dtype: Compute dtype.
    """

    widths: tuple[int, ...]
    norm: str
    minibatch_std: bool
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool) -> Float[Array, " B"]:
        """Maps images ``[B, H, W, C]`` to logits ``[B]``."""
        shared: dict[str, Any] = {"use_bias": self.norm != "batch", "kernel_init": INIT}
        for layer, width in enumerate(self.widths, 1):
            product = self._normalized(
                _convolve_critic if self.norm == "none" else convolve, f"spectral_{layer}", train
            )
            conv = functools.partial(nn.Conv, strides=2, padding=1, dtype=self.dtype, conv_general_dilated=product)
            x = conv(width, (4, 4), name=f"conv_{layer}", **shared)(x)
            if self.norm == "batch" and layer > 1:
                x = _batch_norm(f"norm_{layer}", self.dtype)(x, train)
            x = nn.leaky_relu(x, 0.2)
        if self.minibatch_std:
            x = minibatch_std(x)
        product = self._normalized(dot_general, "spectral_head", train)
        head = nn.Dense(1, dtype=at_least_float32(self.dtype), dot_general=product, name="head", **shared)
        return head(x.reshape(len(x), -1))[:, 0]

    def _normalized(self, product: Callable, name: str, train: bool) -> Callable:
        """Returns a product with kernels of spectral norm 1, if the norm is ``"spectral"``."""
        if self.norm != "spectral":
            return product
        spectral = SpectralNorm(name=name)
        return lambda x, kernel, *args, **options: product(x, spectral(kernel, train), *args, **options)


def grid_and_doublings(image_size: int) -> tuple[int, int]:
    """Returns the height of the smallest feature map of ``DCGAN``, 4 to 7, and the number of doublings to the image.

    Raises:
        ValueError: The size is not such a height times 2, 4, 8, ...
    """
    check_integer("image_size", image_size)
    grid, doublings = image_size, 0
    while grid % 2 == 0 and grid >= 2 * GRIDS[0]:
        grid, doublings = grid // 2, doublings + 1
    if grid not in GRIDS or not doublings:
        possible = ", ".join(map(str, POSSIBLE))
        raise ValueError(f"`image_size` must be 4, 5, 6 or 7 times a power of two ({possible}), got {image_size}")
    return grid, doublings


def _convolve_critic(x: jax.Array, kernel: jax.Array, *args: Any, **options: Any) -> jax.Array:
    """Computes ``lax.conv_general_dilated`` on any mesh.

    The gradient of a gradient penalty takes 1.3 to 2 times as long with ``convolve``, whose kernel gradients are made
    for first derivatives.
    """
    return on_any_mesh(lambda x, kernel: lax.conv_general_dilated(x, kernel, *args, **options), x, kernel)


def _batch_norm(name: str, dtype: Dtype) -> BatchNorm:
    return BatchNorm(scale_init=_scale_init, dtype=dtype, name=name)


def _scale_init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    return 1 + INIT(key, shape, dtype)
