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

    The series ``[T, D]`` are vectors of T * D numbers. Parameters: ``mean [T * D]``, ``components [k, T * D]``.

    Attributes:
        num_components: k.
    """

    num_components: int = 8

    @nn.compact
    def __call__(
        self, xs: Float[Array, "B T D"], *, lengths: None = None, train: bool = False
    ) -> Float[Array, "B T D"]:
        """Reconstructs series of the length of the training series. ``lengths`` must be None; ``train`` is ignored."""
        rows = _rows(self, xs, lengths)
        check_integer("num_components", self.num_components)
        mean = self.param("mean", nn.initializers.zeros, rows.shape[1:])
        components = self.param("components", nn.initializers.zeros, (self.num_components, rows.shape[1]))
        codes = jnp.matmul(rows - mean[None], components.T, precision="highest")
        return (mean[None] + jnp.matmul(codes, components, precision="highest")).reshape(xs.shape)

    def fit(self, variables: Any, batch: Any) -> Any:
        """Returns the variables that are fitted to a batch of all training data.

        Args:
            variables: Not used.
            batch: ``inputs [B, T, D]`` and ``mask [B]``.

        Raises:
            ValueError: If there are more components than rows or than numbers of a row.
        """
        rows, mask = _rows(self, batch["inputs"], batch.get("lengths")), batch["mask"][:, None]
        if self.num_components > min(rows.shape):
            raise ValueError(
                f"`num_components` must be at most {min(rows.shape)} for {rows.shape[0]} training series of "
                f"{rows.shape[1]} numbers, got {self.num_components}"
            )
        count = jnp.maximum(jnp.sum(mask), 1).astype(rows.dtype)
        mean = jnp.sum(jnp.where(mask, rows, 0), axis=0) / count
        _, _, components = jnp.linalg.svd(jnp.where(mask, rows - mean[None], 0), full_matrices=False)
        return {"params": {"mean": mean, "components": components[: self.num_components]}}


class NearestSeries(nn.Module):
    """The training series at the smallest Euclidean distance, as a reconstruction.

    Its error is the score of the nearest neighbor. Parameters: ``rows [N, T * D]``, the training series.
    """

    @nn.compact
    def __call__(
        self, xs: Float[Array, "B T D"], *, lengths: None = None, train: bool = False
    ) -> Float[Array, "B T D"]:
        """Returns the nearest training series. ``lengths`` must be None; ``train`` is ignored."""
        rows = _rows(self, xs, lengths)
        # Not by `param` alone, which would compare their number with that of the initial value.
        known = self.has_variable("params", "rows")
        initial = lambda: self.param("rows", nn.initializers.zeros, (1, rows.shape[1]))
        stored: Any = self.get_variable("params", "rows") if known else initial()
        distances = lambda row: jnp.sum((stored - row[None]) ** 2, axis=1)  # exact: no difference of large squares
        nearest = jax.lax.map(lambda row: jnp.argmin(distances(row)), rows, batch_size=min(ROWS, max(len(rows), 1)))
        return stored[nearest].reshape(xs.shape)

    def fit(self, variables: Any, batch: Any) -> Any:
        """Returns the variables that hold a batch of all training data; masked rows are infinitely far."""
        rows = _rows(self, batch["inputs"], batch.get("lengths"))
        return {"params": {"rows": jnp.where(batch["mask"][:, None], rows, jnp.inf)}}


def _rows(model: nn.Module, xs: jax.Array, lengths: Any) -> jax.Array:
    """Returns series as vectors ``[B, T * D]``."""
    check_floating("xs", xs, "[B, T, D]", 3)
    if lengths is not None:
        raise ValueError(f"the series must have equal lengths for {type(model).__name__}, got series with `lengths`")
    return xs.reshape(len(xs), -1).astype(jnp.float32)
