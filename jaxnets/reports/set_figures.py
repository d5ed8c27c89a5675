"""Reports on models of sets, which a config can add to the reports of its task.

A report is ``(variables, splits, key, *, model) -> {name: figure}``. It draws a set of the first validation batch, and
returns an empty dict for other models.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets.sets import HistNetQ, SetTransformer, bins_init, votes

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

MAX_FEATURES = 4  # in a figure


def histograms(
    variables: Mapping[str, Any], splits: Mapping[str, Any], key: jax.Array, *, model: nn.Module
) -> "dict[str, Figure]":
    """Draws the bins of a ``HistNetQ`` before and after training, with the histogram of one set."""
    shown = _first_set(splits)
    if shown is None or not isinstance(model, HistNetQ) or not model.learnable:
        return {}
    return {"histograms": _histograms(model, variables, *shown)}


def inducing_points(
    variables: Mapping[str, Any], splits: Mapping[str, Any], key: jax.Array, *, model: nn.Module
) -> "dict[str, Figure]":
    """Draws the attention of the inducing points of a ``SetTransformer`` to one set of points in 2 or 3 dimensions."""
    shown = _first_set(splits)
    if (
        shown is None
        or not isinstance(model, SetTransformer)
        or not (model.num_inducing_points and model.num_encoder_blocks)
    ):
        return {}
    return {"inducing_points": _inducing(model, variables, *shown)} if shown[0].shape[-1] in (2, 3) else {}


def _first_set(splits: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the elements and the mask of the first set with valid elements; None if there is none."""
    batch = splits["validation"][0]
    nonempty = np.flatnonzero(batch["valid"].any(1) & batch["mask"])
    return (batch["inputs"][nonempty[:1]], batch["valid"][nonempty[:1]]) if len(nonempty) else None


def _histograms(model: HistNetQ, variables: Mapping[str, Any], inputs: np.ndarray, valid: np.ndarray) -> "Figure":
    """Draws, for some features, the votes for each bin before and after training, and the histogram of one set."""
    from matplotlib.figure import Figure

    trained: Any = variables["params"]["histogram"]
    xs: Any = model.apply(variables, inputs, valid, method="elements")
    features = min(xs.shape[-1], MAX_FEATURES)
    rows = {"initial bins": bins_init(model.kind, xs.shape[-1], model.num_bins), "trained bins": trained}
    grid = np.linspace(0, 1, 1001)
    figure = Figure(figsize=(4 * max(features, 2), 5))
    panels = figure.subplots(2, features, squeeze=False)
    for row, (title, bins) in enumerate(rows.items()):
        curves = np.asarray(votes(model.kind, bins, jnp.broadcast_to(grid[:, None], (len(grid), xs.shape[-1]))))
        histogram = np.asarray(votes(model.kind, bins, xs[0][valid[0]])).mean(0)
        for column in range(features):
            axes = panels[row, column]
            axes.plot(grid, curves[:, column], lw=0.8)
            axes.set(xlim=(0, 1), ylim=(0, None), title=f"{title}, feature {column}", xlabel="x" if row else None)
            bars = axes.twinx()
            centers = np.asarray(bins["centers"][column])
            centers = np.sort(centers) if model.kind == "linear" else centers  # votes of linear bins are sorted
            bars.bar(centers, histogram[column], 0.7 / model.num_bins, color="0.5", alpha=0.5)
            bars.set(ylim=(0, 1.5 * max(histogram[column].max(), 1e-6)), yticks=[])
        panels[row, 0].set_ylabel("vote for each bin")
    figure.suptitle("votes for each bin as functions of x (lines), and the histogram of one set (bars)")
    figure.tight_layout()
    return figure


def _inducing(model: SetTransformer, variables: Mapping[str, Any], inputs: np.ndarray, valid: np.ndarray) -> "Figure":
    """Draws the attention weights of the inducing points of the last block, averaged over its heads."""
    from matplotlib.figure import Figure

    attend = jax.jit(lambda v, xs, valid: model.apply(v, xs, valid, method="inducing_weights")[-1])
    weights = np.asarray(attend(variables, inputs, valid))[0].mean(0)
    mask = valid[0]
    points, columns = inputs[0][mask], 4
    shown = min(len(weights), 2 * columns)
    figure = Figure(figsize=(3 * columns, 3 * -(-shown // columns)))
    panels = figure.subplots(-(-shown // columns), columns, squeeze=False)
    for i, axes in enumerate(panels.flat):
        axes.set_axis_off()
        if i >= shown:
            continue
        attention = weights[i][mask]
        order = np.argsort(attention)
        axes.scatter(*points[order, :2].T, c=attention[order], cmap="viridis_r", vmin=0, vmax=attention.max(), s=10)
        axes.set(aspect="equal", title=f"point {i}: maximum {attention.max():.1%}")
    figure.suptitle(f"attention of inducing points to {len(points)} elements (dark: high)")
    figure.tight_layout()
    return figure
