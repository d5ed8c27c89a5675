"""Sections of the report about the results of benchmarks.recurrent."""

import math
from typing import Any

from benchmarks.report.heading import heading

TARGETS = {
    "best": "geometric mean at most 0.75, no row above 1.0",
    "torch": "at most 1.0 for GRU and Elman",
    "compile": "at most 1.5",
    "memory": "at most 0.25 at T 4096, in less time",
    "variants": "at most 1.05 for lengths and resets, at most 1.2 for peepholes and reset before",
    "long": "T = 10^6 in less than 2048 MB",
}


def ratios_of(row: dict[str, Any], which: str) -> dict[str, float]:
    """Returns the ratios of jaxnets to the other libraries."""
    return {name: timing["ratio"] for name, timing in row[which].items() if not name.startswith("jaxnets")}


def ratio_to_best(row: dict[str, Any], which: str) -> float | None:
    """Returns the ratio of jaxnets to the fastest other JAX library."""
    return max((ratio for name, ratio in ratios_of(row, which).items() if name != "torch"), default=None)


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def table(result: dict[str, Any], which: str) -> list[str]:
    rows = [row for row in result["rows"] if which in row]
    names = list(dict.fromkeys(name for row in rows for name in ratios_of(row, which)))
    head = ["cell", "B, T, D, H", "ms", "share", "MB", *names, "best JAX"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "--:|" * (len(head) - 2)]
    formatted = lambda value, spec: "" if value is None else format(value, spec)
    for row in rows:
        first, ratios = next(iter(row[which].values())), ratios_of(row, which)  # the first timing is that of jaxnets
        cells = [row["cell"], ", ".join(map(str, row["shape"])), f"{first['ms']:.2f}", f"{first['share']:.0%}"]
        cells += [formatted(first["temporary_mb"], ".1f"), *(formatted(ratios.get(name), ".2f") for name in names)]
        lines.append("| " + " | ".join([*cells, formatted(ratio_to_best(row, which), ".2f")]) + " |")
    return lines


def summary(result: dict[str, Any]) -> list[str]:
    """Returns the results and the targets for gradients."""
    rows = [row for row in result["rows"] if "gradient" in row]
    ratios = {
        f"{row['cell']} {row['shape']}": ratio for row in rows if (ratio := ratio_to_best(row, "gradient")) is not None
    }
    lines = []
    if ratios:
        above = [f"{name} ({ratio:.2f})" for name, ratio in ratios.items() if ratio > 1]
        lines.append(
            f"Gradient, relative to the fastest other JAX library: geometric mean "
            f"{geometric_mean(list(ratios.values())):.2f} over {len(ratios)} rows (target: {TARGETS['best']}); "
            f"above 1.0: {', '.join(above) or 'none'}."
        )
    torch_ratios = {
        f"{row['cell']} {row['shape']}": r for row in rows if (r := ratios_of(row, "gradient").get("torch"))
    }
    if torch_ratios:
        above = [f"{name} ({ratio:.2f})" for name, ratio in torch_ratios.items() if ratio > 1]
        lines.append(
            f"Gradient, relative to torch: geometric mean {geometric_mean(list(torch_ratios.values())):.2f} "
            f"(target: {TARGETS['torch']}); above 1.0: {', '.join(above) or 'none'}."
        )
    linen = [
        (next(iter(row["gradient"].values())), row["gradient"]["flax linen"])
        for row in rows
        if "flax linen" in row["gradient"]
    ]
    if linen:
        compile_time, memory = (
            [first[key] / other[key] for first, other in linen] for key in ("compile_seconds", "temporary_mb")
        )
        lines.append(
            f"Relative to flax linen: compile time {min(compile_time):.2f} to {max(compile_time):.2f} "
            f"(target: {TARGETS['compile']}), temporary memory {min(memory):.2f} to {max(memory):.2f} "
            f"(target: {TARGETS['memory']})."
        )
    return [f"- {line}" for line in lines]


def recurrence(name: str, result: dict[str, Any]) -> list[str]:
    """Returns the section of a result of benchmarks.recurrent.recurrence."""
    lines = [*heading(name, result), f"{result['product_gflops']:,.0f} GFLOP/s in a large matrix product.", ""]
    lines += [*summary(result), ""]
    for which in ("gradient", "forward"):
        if any(which in row for row in result["rows"]):
            lines += [f"#### {which.capitalize()}", "", *table(result, which), ""]
    return lines


