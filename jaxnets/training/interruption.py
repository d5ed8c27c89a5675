"""Ctrl-C and SIGTERM: the loop finishes its step, saves and says how to go on."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interruption:
    """A context within which the first SIGINT or SIGTERM is noted, and a second one ends the program at once.

    Attributes:
        signal: The number of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise Interrupted(number)
        self.signal = number


class Interrupted(BaseException):
    """A signal ended the program outside a training loop; not an Exception, so that nothing catches it by the way."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def raise_on_signals() -> None:
    """Makes SIGINT and SIGTERM raise ``Interrupted`` wherever the program is."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it SIGINT and SIGTERM end the process at once, also while a library waits and no Python code hears them.

    A handler that the library installs meanwhile is gone afterwards.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
