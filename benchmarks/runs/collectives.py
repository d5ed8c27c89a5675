"""What a compiled program sends between devices, read from its text after XLA has divided it (post-SPMD HLO)."""

import math
import re
from typing import NamedTuple

from benchmarks.runs.hlo import called, computations, times

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

INSTRUCTION = re.compile(rf"\s+(?:ROOT )?%[\w.\-]+ = (.*?) ({'|'.join(KINDS)})(-start)?\(")
ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """Attributes:
    kind: One of ``KINDS``.
    bytes: Of the whole array on one device: what an all-reduce holds, an all-gather makes, a reduce-scatter reads.
    devices: n, how many exchange it with each other.
    times: How often one run of the program does it.
    """

    kind: str
    bytes: float
    devices: int
    times: int

    @property
    def sent(self) -> float:
        """Bytes that a device sends, all times together, by the ring algorithm: of an all-reduce 2 (n - 1) / n of what
        it has, of a permutation all, of the others (n - 1) / n."""
        if self.kind == "collective-permute":
            return self.times * self.bytes
        passes = 2 if self.kind == "all-reduce" else 1
        return self.times * passes * self.bytes * (self.devices - 1) / self.devices


def collectives(hlo: str) -> list[Collective]:
    """All collectives of a program, ``compiled.as_text()``, in which more than one device takes part.

    What is within a loop counts once a round, several fusions of one channel once (as a TPU begins and ends what runs
    beside something else), and of a conditional every branch. Where XLA does not tell the rounds of a loop that goes
    on below a constant, it counts from 0, as that of a scan does.

    Raises:
        ValueError: One is in a loop of which XLA does not know the number of rounds.
    """
    partitions = re.search(r"num_partitions=(\d+)", hlo)
    everyone = int(partitions[1]) if partitions else 1
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
            devices = _group(line, everyone)
            if devices > 1:
                size = _bytes(matched[1], matched[2], matched[3] is not None, devices)
                # A TPU's reduce-scatter is a fusion of the two of which it was made.
                kind = "reduce-scatter" if name.startswith("all-reduce-scatter") else matched[2]
                found.append(Collective(kind, size, devices, int(runs[name])))
    return found


def _group(line: str, everyone: int) -> int:
    """How many devices exchange something, from the ways in which XLA writes its groups."""
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return listed[1].count(",") + 1
    if counted := re.search(r"replica_groups=\[\d+,(\d+)\]<=", line):
        return int(counted[1])
    if meshed := re.search(r"replica_groups=mesh\[(.*?)\](?:, device_ids=\(.*?\))? \{(.*?)\}", line):
        sizes = dict(re.findall(r"('\w+')=(\d+)", meshed[1]))
        # A part of an axis is written 'axis':(what comes before)size.
        axes = re.findall(r"('\w+')(?::\(\d+\)(\d+))?", meshed[2])
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    return everyone


def _bytes(result: str, kind: str, started: bool, devices: int) -> float:
    """The bytes of the whole array, from the type of the result; of an asynchronous start it often has the operand."""
    total = sum(
        math.prod(map(int, filter(None, shape.split(",")))) * (int(bits) if bits else 8) / 8
        for _, bits, shape in ARRAY.findall(result)
    )
    if not started or kind == "all-reduce":
        return total * devices if kind == "reduce-scatter" else total
    if kind == "collective-permute":
        return (total - 4 * result.count("u32[]")) / 2  # with two numbers of its own
    if kind == "all-to-all":
        return total / 2
    return total * devices / (devices + 1)
