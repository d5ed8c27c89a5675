"""Signal handling: after Ctrl-C, SIGTERM or SIGHUP the loop completes its step and saves a checkpoint."""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

# A closing terminal sends SIGHUP, a scheduler SIGTERM; some send a signal several times.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_SIGNAL = 1.0  # seconds within which repeated signals count as one


class Interruption:
    """Context manager that records the first signal and raises ``Interrupted`` at the second.

    Attributes:
        signal: The number of the received signal, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since = 0.0
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        for number in _handled_signals():
            self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > SAME_SIGNAL:
            raise Interrupted(number)


class Interrupted(BaseException):
    """Raised when a signal ends the program. It is not an ``Exception``, so that ``except Exception`` lets it pass."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def raise_on_signals() -> None:
    """Installs handlers that raise ``Interrupted``."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in _handled_signals():
        signal.signal(number, handler)


def _handled_signals() -> list[signal.Signals]:
    """Returns the signals to handle. Under ``nohup`` SIGHUP stays ignored."""
    return [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Context manager within which signals end the process at once.

    It is meant for library calls that block and keep Python handlers from running. A handler that the library installs
    is removed at the end.
    """
    numbers = _handled_signals()
    handlers = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
