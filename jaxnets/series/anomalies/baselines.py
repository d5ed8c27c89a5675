"""Baselines of anomaly detection: principal components, and the nearest training series."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxnets.ops.array_types import Array, Float
from jaxnets.ops.checks import check_floating, check_integer

ROWS = 64  # series at a time, to save memory


class PrincipalComponents(nn.Module):
    r"""The projection of series onto their first k principal components, fitted in closed form:

    .. math:: \hat x = \mu + V_k V_k^\top (x - \mu)

    The series ``[T, D]`` are vectors of T * D numbers. Parameters: ``mean [T, D]``, ``components [k, T, D]``.

    Attributes:
        num_components: k.
    """

    num_components: int = 8

    @nn.compact
    def __call__(
        self, xs: Float[Array, "B T D"], *, lengths: None = None, train: bool = False
    ) -> Float[Array, "B T D"]:
        """Reconstructs series of the length of the training series. ``lengths`` must be None; ``train`` is ignored."""
        xs = _checked(self, xs, lengths)
        check_integer("num_components", self.num_components)
        mean = _stored(self, "mean", xs.shape[1:], xs)
        components = _stored(self, "components", (self.num_components, *xs.shape[1:]), xs)
        codes = jnp.einsum("btd,ktd->bk", xs - mean[None], components, precision="highest")
        return mean[None] + jnp.einsum("bk,ktd->btd", codes, components, precision="highest")

    def fit(self, variables: Any, batch: Any) -> Any:
        """Returns the variables that are fitted to a batch of all training data.

        Args:
            variables: Not used.
            batch: ``inputs [B, T, D]`` and ``mask [B]``.

        Raises:
            ValueError: If there are more components than rows or than numbers of a row.
        """
        xs, mask = _checked(self, batch["inputs"], batch.get("lengths")), batch["mask"][:, None]
        rows = xs.reshape(len(xs), -1)
        if self.num_components > min(rows.shape):
            raise ValueError(
                f"`num_components` must be at most {min(rows.shape)} for {rows.shape[0]} training series of "
                f"{rows.shape[1]} numbers, got {self.num_components}"
            )
        count = jnp.maximum(jnp.sum(mask), 1).astype(rows.dtype)
        mean = jnp.sum(jnp.where(mask, rows, 0), axis=0) / count
        _, _, components = jnp.linalg.svd(jnp.where(mask, rows - mean[None], 0), full_matrices=False)
        components = components[: self.num_components].reshape(-1, *xs.shape[1:])
        return {"params": {"mean": mean.reshape(xs.shape[1:]), "components": components}}


class NearestSeries(nn.Module):
    """The training series at the smallest Euclidean distance, as a reconstruction.

    Its error is the score of the nearest neighbor. Parameters: ``rows [N, T, D]``, the training series.
    """

    @nn.compact
    def __call__(
        self, xs: Float[Array, "B T D"], *, lengths: None = None, train: bool = False
    ) -> Float[Array, "B T D"]:
        """Returns the nearest training series. ``lengths`` must be None; ``train`` is ignored."""
        xs = _checked(self, xs, lengths)
        stored = _stored(self, "rows", (1, *xs.shape[1:]), xs)
        distances = lambda row: jnp.sum((stored - row[None]) ** 2, axis=(1, 2))  # exact: no difference of large squares
        nearest = jax.lax.map(lambda row: jnp.argmin(distances(row)), xs, batch_size=min(ROWS, max(len(xs), 1)))
        return stored[nearest]

    def fit(self, variables: Any, batch: Any) -> Any:
        """Returns the variables that hold a batch of all training data; masked rows are infinitely far."""
        xs = _checked(self, batch["inputs"], batch.get("lengths"))
        return {"params": {"rows": jnp.where(batch["mask"][:, None, None], xs, jnp.inf)}}


def _checked(model: nn.Module, xs: jax.Array, lengths: Any) -> jax.Array:
    """Returns series in float32. Raises a ``ValueError`` if they are ragged."""
    check_floating("xs", xs, "[B, T, D]", 3)
    if lengths is not None:
        raise ValueError(f"the series must have equal lengths for {type(model).__name__}, got series with `lengths`")
    return xs.astype(jnp.float32)


def _stored(model: nn.Module, name: str, initial: tuple[int, ...], xs: jax.Array) -> jax.Array:
    """Returns a fitted parameter ``[..., T, D]``, or zeros of an initial shape.

    ``param`` alone would compare the number of training series with that of the initial value.

    Raises:
        ValueError: If the series have another shape than the training series.
    """
    if not model.has_variable("params", name):
        return model.param(name, nn.initializers.zeros, initial, jnp.float32)
    value: Any = model.get_variable("params", name)
    if value.shape[-2:] != xs.shape[1:]:
        steps, channels = value.shape[-2:]
        raise ValueError(f"`xs` must have the shape of the training series, [B, {steps}, {channels}], got {xs.shape}")
    return value
