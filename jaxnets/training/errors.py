"""What programs tell a user in one sentence instead of a traceback."""


class UsageError(Exception):
    """The command or its config is wrong: exit code 2."""


class RunError(Exception):
    """The work could not be done or go on: exit code 1."""
