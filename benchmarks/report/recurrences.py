"""Sections of the report on recurrences: results of benchmarks.recurrent.recurrence, variants, long and linear."""

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.report.heading import heading

TARGETS = {
    "best": "at most 0.75 in the geometric mean, no row above 1.0",
    "torch": "at most 1.0 for GRU and Elman",
    "compile": "at most 1.5",
    "memory": "at most 0.25 at T 4096, in less than its time",
    "variants": "lengths and resets at most 1.05, peepholes and reset before at most 1.2",
    "long": "T = 10^6 in less than 2048 MB",
}


def peers_of(row: dict[str, Any], which: str) -> dict[str, float]:
    """Ratios of the row's first implementation, ours, by peer."""
    return {name: timing["ratio"] for name, timing in row[which].items() if not name.startswith("jaxnets")}


def best(row: dict[str, Any], which: str) -> float | None:
    """The ratio to the best JAX peer."""
    return max((ratio for name, ratio in peers_of(row, which).items() if name != "torch"), default=None)


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def table(result: dict[str, Any], which: str) -> list[str]:
    rows = [row for row in result["rows"] if which in row]
    names = list(dict.fromkeys(name for row in rows for name in peers_of(row, which)))
    head = ["cell", "B, T, D, H", "ms", "share", "MB", *names, "best JAX"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "--:|" * (len(head) - 2)]
    number = lambda value, form: "" if value is None else format(value, form)
    for row in rows:
        ours, ratios = next(iter(row[which].values())), peers_of(row, which)
        cells = [row["cell"], ", ".join(map(str, row["shape"])), f"{ours['ms']:.2f}", f"{ours['share']:.0%}"]
        cells += [number(ours["temporary_mb"], ".1f"), *(number(ratios.get(name), ".2f") for name in names)]
        lines.append("| " + " | ".join([*cells, number(best(row, which), ".2f")]) + " |")
    return lines


def summary(result: dict[str, Any]) -> list[str]:
    """What was aimed at and what was reached, for the gradient."""
    rows = [row for row in result["rows"] if "gradient" in row]
    ratios = {f"{row['cell']} {row['shape']}": found for row in rows if (found := best(row, "gradient")) is not None}
    lines = []
    if ratios:
        above = [f"{name} ({ratio:.2f})" for name, ratio in ratios.items() if ratio > 1]
        lines.append(
            f"Gradient against the best JAX peer: geometric mean {geometric_mean(list(ratios.values())):.2f} over "
            f"{len(ratios)} rows (aim: {TARGETS['best']}); above 1.0: {', '.join(above) or 'none'}."
        )
    of_torch = {f"{row['cell']} {row['shape']}": r for row in rows if (r := peers_of(row, "gradient").get("torch"))}
    if of_torch:
        above = [f"{name} ({ratio:.2f})" for name, ratio in of_torch.items() if ratio > 1]
        lines.append(
            f"Gradient against torch: geometric mean {geometric_mean(list(of_torch.values())):.2f} "
            f"(aim: {TARGETS['torch']}); above 1.0: {', '.join(above) or 'none'}."
        )
    linen = [(row, row["gradient"]["flax linen"]) for row in rows if "flax linen" in row["gradient"]]
    if linen:
        ours = [next(iter(row["gradient"].values())) for row, _ in linen]
        of = lambda key: [mine[key] / theirs[key] for mine, (_, theirs) in zip(ours, linen, strict=True)]
        lines.append(
            f"Against flax linen: time to compile {min(of('compile_seconds')):.2f} to {max(of('compile_seconds')):.2f} "
            f"(aim: {TARGETS['compile']}), temporary memory {min(of('temporary_mb')):.2f} to "
            f"{max(of('temporary_mb')):.2f} (aim: {TARGETS['memory']})."
        )
    return [f"- {line}" for line in lines]


