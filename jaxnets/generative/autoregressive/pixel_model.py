"""Base classes of autoregressive models of images."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.generative.autoregressive.causal import Rows
from jaxnets.generative.autoregressive.levels import from_levels, to_levels
from jaxnets.generative.autoregressive.masked_conv import MaskedConv
from jaxnets.generative.autoregressive.sampling import sample_images
from jaxnets.generative.labels import one_hot_labels
from jaxnets.generative.variational.likelihoods import bernoulli_log_prob
from jaxnets.ops.array_types import Array, Float, Integer, Key
from jaxnets.ops.checks import check_integer
from jaxnets.ops.dtypes import at_least_float32


class PixelModel(nn.Module):
    r"""Base class of models :math:`p(x) = \prod_i p(x_i | x_1, \dots, x_{i-1})` of the pixels in raster order.

    Pixels are levels of 0 ... L - 1, given as numbers from -1 to 1, see ``levels.from_levels``. A subclass has the
    attributes ``image_shape`` (of samples; the network accepts any height and width), ``num_levels`` and
    ``num_classes``, and the methods ``network``, ``log_prob`` and ``draw``.

    Attributes:
        block_rows: Rows that the network needs at once, see ``sample_images``.
        groups: Groups of channels that are sampled one after the other.
    """

    @property
    def channels(self: Any) -> int:
        return self.image_shape[-1]

    @property
    def block_rows(self) -> int:
        return 1

    @property
    def groups(self) -> int:
        return 1

    def sample(
        self: Any,
        variables: Any,
        keys: Key[Array, " B"],
        labels: Integer[Array, " B"] | None = None,
    ) -> Float[Array, "B H W C"]:
        """Samples images of ``image_shape``, one for each key, see ``sample_images``.

        Args:
            variables: The variables of the model.
            keys: Random keys ``[B]``.
            labels: As in ``__call__``.

        Returns:
            Pixels in [-1, 1], ``[B, H, W, C]``.
        """
        step = lambda xs, before: self.apply(variables, xs, before, labels, method="rows")
        return sample_images(step, self.draw, keys, tuple(self.image_shape), self.block_rows, self.groups)

    def __call__(
        self, xs: Float[Array, "B H W C"], labels: Integer[Array, " B"] | None = None, train: bool = False
    ) -> Float[Array, "B H W ..."]:
        """Computes the parameters of the distribution of each pixel given those before it.

        Args:
            xs: Pixels in [-1, 1], ``[B, H, W, C]``.
            labels: Integers ``[B]`` for a model of classes, else None.
            train: Whether to apply dropout, which needs ``rngs={"dropout": key}``.

        Raises:
            ValueError: The images have another shape; labels are missing, not expected, or wrong.
        """
        return self.rows(xs, None, labels, train)[0]

    def rows(
        self: Any,
        xs: Float[Array, "B rows W C"],
        before: Sequence[jax.Array] | None,
        labels: Integer[Array, " B"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B rows W ..."], list[jax.Array]]:
        """Computes the outputs of the next rows of images, in blocks from the top.

        Args:
            xs: ``[B, R, W, C]``; R is a multiple of ``block_rows``.
            before: The second result for the block above; None for the first one.
            labels, train: As in ``__call__``.

        Returns:
            The outputs, equal to those of the whole image, and the last rows of all layers.
        """
        if len(self.image_shape) != 3:
            raise ValueError(f"`image_shape` must be height, width and channels, got {tuple(self.image_shape)}")
        check_integer("num_levels", self.num_levels, minimum=2)
        if xs.ndim != 4 or xs.shape[-1] != self.channels:
            raise ValueError(f"`xs` must be pixels [B, H, W, {self.channels}], got shape {xs.shape}")
        if xs.shape[1] % self.block_rows or xs.shape[2] % self.block_rows:
            size = " x ".join(map(str, xs.shape[1:3]))
            raise ValueError(f"height and width of `xs` must be multiples of {self.block_rows}, got {size}")
        rows = Rows(before)
        classes = one_hot_labels(labels, self.num_classes, len(xs))
        return self.network(xs, rows, classes, train), rows.last

    def class_bias(
        self: Any, classes: Float[Array, "B K"] | None, features: int, name: str, **options: Any
    ) -> Float[Array, "..."]:
        """Returns a bias for each class, ``[B, 1, 1, features]``; 0 for a model without classes."""
        if classes is None:
            return jnp.zeros((), self.dtype)
        dense = nn.Dense(features, use_bias=False, dtype=self.dtype, name=name, **options)
        return dense(classes)[:, None, None]

    def log_prob(self, outputs: Float[Array, "B H W ..."], xs: Float[Array, "B H W C"]) -> Float[Array, " B"]:
        """Returns the log-likelihood of images in nats, ``[B]``, from the outputs for ``xs``."""
        raise NotImplementedError

    def draw(self, key: Key[Array, ""], outputs: Float[Array, "..."]) -> Float[Array, " C"]:
        """Samples a pixel from its outputs."""
        raise NotImplementedError


class CategoricalPixelModel(PixelModel):
    """Base class of models whose pixels are bits or categories, each channel given the channels before it."""

    @property
    def groups(self: Any) -> int:
        return self.channels

    def check_features(self: Any, **features: int) -> None:
        """Raises a ``ValueError`` unless numbers of features can be divided by the channels of the images."""
        for name, count in features.items():
            check_integer(name, count)
            if count % self.channels:
                raise ValueError(f"`{name}` must be a multiple of the {self.channels} channels, got {count}")

    def masked(self: Any, features: int, size: int, name: str, **options: Any) -> MaskedConv:
        """Returns a masked convolution with a square kernel in the groups of the channels."""
        options = {"dtype": self.dtype, **options}
        return MaskedConv(features, (size, size), groups=self.channels, name=name, **options)

    def outputs_of(self: Any, x: Float[Array, "B rows W F"], rows: Rows) -> Float[Array, "B rows W ..."]:
        """Returns logits ``[B, R, W, C]`` of the level 1 for bits, else ``[B, R, W, C, L]``, by two 1 x 1 layers."""
        shape = (self.channels,) if self.num_levels == 2 else (self.channels, self.num_levels)
        x = self.masked(self.head, 1, "head")(jax.nn.relu(x), rows)
        output = self.masked(math.prod(shape), 1, "output", dtype=at_least_float32(self.dtype))
        return output(jax.nn.relu(x), rows).reshape(*x.shape[:-1], *shape)

    def log_prob(self: Any, outputs: Float[Array, "B H W ..."], xs: Float[Array, "B H W C"]) -> Float[Array, " B"]:
        levels = to_levels(xs, self.num_levels)
        if self.num_levels == 2:
            return bernoulli_log_prob(outputs.reshape(len(xs), -1), levels.reshape(len(xs), -1))
        index = jnp.round(levels).astype(jnp.int32)[..., None]
        log_probs = jnp.take_along_axis(jax.nn.log_softmax(outputs), index, axis=-1)
        return jnp.sum(log_probs, axis=(1, 2, 3, 4))

    def draw(self: Any, key: Key[Array, ""], outputs: Float[Array, "..."]) -> Float[Array, " C"]:
        if self.num_levels == 2:
            levels = jax.random.bernoulli(key, jax.nn.sigmoid(outputs))
        else:
            levels = jax.random.categorical(key, outputs)
        return from_levels(levels.astype(jnp.float32), self.num_levels)
