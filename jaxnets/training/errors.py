"""What programs tell a user in one sentence instead of a traceback."""

from collections.abc import Sequence

from jaxnets.ops.printable import printable

LONGEST = 300  # characters of a sentence


class _Told(Exception):
    """Attributes:
    message: One sentence.
    details: Lines to print below it.
    """

    def __init__(self, message: str, details: Sequence[str] = ()):
        super().__init__(" ".join([message, *details]))
        self.message, self.details = message, tuple(details)


class UsageError(_Told):
    """The command or its config is wrong: exit code 2."""


class RunError(_Told):
    """The work could not be done or go on: exit code 1."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is one of Python or XLA that found no memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def sentence(error: BaseException) -> str:
    """An error of another library as one line: its type, and its message."""
    return one_line(f"{type(error).__name__}: {error}")


def one_line(message: str, longest: int = LONGEST) -> str:
    """A message as one line of at most so many characters, without control characters; of a long one, both its ends.

    Names, texts and errors that come from somebody else's files are part of messages. They must neither move the
    cursor of a terminal nor fill it.
    """
    if len(message) > 20 * longest:  # what is cut out need not be escaped before
        message = f"{message[: 10 * longest]} {message[-10 * longest :]}"
    text = printable(" ".join(message.split()), 10 * len(message))  # escapes make it longer
    return text if len(text) <= longest else f"{text[: longest // 2 - 3]} ... {text[2 - longest // 2 :]}"
