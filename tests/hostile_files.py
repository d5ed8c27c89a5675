"""Files that are not regular ones, and a limit of time for what reads them."""

import contextlib
import os
import signal
import socket


@contextlib.contextmanager
def within(seconds):
    """Ends what hangs."""

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
    os.chdir(path.parent)  # the whole path may be longer than the name of a socket may be
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(before)
