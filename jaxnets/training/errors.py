"""What programs tell a user in one sentence instead of a traceback."""


class UsageError(Exception):
    """The command or its config is wrong: exit code 2."""


class RunError(Exception):
    """The work could not be done or go on: exit code 1."""


def sentence(error: BaseException) -> str:
    """An error of another library as one line: its type, and at most 300 characters of its message."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message if len(message) <= 300 else message[:297] + '...'}"
