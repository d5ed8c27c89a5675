"""Timestamps of regular series: parsing, checks of their order and of gaps, and continuation beyond the end."""

import dataclasses
import datetime
from collections.abc import Sequence

import numpy as np

from jaxnets.ops.host.printable import printable

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}


@dataclasses.dataclass(frozen=True)
class Frequency:
    """The step between the timestamps of a regular series.

    Attributes:
        count: The number of units, positive.
        unit: ``"s"`` for seconds, ``"M"`` for calendar months, ``"1"`` for integers without a calendar.
    """

    count: int
    unit: str

    def __post_init__(self):
        if type(self.count) is not int or self.count < 1 or self.unit not in ("s", "M", "1"):
            raise ValueError(f"a frequency must have a positive count of s, M or 1, got {self.count!r} {self.unit!r}")

    def __str__(self) -> str:
        if self.unit == "1":
            return f"a step of {self.count}"
        if self.unit == "M":
            return "1 month" if self.count == 1 else f"{self.count} months"
        name, size = next((n, s) for n, s in reversed(UNITS.items()) if self.count % s == 0)
        number = self.count // size
        return f"1 {name}" if number == 1 else f"{number} {name}s"

    def after(self, time: int, steps: np.ndarray) -> np.ndarray:
        """Returns the times that are ``steps`` steps after ``time``, in seconds or as integers."""
        if self.unit != "M":
            return time + self.count * steps
        start = np.datetime64(time, "s")
        month = start.astype("datetime64[M]")
        rest = start - month.astype("datetime64[s]")
        return ((month + self.count * steps).astype("datetime64[s]") + rest).astype(np.int64)


def parse(text: str) -> int | None:
    """Parses a date or time in ISO 8601 (``2016-07-01 05:00:00``) or an integer; None if it is neither.

    Returns:
        Seconds since 1970, in UTC if the text has an offset; or the integer.
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.microsecond:
        return None
    zone = found.tzinfo or datetime.UTC
    return int(found.replace(tzinfo=zone).timestamp())


def show(time: int, unit: str, brief: bool = True) -> str:
    """Formats a time for messages and tables; ``brief`` omits the time of day at midnight."""
    if unit == "1":
        return str(time)
    text = str(np.datetime64(int(time), "s"))
    return (text.removesuffix("T00:00:00") if brief else text).replace("T", " ")


def frequency_of(times: np.ndarray, calendar: bool) -> Frequency:
    """Returns the most frequent step between the increasing times of a series: seconds, months, or integers."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        return Frequency(1, "s" if calendar else "1")
    values, counts = np.unique(steps, return_counts=True)
    most = int(values[np.argmax(counts)])
    if not calendar:
        return Frequency(most, "1")
    days = values // UNITS["day"]
    if np.all(values % UNITS["day"] == 0) and len(values) > 1 and days.min() >= 28 and days.max() <= 366:
        months = np.diff(times.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64))
        if len(np.unique(months)) == 1:
            return Frequency(int(months[0]), "M")
    return Frequency(most, "s")


def check_regular(
    path: str, column: str, times: np.ndarray, lines: Sequence[int], frequency: Frequency, of: str = ""
) -> None:
    """Checks that times increase by one step per row.

    Args:
        path: The path, for messages.
        column: Name of the column.
        times: int64 ``[T]``.
        lines: The line of each row.
        frequency: The step.
        of: Name of the series for messages, such as ``" of series 'a'"``.

    Raises:
        ValueError: A timestamp is repeated, earlier than the previous one, or there is a gap.
    """
    expected = (
        np.array([int(frequency.after(int(t), np.array(1))) for t in times[:-1]])
        if frequency.unit == "M"
        else (times[:-1] + frequency.count)
    )
    wrong = np.flatnonzero(times[1:] != expected)
    if not len(wrong):
        return
    row = int(wrong[0]) + 1
    unit = frequency.unit
    got, before, wanted = (show(int(t), unit) for t in (times[row], times[row - 1], expected[row - 1]))
    where = f"{path}, line {int(lines[row]):,}, column {printable(repr(column), 60)}"
    if times[row] == times[row - 1]:
        raise ValueError(f"{where} must be later than in the row before{of}, got {got} twice")
    if times[row] < times[row - 1]:
        raise ValueError(f"{where} must be sorted by time{of}, got {got} after {before}")
    hint = "; fill the gap with rows of empty cells" if times[row] > expected[row - 1] else ""
    raise ValueError(f"{where} must be {wanted}, {frequency} after the row before{of}, got {got}{hint}")
