"""Linen's dropout on meshes whose axes are explicit, too."""

from typing import Any

import jax
from flax import linen as nn
from jax.sharding import PartitionSpec

from jaxnets.ops.meshes import automatic, spec_of


class Dropout(nn.Dropout):
    """``flax.linen.Dropout``, whose draw is divided over devices as its input is.

    Linen's selects by a draw without a sharding, which JAX refuses on an explicit mesh.
    """

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool | None = None, rng: Any = None) -> jax.Array:
        """An array of any shape to the same, as ``flax.linen.Dropout``."""
        if nn.merge_param("deterministic", self.deterministic, deterministic) or self.rate == 0:
            return inputs
        key = self.make_rng(self.rng_collection) if rng is None else rng
        plain = nn.Dropout(self.rate, self.broadcast_dims, deterministic=False, parent=None)
        drop = lambda inputs, key: plain.apply({}, inputs, rng=key)
        return automatic(drop, lambda _: PartitionSpec(*spec_of(inputs)), inputs, key)
