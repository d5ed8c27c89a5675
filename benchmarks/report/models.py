"""Sections of the report about attention, sets, convolutional networks, text and scaling over devices."""

from typing import Any

from benchmarks.report.heading import heading
from benchmarks.runs import scaling_tables


def attention(name: str, result: dict[str, Any]) -> list[str]:
    """Returns the section of a result of benchmarks.models.attention."""
    sizes = f"Causal, {result['heads']} heads of {result['features']} features, {result['dtype']}"
    lines = [*heading(name, result), f"{sizes}: ms / MB.", ""]
    for part in dict.fromkeys(row["part"] for row in result["attention"]):
        for which in ("gradient", "forward"):
            rows = [row for row in result["attention"] if row["part"] == part]
            shapes = [f"{row['batch']}, {row['length']:,}" for row in rows]
            lines += [f"#### {part.capitalize()}, {which}", "", *_table("B, T", shapes, rows, which), ""]
    if "decoder" in result:
        decoder = result["decoder"]
        lines += [
            f"Decoder with {decoder['parameters']:,} parameters, B {decoder['batch']}, T {decoder['length']}: "
            f"{decoder['ms']:,.0f} ms per gradient, {decoder['share']:.0%} of the FLOP/s of one large matrix product.",
            "",
        ]
    if "decoding" in result:
        decoding = result["decoding"]
        rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in decoding["tokens_per_second"].items())
        lines += [
            f"Decoding with a cache, {decoding['layers']} layers of width {decoding['width']}, B 1, in tokens per "
            f"second: {rates}.",
            "",
        ]
    return lines


def sets(name: str, result: dict[str, Any]) -> list[str]:
    """Returns the section of a result of benchmarks.models.sets."""
    bins = f"{result['bins']} bins for {result['features']} features"
    points = f"{result['points']} inducing points and width {result['width']}"
    lines = [*heading(name, result), f"Histograms with {bins}; ISAB with {points}; PMA with one seed: ms / MB.", ""]
    if "streamed" in result:
        streamed = result["streamed"]
        seconds = ", ".join(f"{model} {value:.1f} s" for model, value in streamed["seconds"].items())
        lines += [
            f"A set of {streamed['elements']:,} elements, processed in chunks: {seconds}; peak memory of the process: "
            f"{streamed['process_mb']:,.0f} MB (target: below 2,048).",
            "",
        ]
    for part in dict.fromkeys(row["part"] for row in result["sets"]):
        for which in ("gradient", "forward"):
            rows = [row for row in result["sets"] if row["part"] == part]
            lines += [f"#### {part}, {which}", "", *_table("N", [f"{row['size']:,}" for row in rows], rows, which), ""]
    return lines


def convolution(name: str, result: dict[str, Any]) -> list[str]:
    """Returns the section of a result of benchmarks.models.convolution."""
    share = result["augmentation"]["share"]
    lines = [
        *heading(name, result),
        f"Images per second, {result['dtype']}, and temporary MB of jaxnets. With random crops and flips, the training "
        f"steps per second of a CIFAR ResNet-20 are {share:.2f} of those without augmentation (target: 0.97).",
        "",
    ]
    for which, title in (("gradient", "training step"), ("forward", "forward")):
        names = list(dict.fromkeys(name for row in result["convolution"] for name in row[which]))
        lines += [f"#### {title.capitalize()}", "", f"| model | images | MB | {' | '.join(names)} |"]
        lines.append("|---|---|--:|" + "--:|" * len(names))
        for row in result["convolution"]:
            rates = (f"{1e3 * row['batch'] / row[which][n]['ms']:,.1f}" if n in row[which] else "" for n in names)
            size, memory = f"{row['batch']} of {row['size']} x {row['size']}", row[which]["jaxnets"]["mb"]
            lines.append(f"| {row['model']} | {size} | {memory:,.0f} | {' | '.join(rates)} |")
        lines.append("")
    return lines


def crf(name: str, result: dict[str, Any]) -> list[str]:
    """Returns the section of a result of benchmarks.models.crf."""
    rows = result["crf"]
    lines = [*heading(name, result), f"B {result['batch']}, {rows[0]['rounds']} rounds: ms / ratio.", ""]
    for which, title in (("gradient", "log-likelihood and gradient"), ("Viterbi", "Viterbi")):
        names = list(dict.fromkeys(name for row in rows for name in row[which]))
        disturbed = sum(row[f"{which}_disturbed"] for row in rows)
        lines += [
            f"#### {title.capitalize()}",
            "",
            f"| T | K | {' | '.join(names)} |",
            "|--:|--:|" + "--:|" * len(names),
        ]
        for row in rows:
            cells = (
                f"{row[which][n]['ms']:,.2f} / {row[which][n]['ratio']:.3f}" if n in row[which] else "" for n in names
            )
            lines.append(f"| {row['length']} | {row['num_tags']} | {' | '.join(cells)} |")
        lines += ["", f"Other processes disturbed {disturbed} of {sum(row['rounds'] for row in rows)} rounds.", ""]
    return lines


def windows(name: str, result: dict[str, Any]) -> list[str]:
    """Returns the section of a result of benchmarks.runs.windows."""
    sizes = f"{result['context']} + {result['horizon']} steps of {result['channels']} channels"
    memory, names = result["memory"], list(dict.fromkeys(name for row in result["windows"] for name in row["ratio"]))
    lines = [
        *heading(name, result),
        f"Shuffled windows of {sizes}, read in batches: windows per second / ratio. A dataset of "
        f"{memory['windows']:,} windows takes {memory['mb']:,.0f} MB, of which {memory['series_mb']:,.0f} MB are the "
        f"series; copies of the windows would take {memory['copies_mb']:,.0f} MB.",
        "",
        f"| batch | {' | '.join(names)} |",
        "|--:|" + "--:|" * len(names),
    ]
    for row in result["windows"]:
        cells = (f"{row['per_second'][n]:,.0f} / {row['ratio'][n]:.2f}" if n in row["ratio"] else "" for n in names)
        lines.append(f"| {row['batch_size']} | {' | '.join(cells)} |")
    return [*lines, ""]


def scaling(name: str, result: dict[str, Any]) -> list[str]:
    """Returns the section of a result of benchmarks.runs.scaling."""
    share = result["memory"]["share"]
    lines = [
        *heading(name, result),
        f"Training on {result['devices']} simulated devices. [Scaling](scaling.md) has the bytes sent, "
        "the memory, and an estimate for a pod. With full sharding, the memory of a device for GPT-2 and its optimizer "
        f"is {share:.2f} of an eighth of the total (target: at most 1.3).",
        "",
        "The time of a step on one device, and the time on several devices relative to it. In weak scaling, the time "
        "on one device is for the same number of rows. The simulated devices share the CPU cores.",
        "",
    ]
    return [*lines, scaling_tables.times(result["scaling"]), ""]


def _table(label: str, sizes: list[str], rows: list[dict[str, Any]], which: str) -> list[str]:
    """Returns a table with a row for each size and a column for each implementation."""
    names = list(dict.fromkeys(name for row in rows for name in row[which]))
    lines = [f"| {label} | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
    for size, row in zip(sizes, rows, strict=True):
        cells = (_time_and_memory(row[which][name]) if name in row[which] else "" for name in names)
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return lines


def _time_and_memory(timing: dict[str, Any]) -> str:
    time = "not run" if timing["ms"] is None else f"{timing['ms']:,.1f}"
    return time if timing["mb"] is None else f"{time} / {timing['mb']:,.0f}"
