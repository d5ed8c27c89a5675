"""The tables of docs/scaling.md, made of the results of benchmarks.runs.scaling, and their places in that page."""

import json
from pathlib import Path
from typing import Any

from jaxnets.training.errors import UsageError

MARK = "<!-- made by benchmarks.runs.scaling: {} -->\n\n"


def tables(folder: Path) -> dict[str, str]:
    """The tables by name, of scaling.json and, where it is there, scaling_tpu.json."""
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
    """What a device sends in a step beside the least, on CPUs and TPUs."""

    def cells(row: dict[str, Any] | None) -> list[str]:
        if row is None:
            return ["", ""]
        total = sum(row["sent_mb"].values())
        return [f"{total:,.1f}", f"{total / row['least_mb']:.2f}"]

    head = ["model", "layout", "least, MB", "CPU, MB", "of the least", "TPU, MB", "of the least", "on the TPU"]
    rows = []
    for row, other in pairs:
        kinds = (other or row)["sent_mb"]
        largest = [f"{kind} {mb:,.1f}" for kind, mb in sorted(kinds.items(), key=lambda item: -item[1]) if mb >= 0.05]
        given = [row["model"], row["layout"], f"{row['least_mb']:,.1f}", *cells(row), *cells(other)]
        rows.append([*given, ", ".join(largest) if other else ""])
    return _markdown(head, rows, 2, 7)


def memory(pairs: Pairs, devices: int) -> str:
    """What a device has of a step's arguments, and needs beside them."""
    head = ["model", "layout", "whole state, MB", "a device's arguments, MB", "results, MB", "of an eighth"]
    rows = []
    for row, other in pairs:
        share = row["argument_mb"] * devices / row["state_mb"]
        cells = [f"{row[name]:,.1f}" for name in ("state_mb", "argument_mb", "output_mb")]
        beside = [f"{given['temporary_mb']:,.1f}" if given else "" for given in (row, other)]
        rows.append([row["model"], row["layout"], *cells, f"{share:.2f}", *beside])
    return _markdown([*head, "CPU: beside these, MB", "TPU: beside these, MB"], rows, 2, 8)


def creation(found: dict[str, float]) -> str:
    """The state of a GPT-2 as it was created."""
    head = [
        "whole state, MB",
        "most on a device, MB",
        "of an eighth",
        "creation, beside its results, MB",
        "process, MB",
    ]
    cells = [f"{found[name]:,.1f}" for name in ("state_mb", "device_mb")]
    cells += [f"{found['share']:.4f}", f"{found['creation_temporary_mb']:,.1f}", f"{found['process_mb']:,.0f}"]
    return _markdown(head, [cells], 0, 5)


def times(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Milliseconds on one device; on several, the time over that, for weak scaling of as many rows."""
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
    """Computing against sending on a pod."""
    head = ["chip", "parameters", "layout", "computing, ms", "sending, ms", "tokens from which", "batch, tokens"]
    rows = []
    for row in found:
        for layout in ("data parallel", "fully sharded"):
            of = row[layout]
            cells = [f"{row['compute_ms']:,.1f}", f"{of['send_ms']:,.1f}", f"{of['fewest_tokens']:,.0f}"]
            cells += [f"{row['batch_tokens']:,.0f}", f"{of['chips']:,}"]
            kept = f"{of['kept_gb']:,.2f}" + ("" if of["fits"] else " (too much)")
            rows.append([row["chip"], f"{row['parameters']:,}", layout, *cells, kept])
    return _markdown([*head, "chips at most", "GB kept by one"], rows, 3, 9)


def _markdown(head: list[str], rows: list[list[str]], first: int, last: int) -> str:
    """A table whose columns from ``first`` to before ``last`` are numbers."""
    rule = ["--:" if first <= i < last else "---" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def placed(page: str, found: dict[str, str]) -> str:
    """The page with each table after its mark, in place of the paragraph there."""
    for name, text in found.items():
        mark = MARK.format(name)
        before, there, after = page.partition(mark)
        if not there:
            raise UsageError(f"the page has no line {mark.strip()}, followed by an empty line and the table")
        _, end, rest = after.partition("\n\n")
        page = before + mark + text + (end or "\n") + rest
    return page
