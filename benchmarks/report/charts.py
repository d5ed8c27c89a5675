"""Charts of the report, one per family, of the times in the results."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report.recurrences import ratios_of


def recurrence(result: dict[str, Any]) -> Figure:
    """Plots the time of a gradient relative to jaxnets, with a bar for each row and library."""
    rows = [row for row in result["rows"] if "gradient" in row]
    labels = [f"{row['cell']} {'x'.join(map(str, row['shape']))}" for row in rows]
    values = [{name: 1 / ratio for name, ratio in ratios_of(row, "gradient").items() if ratio} for row in rows]
    figure = Figure(figsize=(10, 0.42 * len(rows) + 1.4))
    axes = figure.subplots()
    axes.axvline(1, color="black", lw=1.5, label="jaxnets")
    _bars(axes, labels, values)
    axes.set(xscale="log", xlabel="time of a gradient relative to jaxnets (above 1: slower than jaxnets)")
    return figure


def attention(result: dict[str, Any]) -> Figure:
    """Plots the time and the memory of gradients against T."""
    return _against_size(result["attention"], "length", "T (B x T = 4096 up to T = 2048)")


def sets(result: dict[str, Any]) -> Figure:
    """Plots the time and the memory of gradients against the number of elements of a set."""
    return _against_size(result["sets"], "size", "number of elements")


def convolution(result: dict[str, Any]) -> Figure:
    """Plots the time of training and inference relative to jaxnets, with a bar for each model and implementation."""
    rows = result["convolution"]
    figure = Figure(figsize=(10, 0.4 * len(rows) + 1.6))
    for axes, which in zip(figure.subplots(1, 2), ("gradient", "forward"), strict=True):
        relative = [
            {name: row[which][name]["ms"] / row[which]["jaxnets"]["ms"] for name in row[which] if name != "jaxnets"}
            for row in rows
        ]
        axes.axvline(1, color="black", lw=1.5, label="jaxnets")
        _bars(axes, [row["model"] for row in rows], relative)
        title = "training step" if which == "gradient" else "forward pass"
        axes.set(xlabel=f"time of a {title} relative to jaxnets")
    return figure


def scaling(result: dict[str, Any]) -> Figure:
    """Plots the time of a step on several simulated devices relative to one device."""
    figure = Figure(figsize=(10, 3.5))
    panels = figure.subplots(1, len(result["scaling"]), squeeze=False).flat
    for axes, (model, cases) in zip(panels, result["scaling"].items(), strict=True):
        for name, times in cases.items():
            # In weak scaling, the devices share the cores, so that the work grows with their number.
            work = (lambda devices: int(devices)) if name == "weak" else (lambda devices: 1)
            relative = [ms / times["1"] / work(devices) for devices, ms in times.items()]
            axes.plot([int(devices) for devices in times], relative, "o-", label=name)
        axes.axhline(1, color="black", lw=0.8)
        axes.set(title=model, xlabel="simulated devices", ylabel="time per row, relative to 1 device", ylim=(0, None))
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    return figure


def windows(result: dict[str, Any]) -> Figure:
    """Draws windows per second."""
    rows = result["windows"]
    figure = Figure(figsize=(7, 1 + len(rows)))
    axes = figure.subplots()
    _bars(axes, [f"batch of {row['batch_size']}" for row in rows], [row["per_second"] for row in rows])
    axes.set_xlabel("windows per second")
    return figure


def crf(result: dict[str, Any]) -> Figure:
    """Plots the times of conditional random fields relative to jaxnets, with a bar for each size and implementation."""
    rows = result["crf"]
    figure = Figure(figsize=(10, 0.5 * len(rows) + 1.4))
    for axes, which in zip(figure.subplots(1, 2), ("gradient", "Viterbi"), strict=True):
        relative = [
            {name: 1 / found["ratio"] for name, found in row[which].items() if name != "jaxnets"} for row in rows
        ]
        axes.axvline(1, color="black", lw=1.5, label="jaxnets")
        _bars(axes, [f"T {row['length']}, K {row['num_tags']}" for row in rows], relative)
        axes.set(xscale="log", title=which, xlabel="time relative to jaxnets (above 1: slower than jaxnets)")
    return figure


def _against_size(rows: list[dict[str, Any]], size: str, label: str) -> Figure:
    """Plots the time and the temporary memory of gradients against a size, with a column for each part."""
    parts = list(dict.fromkeys(row["part"] for row in rows))
    figure = Figure(figsize=(4 * len(parts) + 1, 6))
    panels = figure.subplots(2, len(parts), sharex="col", squeeze=False)
    names = list(dict.fromkeys(name for row in rows for name in row["gradient"]))
    for column, part in enumerate(parts):
        for name in names:
            of_name = [row for row in rows if row["part"] == part and name in row["gradient"]]
            for axes, key in zip(panels[:, column], ("ms", "mb"), strict=True):
                points = [(row[size], row["gradient"][name][key]) for row in of_name]
                points = [(x, y) for x, y in points if y is not None]
                if points:
                    style = "o-" if name.startswith("jaxnets") else "o--"
                    axes.loglog(*zip(*points, strict=True), style, color=f"C{names.index(name)}", label=name)
        panels[0, column].set(title=part, ylabel="ms per gradient")
        panels[1, column].set(xlabel=label, ylabel="temporary MB")
        panels[0, column].legend(fontsize=8)
        for axes in panels[:, column]:
            axes.grid(alpha=0.3)
    return figure


def _bars(axes: Axes, labels: list[str], values: list[dict[str, float]]) -> None:
    """Draws groups of horizontal bars, one group for each label and one color for each name."""
    names = list(dict.fromkeys(name for group in values for name in group))
    height = 0.8 / max(len(names), 1)
    for i, name in enumerate(names):
        bars = [(y + (i + 0.5) * height - 0.4, group[name]) for y, group in enumerate(values) if name in group]
        axes.barh([y for y, _ in bars], [x for _, x in bars], height, label=name, color=f"C{i}")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.legend(fontsize=8, ncols=len(names) + 1, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    axes.grid(axis="x", alpha=0.3)
