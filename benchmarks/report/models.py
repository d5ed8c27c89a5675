"""Sections of the report on attention, sets, convolutional networks and many devices."""

from typing import Any

from benchmarks.report.heading import heading
from benchmarks.runs import scaling_tables


def attention(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.models.attention."""
    sizes = f"Causal, {result['heads']} heads of {result['features']} features, {result['dtype']}"
    lines = [*heading(name, result), f"{sizes}: ms / MB.", ""]
    for part in dict.fromkeys(row["part"] for row in result["attention"]):
        for which in ("gradient", "forward"):
            rows = [row for row in result["attention"] if row["part"] == part]
            shapes = [f"{row['batch']}, {row['length']:,}" for row in rows]
            lines += [f"### {part.capitalize()}, {which}", "", *_table("B, T", shapes, rows, which), ""]
    if "decoder" in result:
        found = result["decoder"]
        lines += [
            f"A decoder of {found['parameters']:,} parameters, B {found['batch']}, T {found['length']}: "
            f"{found['ms']:,.0f} ms a gradient, {found['share']:.0%} of the machine's rate in one large product.",
            "",
        ]
    if "decoding" in result:
        found = result["decoding"]
        rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in found["tokens_per_second"].items())
        lines += [
            f"Decoding with a cache, {found['layers']} layers of width {found['width']}, B 1: {rates} tokens a second.",
            "",
        ]
    return lines


def sets(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.models.sets."""
    bins = f"{result['bins']} bins of {result['features']} features"
    points = f"{result['points']} points, width {result['width']}"
    lines = [*heading(name, result), f"Histograms of {bins}; ISAB with {points}; PMA of one seed: ms / MB.", ""]
    if "streamed" in result:
        found = result["streamed"]
        seconds = ", ".join(f"{model} {value:.1f} s" for model, value in found["seconds"].items())
        lines += [
            f"A set of {found['elements']:,} elements, read chunk by chunk: {seconds}; the whole process needed "
            f"{found['process_mb']:,.0f} MB (aim: below 2,048).",
            "",
        ]
    for part in dict.fromkeys(row["part"] for row in result["sets"]):
        for which in ("gradient", "forward"):
            rows = [row for row in result["sets"] if row["part"] == part]
            lines += [f"### {part}, {which}", "", *_table("N", [f"{row['size']:,}" for row in rows], rows, which), ""]
    return lines


def convolution(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.models.convolution."""
    share = result["augmentation"]["share"]
    lines = [
        *heading(name, result),
        f"Images a second, {result['dtype']}, and MB of our program. With crops and flips drawn anew in every step a "
        f"CIFAR ResNet-20 makes {share:.2f} of the steps on one fixed batch (aim: 0.97).",
        "",
    ]
    for which, title in (("gradient", "training step"), ("forward", "forward")):
        names = list(dict.fromkeys(name for row in result["convolution"] for name in row[which]))
        lines += [f"### {title.capitalize()}", "", f"| model | images | MB | {' | '.join(names)} |"]
        lines.append("|---|---|--:|" + "--:|" * len(names))
        for row in result["convolution"]:
            rates = (f"{1e3 * row['batch'] / row[which][n]['ms']:,.1f}" if n in row[which] else "" for n in names)
            size, memory = f"{row['batch']} of {row['size']} x {row['size']}", row[which]["jaxnets"]["mb"]
            lines.append(f"| {row['model']} | {size} | {memory:,.0f} | {' | '.join(rates)} |")
        lines.append("")
    return lines


def scaling(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.runs.scaling."""
    share = result["memory"]["share"]
    lines = [
        *heading(name, result),
        f"Training on {result['devices']} simulated devices; bytes sent, memory, and what they mean for a pod are in "
        f"[docs/scaling.md](../docs/scaling.md). A device holds {share:.2f} of an eighth of a fully sharded GPT-2 with "
        "its optimizer (aim: at most 1.3).",
        "",
        "A step on one device, and the time on several over it (weak: of as many rows); they share the cores.",
        "",
    ]
    return [*lines, scaling_tables.times(result["scaling"]), ""]


def _table(label: str, sizes: list[str], rows: list[dict[str, Any]], which: str) -> list[str]:
    """A row for each size, a column for each implementation."""
    names = list(dict.fromkeys(name for row in rows for name in row[which]))
    lines = [f"| {label} | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
    for size, row in zip(sizes, rows, strict=True):
        cells = (_time_and_memory(row[which][name]) if name in row[which] else "" for name in names)
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return lines


def _time_and_memory(figures: dict[str, Any]) -> str:
    time = "not run" if figures["ms"] is None else f"{figures['ms']:,.1f}"
    return time if figures["mb"] is None else f"{time} / {figures['mb']:,.0f}"
