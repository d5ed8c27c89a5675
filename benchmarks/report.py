"""Writes benchmarks/README.md and its pictures from the results in benchmarks/results/.

python -m benchmarks.report
"""

import json
import math
from pathlib import Path
from typing import Any

from absl import flags
from matplotlib.figure import Figure

from benchmarks import scaling_tables
from jaxnets import program

FLAGS = flags.FLAGS

HERE = Path(__file__).parent
flags.DEFINE_string("results", str(HERE / "results"), "Folder of results.")
flags.DEFINE_string("out", str(HERE), "Folder that README.md and the pictures are written to.")

INTRODUCTION = """# Benchmarks

Written by `python -m benchmarks.report` from `benchmarks/results/`. Every implementation of a row takes turns with the
others in one process. "gradient" is the forward pass and the gradients of all parameters and of the input, from float32
inputs unless stated. **Ratios are our time over theirs: below 1 we are faster**, above 1 we are slower; each is the
median over the rounds of the ratio within a round. "share" is what our row's products reach of the machine's rate in
one large product, measured in the same run. MB is the temporary memory of the compiled gradient.
"""

TARGETS = {
    "best": "at most 0.75 in the geometric mean, no row above 1.0",
    "torch": "at most 1.0 for GRU and Elman",
    "compile": "at most 1.5",
    "memory": "at most 0.25 at T 4096, in less than its time",
    "variants": "lengths and resets at most 1.05, peepholes and reset before at most 1.2",
    "long": "T = 10^6 in less than 2048 MB",
}


def results(folder: Path, key: str) -> dict[str, dict[str, Any]]:
    """The results that have this key, by name of their file."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return {name: result for name, result in found.items() if key in result}


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


def heading(name: str, result: dict[str, Any]) -> list[str]:
    """Device, command and versions of a result."""
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    title = f"## {result['device']}, {result['cores']} cores: {name}"
    return [title, "", f"`{result['command']}`", "", f"Python {result['python']}, {versions}.", ""]


def recurrence(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.recurrence."""
    lines = [*heading(name, result), f"{result['product_gflops']:,.0f} GFLOP/s in a large product.", ""]
    lines += [*summary(result), ""]
    for which in ("gradient", "forward"):
        if any(which in row for row in result["rows"]):
            lines += [f"### {which.capitalize()}", "", *table(result, which), ""]
    return [*lines, f"![Gradients beside other libraries]({name}.png)", ""] if len(result["rows"]) > 1 else lines


def variants(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.variants."""
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
    """A result of benchmarks.long."""
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
    """A result of benchmarks.linear."""
    names = list(result["linear"][0]["gradient"])
    lines = [*heading(name, result), "Cells linear in their state, ms / MB of a gradient.", ""]
    lines += [f"| cell | B x T x H | {' | '.join(names)} |", "|---|---|" + "--:|" * len(names)]
    for row in result["linear"]:
        cells = (f"{row['gradient'][name]['ms']:,.1f} / {row['gradient'][name]['mb']:,.1f}" for name in names)
        lines.append(f"| {row['cell']} | {row['size']} | {' | '.join(cells)} |")
    return [*lines, ""]


def attention(name: str, result: dict[str, Any]) -> list[str]:
    """A result of benchmarks.attention."""
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
    """A result of benchmarks.sets."""
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
    """A result of benchmarks.convolution."""
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
    """A result of benchmarks.scaling."""
    share = result["memory"]["share"]
    lines = [
        *heading(name, result),
        f"Training on {result['devices']} simulated devices; bytes sent, memory, and what they mean for a pod are in "
        f"[docs/scaling.md](../docs/scaling.md). A device holds {share:.2f} of an eighth of a fully sharded GPT-2 with "
        "its optimiser (aim: at most 1.3).",
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


def main(overrides: program.Overrides) -> None:
    out, folder = Path(FLAGS.out), Path(FLAGS.results)
    lines = [INTRODUCTION]
    for key, section in {
        "rows": recurrence,
        "variants": variants,
        "lengths": long,
        "linear": linear,
        "attention": attention,
        "sets": sets,
        "convolution": convolution,
        "scaling": scaling,
    }.items():
        for name, result in results(folder, key).items():
            lines += section(name, result)
            if key == "rows" and len(result["rows"]) > 1:
                draw(out / f"{name}.png", result)
    (out / "README.md").write_text("\n".join(lines))


if __name__ == "__main__":
    program.run(main)
