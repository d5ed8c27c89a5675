"""A U-Net that draws what a text says."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.attention import Block, sinusoidal
from jaxnets.generative.diffusion.unet import UNet
from jaxnets.modules.embed import Embed
from jaxnets.modules.norms import LayerNorm
from jaxnets.ops.array_types import Array, Float, Integer, Num
from jaxnets.ops.checks import checked_integers


class TextUNet(nn.Module):
    """A U-Net whose pixels attend to the words of a text, encoded by a transformer.

    The transformer has pre-norm blocks, sinusoidal positions and outputs of size ``unet.context_dim``. It is trained
    with the U-Net. A text of length 0 stands for no text.

    Attributes:
        unet: The U-Net, with a ``context_dim``.
        vocab_size: Word ids.
        num_layers: Blocks of the transformer.
        num_heads: Its attention heads.
    """

    unet: UNet
    vocab_size: int
    num_layers: int = 2
    num_heads: int = 4

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.unet, nn.Module) and not self.unet.context_dim:
            raise ValueError("`context_dim` of the U-Net must be at least 1 for texts, got 0")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(H, W, C)``."""
        return self.unet.image_shape

    @property
    def num_classes(self) -> int:
        """Classes of the U-Net."""
        return self.unet.num_classes

    @property
    def learned_variance(self) -> bool:
        """Whether outputs have twice as many channels."""
        return self.unet.learned_variance

    @nn.compact
    def __call__(
        self,
        xs: Float[Array, "B H W C"],
        times: Num[Array, " B"],
        tokens: Integer[Array, "B S"] | None = None,
        lengths: Integer[Array, " B"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B H W C"]:
        """Computes the prediction for noisy images.

        Args:
            xs: Noisy images, ``[B, H, W, C]``.
            times: Times, from 0 to about 1000, ``[B]``.
            tokens: Word ids, ``[B, S]``; None: no text.
            lengths: Words of each text, from 0 to S, ``[B]``; None: S.
            train: Whether to apply dropout.

        Returns:
            ``[B, H, W, C]``, or 2 C channels with ``learned_variance``.
        """
        if tokens is None:
            tokens, lengths = jnp.zeros((len(xs), 1), jnp.int32), jnp.zeros(len(xs), jnp.int32)
        if tokens.ndim != 2 or len(tokens) != len(xs):
            raise ValueError(f"`tokens` must be integers of shape [{len(xs)}, S], got shape {tokens.shape}")
        words = tokens.shape[1]
        lengths = jnp.full(len(xs), words, jnp.int32) if lengths is None else lengths
        lengths = checked_integers("lengths", lengths, (len(xs),), words)
        return self.unet(xs, times, context=self._encode(tokens, lengths), context_lengths=lengths, train=train)

    def _encode(self, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
        """Encodes texts, ``[B, S]`` to ``[B, S, D]``."""
        size, dtype = self.unet.context_dim, self.unet.dtype
        options: Any = {"causal": False, "dtype": dtype}
        xs = Embed(self.vocab_size, size, dtype=dtype, name="words")(tokens)
        xs = xs + sinusoidal(jnp.arange(tokens.shape[1], dtype=jnp.int32), size).astype(dtype)[None]
        for index in range(1, self.num_layers + 1):
            xs, _ = Block(size, self.num_heads, 4 * size, **options, name=f"block_{index}")(xs, lengths=lengths)
        return LayerNorm(epsilon=1e-5, dtype=dtype, name="norm")(xs)
