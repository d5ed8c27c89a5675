"""The first steps of a program, before it imports JAX: signals and standard streams.

Importing JAX takes a second, in which Ctrl-C would end in a traceback; and a file that is opened while standard error
is closed would get its number, and the messages of libraries.
"""

import contextlib
import os
import signal
import sys
from typing import Any, TextIO


def prepare() -> None:
    """Opens standard streams that are closed, on nothing, and lets signals end the process with the right exit code.

    Later ``interruption.raise_on_signals`` replaces the handlers.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the smallest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    sys.stderr = Tolerant(sys.stderr)
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Below nohup SIGHUP is ignored and stays so; SIGINT is ignored by every job that a script starts with "&".
        if signal_number != signal.SIGHUP or signal.getsignal(signal_number) != signal.SIG_IGN:
            signal.signal(signal_number, _exit)


class Tolerant:
    """Standard error that may break, as a pipe whose reader has ended: what cannot be shown does not end a run."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _exit(number: int, frame: Any) -> None:
    program = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    os.write(2, f"{program}: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)