def variants(name: str, result: dict[str, Any]) -> list[str]:
    """Returns the section of a result of benchmarks.recurrent.variants."""
    names = list(dict.fromkeys(name for row in result["variants"] for name in row["ratios"] if name != "plain"))
    lines = [
        *heading(name, result),
        f"Time of a gradient relative to the plain layer (target: {TARGETS['variants']}).",
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
    """Returns the section of a result of benchmarks.recurrent.long."""
    names = list(next(iter(result["lengths"].values())))
    lines = [
        *heading(name, result),
        f"LSTM, B {result['batch']}, D = H = {result['hidden']}: ms / MB of a gradient (target: {TARGETS['long']}).",
        "",
    ]
    lines += [f"| T | {' | '.join(names)} |", "|--:|" + "--:|" * len(names)]
    for length, row in result["lengths"].items():
        time = lambda timing: "not run" if timing["ms"] is None else f"{timing['ms']:,.1f}"
        cells = (f"{time(row[name])} / {row[name]['mb']:,.1f}" for name in names)
        lines.append(f"| {int(length):,} | {' | '.join(cells)} |")
    picture = ["![Time and memory against T](pictures/long.png)", ""] if name == "long" else []
    return [*lines, "", *picture]


def linear(name: str, result: dict[str, Any]) -> list[str]:
    """Returns the section of a result of benchmarks.recurrent.linear."""
    names = list(result["linear"][0]["gradient"])
    lines = [*heading(name, result), "Cells that are linear in their state: ms / MB of a gradient.", ""]
    lines += [f"| cell | B x T x H | {' | '.join(names)} |", "|---|---|" + "--:|" * len(names)]
    for row in result["linear"]:
        cells = (f"{row['gradient'][name]['ms']:,.1f} / {row['gradient'][name]['mb']:,.1f}" for name in names)
        lines.append(f"| {row['cell']} | {row['size']} | {' | '.join(cells)} |")
    return [*lines, ""]


def launches(name: str, result: dict[str, Any]) -> list[str]:
    """Returns the section of a result of benchmarks.recurrent.launches."""
    lines = [*heading(name, result), "Kernel launches of a forward pass / of a gradient / MB of a gradient.", ""]
    cases = {(row["cell"], row["shape"], row["dtype"], row["name"]): row for row in result["launches"]}
    names = list(dict.fromkeys(name for *_, name in cases))
    lines += [f"| cell | B x T x D x H | dtype | {' | '.join(names)} |", "|---|---|---|" + "--:|" * len(names)]
    for cell, shape, dtype in dict.fromkeys(key[:-1] for key in cases):
        rows = [cases.get((cell, shape, dtype, name)) for name in names]
        cells = [f"{row['forward']:,.0f} / {row['gradient']:,.0f} / {row['mb']:,.0f}" if row else "" for row in rows]
        lines.append(f"| {cell} | {shape} | {dtype} | {' | '.join(cells)} |")
    return [*lines, ""]


def tiles(name: str, result: dict[str, Any]) -> list[str]:
    """Returns the section of a result of benchmarks.recurrent.tiles."""
    lines = [*heading(name, result), f"{result['dtype']}, ms; a tile is the rows and the units of a block.", ""]
    lines += [
        "| cell | B, T, D, H | pass | sequential | persistent | best tile | ms of the best tile |",
        "|---|---|---|--:|--:|---|--:|",
    ]
    for row in result["tiles"]:
        for which in ("forward", "gradient"):
            ms = {name: timing["ms"] for name, timing in row[which].items()}
            by_tile = {name: value for name, value in ms.items() if name.startswith("persistent ")}
            best = min(by_tile, key=by_tile.__getitem__)
            defaults = f"{ms['sequential']:,.3f} | {ms['persistent']:,.3f}"
            shape = ", ".join(map(str, row["shape"]))
            lines.append(f"| {row['cell']} | {shape} | {which} | {defaults} | {best.split()[1]} | {ms[best]:,.3f} |")
    return [*lines, ""]
