"""Dropout that also runs on meshes with explicit axes."""

from typing import Any

from flax import linen as nn
from jax.sharding import PartitionSpec

from jaxnets.ops.array_types import Array, Inexact
from jaxnets.ops.meshes import call_auto_sharded, spec_of


class Dropout(nn.Dropout):
    """``flax.linen.Dropout`` with a random mask that is sharded as the input.

    Linen's mask has no sharding, and JAX refuses to combine it with a sharded input on an explicit mesh.
    """

    @nn.compact
    def __call__(
        self, inputs: Inexact[Array, "*shape"], deterministic: bool | None = None, rng: Any = None
    ) -> Inexact[Array, "*shape"]:
        """Applies dropout to an array of any shape; arguments as in ``flax.linen.Dropout``."""
        if nn.merge_param("deterministic", self.deterministic, deterministic) or self.rate == 0:
            return inputs
        key = self.make_rng(self.rng_collection) if rng is None else rng
        dropout = nn.Dropout(self.rate, self.broadcast_dims, deterministic=False, parent=None)
        apply = lambda inputs, key: dropout.apply({}, inputs, rng=key)
        return call_auto_sharded(apply, lambda _: PartitionSpec(*spec_of(inputs)), inputs, key)
