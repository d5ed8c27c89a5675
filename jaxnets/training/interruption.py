"""Ctrl-C, SIGTERM and SIGHUP: the loop finishes its step, saves and prints how to go on."""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

# A terminal that closes sends SIGHUP, a scheduler SIGTERM, some several times.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ONE = 1.0  # seconds within which several signals are one


class Interruption:
    """A context within which the first signal is noted, and one that comes later ends the program at once.

    Attributes:
        signal: The number of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        for number in _heard():
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > ONE:
            raise Interrupted(number)


class Interrupted(BaseException):
    """A signal ended the program outside a training loop; not an Exception, so that nothing catches it by the way."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def raise_on_signals() -> None:
    """Makes signals raise ``Interrupted`` wherever the program is."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in _heard():
        signal.signal(number, handler)


def _heard() -> list[signal.Signals]:
    """The signals that end a program; below ``nohup`` SIGHUP is ignored and stays so."""
    return [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it signals end the process at once, also while a library waits and no Python code hears them.

    A handler that the library installs meanwhile is gone afterwards.
    """
    numbers = _heard()
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