def draw(path: Path, result: dict[str, Any]) -> None:
    """A bar per row and peer: how many times as long as ours it takes."""
    rows = [row for row in result["rows"] if "gradient" in row]
    names = list(dict.fromkeys(name for row in rows for name in peers_of(row, "gradient")))
    figure = Figure(figsize=(10, 0.42 * len(rows) + 1.4))
    axes = figure.subplots()
    height = 0.8 / max(len(names), 1)
    for i, name in enumerate(names):
        at = [
            (y + (i + 0.5) * height - 0.4, 1 / r)
            for y, row in enumerate(rows)
            if (r := peers_of(row, "gradient").get(name))
        ]
        axes.barh([y for y, _ in at], [x for _, x in at], height, label=name, color=f"C{i}")
    axes.axvline(1, color="black", lw=1.5, label="jaxnets")
    labels = [f"{row['cell']} {'x'.join(map(str, row['shape']))}" for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="time of a gradient, ours = 1 (right of the line: slower than ours)")
    axes.legend(fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def recurrence(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.recurrent.recurrence."""
    lines = [*heading(name, result), f"{result['product_gflops']:,.0f} GFLOP/s in a large product.", ""]
    lines += [*summary(result), ""]
    for which in ("gradient", "forward"):
        if any(which in row for row in result["rows"]):
            lines += [f"### {which.capitalize()}", "", *table(result, which), ""]
    return [*lines, f"![Gradients beside other libraries]({name}.png)", ""] if len(result["rows"]) > 1 else lines


def variants(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.recurrent.variants."""
    names = list(dict.fromkeys(name for row in result["variants"] for name in row["ratios"] if name != "plain"))
    lines = [
        *heading(name, result),
        f"Time of a gradient over that of the plain layer (aim: {TARGETS['variants']}).",
        "",
    ]
    lines += [f"| cell | B, T, D, H | ms | {' | '.join(names)} |", "|---|---|--:|" + "--:|" * len(names)]
    for row in result["variants"]:
        ratios = (f"{row['ratios'][name]:.2f}" if name in row["ratios"] else "" for name in names)
        lines.append(
            f"| {row['cell']} | {', '.join(map(str, row['shape']))} | {row['ms']:.2f} | {' | '.join(ratios)} |"
        )
    return [*lines, ""]


def long(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.recurrent.long."""
    names = list(next(iter(result["lengths"].values())))
    lines = [
        *heading(name, result),
        f"LSTM, B {result['batch']}, D = H = {result['hidden']}: ms / MB of a gradient (aim: {TARGETS['long']}).",
        "",
    ]
    lines += [f"| T | {' | '.join(names)} |", "|--:|" + "--:|" * len(names)]
    for length, row in result["lengths"].items():
        time = lambda figures: "not run" if figures["ms"] is None else f"{figures['ms']:,.1f}"
        cells = (f"{time(row[name])} / {row[name]['mb']:,.1f}" for name in names)
        lines.append(f"| {int(length):,} | {' | '.join(cells)} |")
    picture = ["![Time and memory against T](../docs/pictures/long.png)", ""] if name == "long" else []
    return [*lines, "", *picture]


def linear(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.recurrent.linear."""
    names = list(result["linear"][0]["gradient"])
    lines = [*heading(name, result), "Cells linear in their state, ms / MB of a gradient.", ""]
    lines += [f"| cell | B x T x H | {' | '.join(names)} |", "|---|---|" + "--:|" * len(names)]
    for row in result["linear"]:
        cells = (f"{row['gradient'][name]['ms']:,.1f} / {row['gradient'][name]['mb']:,.1f}" for name in names)
        lines.append(f"| {row['cell']} | {row['size']} | {' | '.join(cells)} |")
    return [*lines, ""]


def launches(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.recurrent.launches."""
    lines = [*heading(name, result), "Kernels launched in a forward pass / with gradients / MB of the latter.", ""]
    cases = {(row["cell"], row["shape"], row["dtype"], row["name"]): row for row in result["launches"]}
    names = list(dict.fromkeys(name for *_, name in cases))
    lines += [f"| cell | B x T x D x H | type | {' | '.join(names)} |", "|---|---|---|" + "--:|" * len(names)]
    for cell, shape, dtype in dict.fromkeys(key[:-1] for key in cases):
        found = [cases.get((cell, shape, dtype, name)) for name in names]
        texts = [f"{one['forward']:,.0f} / {one['gradient']:,.0f} / {one['mb']:,.0f}" if one else "" for one in found]
        lines.append(f"| {cell} | {shape} | {dtype} | {' | '.join(texts)} |")
    return [*lines, ""]


def tiles(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.recurrent.tiles."""
    lines = [*heading(name, result), f"{result['dtype']}, ms; a division is the rows and units of a block.", ""]
    lines += [
        "| cell | B, T, D, H | pass | sequential | persistent | best division | its ms |",
        "|---|---|---|--:|--:|---|--:|",
    ]
    for row in result["tiles"]:
        for which in ("forward", "gradient"):
            ms = {name: timing["ms"] for name, timing in row[which].items()}
            divisions = {name: value for name, value in ms.items() if name.startswith("persistent ")}
            best = min(divisions, key=divisions.__getitem__)
            own = f"{ms['sequential']:,.3f} | {ms['persistent']:,.3f}"
            shape = ", ".join(map(str, row["shape"]))
            lines.append(f"| {row['cell']} | {shape} | {which} | {own} | {best.split()[1]} | {ms[best]:,.3f} |")
    return [*lines, ""]
