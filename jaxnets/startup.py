"""Preparation of a program before it imports JAX: signals, standard streams and the ``[train]`` extra.

The import of JAX takes about a second. Without this module, Ctrl-C during the import would print a traceback. A file
that is opened while standard error is closed would get file descriptor 2 and receive the messages of libraries.
"""

import contextlib
import os
import signal
import sys
from typing import Any, TextIO

from jaxnets.ops.host import extras


def prepare(module: str) -> None:
    """Prepares a program's module to be run or imported.

    If the module is run, closed standard streams are opened on ``os.devnull``, and signals end the process with the
    right exit code until ``interruption.raise_on_signals`` replaces the handlers. The process exits with code 2 if the
    ``[train]`` extra is missing.

    Args:
        module: ``__name__`` of the program's module.

    Raises:
        MissingExtraError: The module is imported and the ``[train]`` extra is missing.
    """
    if module != "__main__":
        extras.require(module, "train")
        return
    _open_streams()
    _exit_on_signals()
    try:
        extras.require(f"jaxnets.{_program()}", "train")
    except extras.MissingExtraError as error:
        print(f"{_program()}: {error}", file=sys.stderr)
        sys.exit(2)


def _open_streams() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # uses the smallest free descriptor, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    sys.stderr = IgnoreWriteErrors(sys.stderr)


def _exit_on_signals() -> None:
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup ignores SIGHUP on purpose. SIGINT is ignored only because a script started the program with "&".
        if signal_number != signal.SIGHUP or signal.getsignal(signal_number) != signal.SIG_IGN:
            signal.signal(signal_number, _exit)


class IgnoreWriteErrors:
    """A wrapper of standard error that ignores failed writes, so that a closed pipe does not end a run."""

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


def _program() -> str:
    return os.path.splitext(os.path.basename(sys.argv[0]))[0]


def _exit(signal_number: int, frame: Any) -> None:
    os.write(2, f"{_program()}: stopped by {signal.Signals(signal_number).name}\n".encode())
    os._exit(128 + signal_number)
