"""Collectives of a compiled program, parsed from its partitioned HLO."""

import math
import re
from typing import NamedTuple

from benchmarks.runs.hlo import called, computations, times

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

INSTRUCTION = re.compile(rf"\s+(?:ROOT )?%[\w.\-]+ = (.*?) ({'|'.join(KINDS)})(-start)?\(")
ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """A collective operation.

    Attributes:
        kind: One of ``KINDS``.
        bytes: Size of the full array on one device: the operand of an all-reduce or a reduce-scatter, the result of an
            all-gather.
        devices: Number of devices in a group.
        times: Number of executions in one run of the program.
    """

    kind: str
    bytes: float
    devices: int
    times: int

    @property
    def sent(self) -> float:
        """Bytes that a device sends in total with a ring algorithm.

        The fraction of the array is 2 (n - 1) / n for an all-reduce, 1 for a permutation and (n - 1) / n otherwise.
        """
        if self.kind == "collective-permute":
            return self.times * self.bytes
        passes = 2 if self.kind == "all-reduce" else 1
        return self.times * passes * self.bytes * (self.devices - 1) / self.devices


def collectives(hlo: str) -> list[Collective]:
    """Returns the collectives of a program, ``compiled.as_text()``, that involve more than one device.

    Collectives in a loop count once per iteration. Several fusions with one channel count once: a TPU splits an
    asynchronous collective into a start and an end. All branches of a conditional count. A loop with a constant upper
    bound whose trip count XLA does not report is assumed to start at 0, as the loop of a scan does.

    Raises:
        ValueError: A collective is in a loop with an unknown trip count.
    """
    partitions = re.search(r"num_partitions=(\d+)", hlo)
    num_partitions = int(partitions[1]) if partitions else 1
    parts = computations(hlo)
    runs = times(parts)
    fused = {name for lines in parts.values() for line in lines if " fusion(" in line for name in called(line)}
    found, channels = [], set()
    for name, lines in parts.items():
        for line in lines:
            matched = INSTRUCTION.match(line)
            if not matched or not runs[name]:
                continue
            if name in fused and (channel := re.search(r"channel_id=\d+", line)):
                if channel[0] in channels:
                    continue
                channels.add(channel[0])
            if math.isnan(runs[name]):
                raise ValueError(f"a collective in a loop of unknown length: {line.strip()[:200]}")
            devices = _group(line, num_partitions)
            if devices > 1:
                size = _bytes(matched[1], matched[2], matched[3] is not None, devices)
                # On a TPU a reduce-scatter is a fusion that contains an all-reduce.
                kind = "reduce-scatter" if name.startswith("all-reduce-scatter") else matched[2]
                found.append(Collective(kind, size, devices, int(runs[name])))
    return found


def _group(line: str, num_partitions: int) -> int:
    """Returns the number of devices in a group, from any of XLA's formats for groups."""
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return listed[1].count(",") + 1
    if counted := re.search(r"replica_groups=\[\d+,(\d+)\]<=", line):
        return int(counted[1])
    if meshed := re.search(r"replica_groups=mesh\[(.*?)\](?:, device_ids=\(.*?\))? \{(.*?)\}", line):
        sizes = dict(re.findall(r"('\w+')=(\d+)", meshed[1]))
        # A part of an axis is written 'axis':(pre-size)size.
        axes = re.findall(r"('\w+')(?::\(\d+\)(\d+))?", meshed[2])
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    return num_partitions


def _bytes(result: str, kind: str, started: bool, devices: int) -> float:
    """Returns the size of the full array from the type of the result, which may include the operand if asynchronous."""
    total = sum(
        math.prod(map(int, filter(None, shape.split(",")))) * (int(bits) if bits else 8) / 8
        for _, bits, shape in ARRAY.findall(result)
    )
    if not started or kind == "all-reduce":
        return total * devices if kind == "reduce-scatter" else total
    if kind == "collective-permute":
        return (total - 4 * result.count("u32[]")) / 2  # without two u32 scalars
    if kind == "all-to-all":
        return total / 2
    return total * devices / (devices + 1)
