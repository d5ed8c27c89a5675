"""Tables of docs/scaling.md from the results of benchmarks.runs.scaling."""

import json
from pathlib import Path
from typing import Any

from jaxnets.training.errors import UsageError

MARK = "<!-- made by benchmarks.runs.scaling: {} -->\n\n"


def tables(folder: Path) -> dict[str, str]:
    """Returns the tables by name from scaling.json and scaling_tpu.json, if it exists."""
    result = json.loads((folder / "scaling.json").read_text())
    of_tpu = folder / "scaling_tpu.json"
    rows = json.loads(of_tpu.read_text())["volumes"] if of_tpu.exists() else []
    compiled = {(row["model"], row["layout"]): row for row in rows}
    pairs = [(row, compiled.get((row["model"], row["layout"]))) for row in result["volumes"]]
    return {
        "volumes": volumes(pairs),
        "memory": memory(pairs, result["devices"]),
        "creation": creation(result["memory"]),
        "times": times(result["scaling"]),
        "pods": pods(result["pods"]),
    }


Pairs = list[tuple[dict[str, Any], dict[str, Any] | None]]


def volumes(pairs: Pairs) -> str:
    """Returns the table of the bytes that a device sends in a step and their minimum, on CPUs and TPUs."""

    def cells(row: dict[str, Any] | None) -> list[str]:
        if row is None:
            return ["", ""]
        total = sum(row["sent_mb"].values())
        return [f"{total:,.1f}", f"{total / row['least_mb']:.2f}"]

    head = ["model", "layout", "minimum, MB", "CPU, MB", "ratio", "TPU, MB", "ratio", "collectives on the TPU"]
    rows = []
    for row, other in pairs:
        kinds = (other or row)["sent_mb"]
        largest = [f"{kind} {mb:,.1f}" for kind, mb in sorted(kinds.items(), key=lambda item: -item[1]) if mb >= 0.05]
        given = [row["model"], row["layout"], f"{row['least_mb']:,.1f}", *cells(row), *cells(other)]
        rows.append([*given, ", ".join(largest) if other else ""])
    return _markdown(head, rows, 2, 7)


def memory(pairs: Pairs, devices: int) -> str:
    """Returns the table of the memory of a device for the arguments, results and temporaries of a step."""
    head = ["model", "layout", "full state, MB", "arguments of a device, MB", "results, MB", "ratio to an eighth"]
    rows = []
    for row, other in pairs:
        share = row["argument_mb"] * devices / row["state_mb"]
        cells = [f"{row[name]:,.1f}" for name in ("state_mb", "argument_mb", "output_mb")]
        temporary = [f"{given['temporary_mb']:,.1f}" if given else "" for given in (row, other)]
        rows.append([row["model"], row["layout"], *cells, f"{share:.2f}", *temporary])
    return _markdown([*head, "temporaries on CPU, MB", "temporaries on TPU, MB"], rows, 2, 8)


def creation(found: dict[str, float]) -> str:
    """Returns the table of the memory of the initial state of a GPT-2."""
    head = [
        "full state, MB",
        "maximum of a device, MB",
        "ratio to an eighth",
        "temporaries of creation, MB",
        "process, MB",
    ]
    cells = [f"{found[name]:,.1f}" for name in ("state_mb", "device_mb")]
    cells += [f"{found['share']:.4f}", f"{found['creation_temporary_mb']:,.1f}", f"{found['process_mb']:,.0f}"]
    return _markdown(head, [cells], 0, 5)


def times(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Returns the table of step times: milliseconds on one device, and ratios for several devices.

    For weak scaling the ratio is the time per row.
    """
    counts = list(next(iter(found["char_lm"].values())))
    head = ["model", "batch", "1 device, ms", *(f"{n} devices" for n in counts[1:])]
    rows = []
    for model, series in found.items():
        for name, ms in series.items():
            work = {n: int(n) if name == "weak" else 1 for n in counts}
            ratios = [f"{ms[n] / work[n] / ms['1']:.2f}" for n in counts[1:]]
            rows.append([model, name, f"{ms['1']:,.1f}", *ratios])
    return _markdown(head, rows, 2, len(head))


def pods(found: list[dict[str, Any]]) -> str:
    """Returns the table of computation and communication times on a pod."""
    head = ["chip", "parameters", "layout", "computation, ms", "communication, ms", "minimum tokens", "batch, tokens"]
    rows = []
    for row in found:
        for layout in ("data parallel", "fully sharded"):
            values = row[layout]
            cells = [f"{row['compute_ms']:,.1f}", f"{values['send_ms']:,.1f}", f"{values['fewest_tokens']:,.0f}"]
            cells += [f"{row['batch_tokens']:,.0f}", f"{values['chips']:,}"]
            memory = f"{values['kept_gb']:,.2f}" + ("" if values["fits"] else " (does not fit)")
            rows.append([row["chip"], f"{row['parameters']:,}", layout, *cells, memory])
    return _markdown([*head, "maximum chips", "GB per chip"], rows, 3, 9)


def _markdown(head: list[str], rows: list[list[str]], first: int, last: int) -> str:
    """Formats a Markdown table whose columns ``first:last`` are numeric."""
    rule = ["--:" if first <= i < last else "---" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def placed(page: str, found: dict[str, str]) -> str:
    """Returns the page with each table inserted after its mark."""
    for name, text in found.items():
        mark = MARK.format(name)
        before, there, after = page.partition(mark)
        if not there:
            raise UsageError(f"the page has no line {mark.strip()}, followed by an empty line and the table")
        _, end, rest = after.partition("\n\n")
        page = before + mark + text + (end or "\n") + rest
    return page
