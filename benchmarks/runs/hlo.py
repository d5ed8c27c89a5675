"""The text of a compiled program (``compiled.as_text()``, optimized HLO): its computations, and how often each runs."""

import math
import re
from collections import defaultdict

COMPUTATION = re.compile(r"(ENTRY )?%([\w.\-]+) \(.*\{$")
CALLS = re.compile(r"\b(?:body|condition|calls|to_apply|\w+_computations?)=\{?((?:%[\w.\-]+(?:, )?)+)")
ROUNDS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
BELOW = re.compile(r"ROOT .* compare\(%[\w.\-]+, %([\w.\-]+)\), direction=LT")
OPERATION = re.compile(r"\s+(?:ROOT )?%[\w.\-]+ = (?:\(.*?\)|\S+) ([a-z][\w\-]*)\(")
NOT_LAUNCHED = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all"),
    *("fusion-done", "copy-done", "async-done", "partition-id", "replica-id"),
}


def computations(hlo: str) -> dict[str, list[str]]:
    """Lines by name of the computation, in which what is called comes before what calls it; "" is the program."""
    found: dict[str, list[str]] = {}
    name = None
    for line in hlo.splitlines():
        if header := COMPUTATION.match(line):
            name = "" if header[1] else header[2]
            found[name] = []
        elif line.startswith("}"):
            name = None
        elif name is not None:
            found[name].append(line)
    return found


def times(computations: dict[str, list[str]]) -> dict[str, float]:
    """How often each computation runs; NaN below a loop of unknown length."""
    runs: dict[str, float] = defaultdict(float, {"": 1.0})
    for name, lines in reversed(computations.items()):
        for line in lines:
            each = _rounds(line, computations) if " while(" in line else 1.0
            for other in called(line):
                runs[other] += runs[name] * each
    return runs


def called(line: str) -> list[str]:
    return [name for names in CALLS.findall(line) for name in re.findall(r"%([\w.\-]+)", names)]


def _rounds(loop: str, computations: dict[str, list[str]]) -> float:
    """How many rounds a ``while`` runs, NaN where that cannot be read."""
    if known := ROUNDS.search(loop):
        return float(known[1])
    condition = re.search(r"condition=%([\w.\-]+)", loop)
    lines = "\n".join(computations[condition[1]]) if condition else ""
    if (below := BELOW.search(lines)) and (end := re.search(rf"%{re.escape(below[1])} = .* constant\((\d+)\)", lines)):
        return float(end[1])
    return math.nan


def launches(hlo: str) -> float:
    """Kernels that one run of a program launches, those in loops once a round."""
    parts = computations(hlo)
    runs = times(parts)
    lines = [line for part in parts.values() for line in part]
    inside = {name for line in lines if not re.search(r" (while|conditional|call)\(", line) for name in called(line)}
    # Of a loop whose rounds are known the condition is not evaluated.
    counted = [line for line in lines if "known_trip_count" in line]
    conditions = {name for line in counted for name in re.findall(r"condition=%([\w.\-]+)", line)}
    total = 0.0
    for name, part in parts.items():
        if name in inside | conditions:
            continue
        found = [match[1] for line in part if (match := OPERATION.match(line))]
        total += runs[name] * sum(operation not in NOT_LAUNCHED for operation in found)
    return total
