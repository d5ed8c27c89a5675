"""Special files, and a time limit for code that reads them."""

import contextlib
import os
import signal
import socket


@contextlib.contextmanager
def time_limit(seconds):
    """Raises a ``TimeoutError`` after a number of seconds."""

    def late(*_):
        raise TimeoutError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def listening(path):
    before = os.getcwd()
    os.chdir(path.parent)  # the name of a socket has a maximum length
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(before)
