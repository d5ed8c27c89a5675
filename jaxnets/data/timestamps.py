"""Timestamps of regular series: parsing, checks of their order and of gaps, and continuation beyond the end."""

import dataclasses
import datetime
import re
from collections.abc import Callable

import numpy as np

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
KINDS = ("s", "M", "E", "1")

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_DATE = re.compile(r"(19|20)\d{6}", re.ASCII)  # 20240131, unless it is no date


@dataclasses.dataclass(frozen=True)
class Frequency:
    """The step between the timestamps of a regular series.

    Attributes:
        count: The number of units, positive.
        unit: ``"s"`` for seconds; ``"M"`` for calendar months; ``"E"`` for calendar months, at their last day; ``"1"``
            for integers without a calendar.
    """

    count: int
    unit: str

    def __post_init__(self):
        if type(self.count) is not int or self.count < 1 or self.unit not in KINDS:
            raise ValueError(f"a frequency must be a positive number of s, M, E or 1, got {self.count!r} {self.unit!r}")

    def __str__(self) -> str:
        if self.unit == "1":
            return f"a step of {self.count}"
        if self.unit in ("M", "E"):
            return "1 month" if self.count == 1 else f"{self.count} months"
        name, size = next((n, s) for n, s in reversed(UNITS.items()) if self.count % s == 0)
        number = self.count // size
        return f"1 {name}" if number == 1 else f"{number} {name}s"

    def after(self, start: int, steps: np.ndarray) -> np.ndarray:
        """Returns the times ``steps`` steps after the start of a series, in seconds or as integers.

        A month that is too short has the time at its last day.
        """
        if self.unit in ("s", "1"):
            return start + self.count * steps
        first = np.datetime64(start, "s")
        months = first.astype("datetime64[M]") + (self.count * np.asarray(steps)).astype("timedelta64[M]")
        days = first.astype("datetime64[D]") - first.astype("datetime64[M]").astype("datetime64[D]")
        last = (months + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")
        wanted = last if self.unit == "E" else np.minimum(months.astype("datetime64[D]") + days, last)
        of_day = first - first.astype("datetime64[D]").astype("datetime64[s]")
        return (wanted.astype("datetime64[s]") + of_day).astype(np.int64)


def parse(text: str) -> tuple[int, bool] | None:
    """Parses a date or time in ISO 8601, such as ``2016-07-01 05:00:00``, or an integer.

    Returns:
        Seconds since 1970 and True, or the integer and False. None if the text is neither, has a time zone, or has
        fractions of seconds.
    """
    if _INTEGER.fullmatch(text) and not _is_date(text):
        return int(text), False
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.microsecond or found.tzinfo is not None:
        return None
    return int(found.replace(tzinfo=datetime.UTC).timestamp()), True


def _is_date(text: str) -> bool:
    """Returns True for digits such as 20240131."""
    if not _DATE.fullmatch(text):
        return False
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def show(time: int, unit: str, brief: bool = True) -> str:
    """Formats a time for messages and tables; ``brief`` omits the time of day at midnight."""
    if unit == "1":
        return str(time)
    text = str(np.datetime64(int(time), "s"))
    return (text.removesuffix("T00:00:00") if brief else text).replace("T", " ")


def frequency_of(times: np.ndarray, calendar: bool) -> Frequency:
    """Returns the most frequent step between the times of a series: seconds, months, or integers."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        return Frequency(1, "s" if calendar else "1")
    if not calendar:
        return Frequency(_most_frequent(steps), "1")
    if len(np.unique(steps)) > 1 and steps.min() >= 28 * UNITS["day"] and not np.any(np.diff(times % UNITS["day"])):
        days = times.astype("datetime64[s]").astype("datetime64[D]")
        at_end = np.all((days + np.timedelta64(1, "D")).astype("datetime64[M]") > days.astype("datetime64[M]"))
        months = np.diff(days.astype("datetime64[M]").astype(np.int64))
        return Frequency(_most_frequent(months[months > 0]), "E" if at_end else "M")
    return Frequency(_most_frequent(steps), "s")


def _most_frequent(steps: np.ndarray) -> int:
    values, counts = np.unique(steps, return_counts=True)
    return int(values[np.argmax(counts)])


def check_regular(times: np.ndarray, frequency: Frequency, place: Callable[[int], str]) -> None:
    """Checks that times increase by one step per row.

    Args:
        times: int64 ``[T]``.
        frequency: The step.
        place: Returns the description of a row for messages.

    Raises:
        ValueError: A timestamp is repeated, earlier than the previous one, or there is a gap.
    """
    if not len(times):
        return
    expected = frequency.after(int(times[0]), np.arange(len(times)))
    wrong = np.flatnonzero(times != expected)
    if not len(wrong):
        return
    row = int(wrong[0])
    got, before, wanted = (show(int(t), frequency.unit) for t in (times[row], times[row - 1], expected[row]))
    if times[row] == times[row - 1]:
        raise ValueError(f"{place(row)} must be later than in the row before, got {got} twice")
    if times[row] < times[row - 1]:
        raise ValueError(f"{place(row)} must be sorted by time, got {got} after {before}")
    hint = "; fill the gap with rows of empty cells" if times[row] > expected[row] else ""
    raise ValueError(f"{place(row)} must be {wanted}, {frequency} after the row before, got {got}{hint}")


def start_and_frequency(
    shown: str, times: np.ndarray | None, length: int, frequency: Frequency | None
) -> tuple[int, Frequency]:
    """Returns the first time and the step of an array of times.

    Args:
        shown: The path of the file, escaped for messages.
        times: datetime64 or integers ``[T]``; None: 0, 1, ...
        length: T.
        frequency: The step that the times must have; None: the most frequent one.

    Raises:
        ValueError: The array has another type or shape, or times are not regular.
    """
    if times is None:
        return 0, frequency or Frequency(1, "1")
    is_valid = times.shape == (length,) and times.dtype.kind in "iuM"
    if not is_valid or (times.dtype.kind == "M" and np.isnat(times).any()):
        raise ValueError(
            f"{shown}: time must be integers or datetime64 of shape ({length},), got {times.dtype} {times.shape}"
        )
    calendar = times.dtype.kind == "M"
    seconds = times.astype("datetime64[s]") if calendar else times
    if np.any(seconds != times):
        raise ValueError(f"{shown}: time must be in whole seconds, got {times[np.flatnonzero(seconds != times)[0]]}")
    seconds = seconds.astype(np.int64)
    frequency = frequency or frequency_of(seconds, calendar)
    place: Callable[[int], str] = lambda row: f"{shown}: time at step {row:,}"
    check_regular(seconds, frequency, place)
    return int(seconds[0]), frequency
