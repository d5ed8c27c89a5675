"""Parser of optimized HLO (``compiled.as_text()``): computations and the number of executions of each."""

import math
import re
from collections import defaultdict

COMPUTATION = re.compile(r"(ENTRY )?%([\w.\-]+) \(.*\{$")
CALLS = re.compile(r"\b(?:body|condition|calls|to_apply|\w+_computations?)=\{?((?:%[\w.\-]+(?:, )?)+)")
TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
BELOW = re.compile(r"ROOT .* compare\(%[\w.\-]+, %([\w.\-]+)\), direction=LT")
OPERATION = re.compile(r"\s+(?:ROOT )?%[\w.\-]+ = (?:\(.*?\)|\S+) ([a-z][\w\-]*)\(")
NOT_LAUNCHED = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all"),
    *("fusion-done", "copy-done", "async-done", "partition-id", "replica-id"),
}


def computations(hlo: str) -> dict[str, list[str]]:
    """Returns the lines of each computation, callees first. The entry computation has the name ""."""
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
    """Returns the number of executions of each computation; NaN within a loop with an unknown trip count."""
    runs: dict[str, float] = defaultdict(float, {"": 1.0})
    for name, lines in reversed(computations.items()):
        for line in lines:
            trips = _trip_count(line, computations) if " while(" in line else 1.0
            for other in called(line):
                runs[other] += runs[name] * trips
    return runs


def called(line: str) -> list[str]:
    """Returns the names of the computations that a line calls."""
    return [name for names in CALLS.findall(line) for name in re.findall(r"%([\w.\-]+)", names)]


def _trip_count(loop: str, computations: dict[str, list[str]]) -> float:
    """Returns the trip count of a ``while`` loop, or NaN if it is unknown."""
    if known := TRIP_COUNT.search(loop):
        return float(known[1])
    condition = re.search(r"condition=%([\w.\-]+)", loop)
    lines = "\n".join(computations[condition[1]]) if condition else ""
    if (below := BELOW.search(lines)) and (end := re.search(rf"%{re.escape(below[1])} = .* constant\((\d+)\)", lines)):
        return float(end[1])
    return math.nan


def launches(hlo: str) -> float:
    """Returns the number of kernels that a program launches. Kernels in loops count once per iteration."""
    lines_by_name = computations(hlo)
    runs = times(lines_by_name)
    lines = [line for body in lines_by_name.values() for line in body]
    fused = {name for line in lines if not re.search(r" (while|conditional|call)\(", line) for name in called(line)}
    # The condition of a loop with a known trip count is not evaluated.
    counted = [line for line in lines if "known_trip_count" in line]
    conditions = {name for line in counted for name in re.findall(r"condition=%([\w.\-]+)", line)}
    total = 0.0
    for name, body in lines_by_name.items():
        if name in fused | conditions:
            continue
        operations = [match[1] for line in body if (match := OPERATION.match(line))]
        total += runs[name] * sum(operation not in NOT_LAUNCHED for operation in operations)
    return total
