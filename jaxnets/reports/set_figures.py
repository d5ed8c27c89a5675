"""Reports on models of sets, whatever their task; a config adds them to those of the task.

Each is ``(variables, splits, key, *, model) -> {name: figure}`` and shows a set of the first batch to validate on;
nothing where the model is another.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets.sets import HistNetQ, SetTransformer, bins_init, votes

if TYPE_CHECKING:  # imported where something is drawn: to evaluate or export needs none
    from matplotlib.figure import Figure

SHOWN = 4


def histograms(
    variables: Mapping[str, Any], splits: Mapping[str, Any], key: jax.Array, *, model: nn.Module
) -> "dict[str, Figure]":
    """The votes for learned bins of a ``HistNetQ``, before and after, and the histogram of one set."""
    shown = _first_set(splits)
    if shown is None or not isinstance(model, HistNetQ) or not model.learnable:
        return {}
    return {"histograms": _histograms(model, variables, *shown)}


def inducing_points(
    variables: Mapping[str, Any], splits: Mapping[str, Any], key: jax.Array, *, model: nn.Module
) -> "dict[str, Figure]":
    """The attention of the inducing points of a ``SetTransformer`` to one set of points in two or three dimensions."""
    shown = _first_set(splits)
    if (
        shown is None
        or not isinstance(model, SetTransformer)
        or not (model.num_inducing_points and model.num_encoder_blocks)
    ):
        return {}
    return {"inducing_points": _inducing(model, variables, *shown)} if shown[0].shape[-1] in (2, 3) else {}


def _first_set(splits: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """The elements of a set, and which of them are real; None where no set has any."""
    batch = splits["validation"][0]
    filled = np.flatnonzero(batch["valid"].any(1) & batch["mask"])
    return (batch["inputs"][filled[:1]], batch["valid"][filled[:1]]) if len(filled) else None


def _histograms(model: HistNetQ, variables: Mapping[str, Any], inputs: np.ndarray, valid: np.ndarray) -> "Figure":
    """Of some features: the votes for each bin before and after learning, and the histogram of one set."""
    from matplotlib.figure import Figure

    learned: Any = variables["params"]["histogram"]
    xs: Any = model.apply(variables, inputs, valid, method="elements")
    features = min(xs.shape[-1], SHOWN)
    rows = {"bins at first": bins_init(model.kind, xs.shape[-1], model.num_bins), "bins learned": learned}
    grid = np.linspace(0, 1, 1001)
    figure = Figure(figsize=(4 * max(features, 2), 5))
    panels = figure.subplots(2, features, squeeze=False)
    for row, (when, bins) in enumerate(rows.items()):
        curves = np.asarray(votes(model.kind, bins, jnp.broadcast_to(grid[:, None], (len(grid), xs.shape[-1]))))
        found = np.asarray(votes(model.kind, bins, xs[0][valid[0]])).mean(0)
        for column in range(features):
            axes = panels[row, column]
            axes.plot(grid, curves[:, column], lw=0.8)
            axes.set(xlim=(0, 1), ylim=(0, None), title=f"{when}: feature {column}", xlabel="x" if row else None)
            bars = axes.twinx()
            centers = np.asarray(bins["centers"][column])
            centers = np.sort(centers) if model.kind == "linear" else centers  # as its votes are
            bars.bar(centers, found[column], 0.7 / model.num_bins, color="0.5", alpha=0.5)
            bars.set(ylim=(0, 1.5 * max(found[column].max(), 1e-6)), yticks=[])
        panels[row, 0].set_ylabel("vote for each bin")
    figure.suptitle("votes of a number x for each bin (lines), and the histogram of a set (bars)")
    figure.tight_layout()
    return figure


def _inducing(model: SetTransformer, variables: Mapping[str, Any], inputs: np.ndarray, valid: np.ndarray) -> "Figure":
    """Which elements of one set the inducing points of the last block look at, the mean of its heads."""
    from matplotlib.figure import Figure

    look = jax.jit(lambda v, xs, valid: model.apply(v, xs, valid, method="inducing_weights")[-1])
    weights = np.asarray(look(variables, inputs, valid))[0].mean(0)
    real = valid[0]
    points, columns = inputs[0][real], 4
    shown = min(len(weights), 2 * columns)
    figure = Figure(figsize=(3 * columns, 3 * -(-shown // columns)))
    panels = figure.subplots(-(-shown // columns), columns, squeeze=False)
    for i, axes in enumerate(panels.flat):
        axes.set_axis_off()
        if i >= shown:
            continue
        seen = weights[i][real]
        order = np.argsort(seen)
        axes.scatter(*points[order, :2].T, c=seen[order], cmap="viridis_r", vmin=0, vmax=seen.max(), s=10)
        axes.set(aspect="equal", title=f"point {i}: at most {seen.max():.1%}")
    figure.suptitle(f"how much inducing points look at each of {len(points)} elements (dark: most)")
    figure.tight_layout()
    return figure
