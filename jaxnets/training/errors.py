"""Errors that programs report as one sentence instead of a traceback."""

from collections.abc import Sequence

from jaxnets.ops.host.printable import MAX_MESSAGE_LENGTH, printable


class _Error(Exception):
    """Base class of errors with a message for the user.

    Attributes:
        message: One sentence.
        details: Lines to print below the message.
    """

    def __init__(self, message: str, details: Sequence[str] = ()):
        super().__init__(" ".join([message, *details]))
        self.message, self.details = message, tuple(details)


class UsageError(_Error):
    """An invalid command or config. The exit code is 2."""


class RunError(_Error):
    """A failure during the run of a program. The exit code is 1."""


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error of Python or XLA means that memory is exhausted."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def format_error(error: BaseException) -> str:
    """Formats an error of another library on one line, with its type and its message."""
    return format_message(f"{type(error).__name__}: {error}")


def format_message(message: str, max_length: int = MAX_MESSAGE_LENGTH) -> str:
    """Formats a message on one line without control characters. Long messages are shortened in the middle.

    Messages can contain names and texts from untrusted files, which must neither move the cursor of a terminal nor fill
    the screen.
    """
    if len(message) > 20 * max_length:  # escape only characters that can remain
        message = f"{message[: 10 * max_length]} {message[-10 * max_length :]}"
    text = printable(" ".join(message.split()), 10 * len(message))  # escaping makes the text longer
    return text if len(text) <= max_length else f"{text[: max_length // 2 - 3]} ... {text[2 - max_length // 2 :]}"
