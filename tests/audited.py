"""Runner of a program or script that logs its events from Python's audit hooks.

    python tests/audited.py LOG jaxnets.evaluate --workdir=...
    python tests/audited.py LOG script.py

Each line of the log is a JSON list of an event and its object: a socket to another process, a process, or a path that
is written, created, moved or removed. Audit hooks do not cover system calls of compiled libraries.
"""

import json
import os
import runpy
import socket
import sys

PROCESSES = (
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
)
PATHS = ("os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.rmtree")
PAIRS = ("os.rename", "os.link", "os.symlink", "shutil.move")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def objects_of(event: str, arguments: tuple) -> list:
    """Returns the objects of an event; empty if it has no effect outside this process."""
    if event == "open":
        path, _, flags = arguments
        return [] if isinstance(path, int) or not flags & WRITING else [path]
    if event == "socket.__new__":  # event loops create pairs of local sockets
        return [] if arguments[1] == socket.AF_UNIX else [arguments[1]]
    if event in PROCESSES or (event.startswith("socket.") and event != "socket.gethostname"):
        return list(arguments)
    if event in PATHS:
        return [arguments[0]]
    return list(arguments[:2]) if event in PAIRS else []


def main() -> None:
    log, program, *flags = sys.argv[1:]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def hook(event: str, arguments: tuple) -> None:
        for found in objects_of(event, arguments):
            text = os.fsdecode(found) if isinstance(found, bytes | os.PathLike) else str(found)
            os.write(file, (json.dumps([event, text]) + "\n").encode())

    sys.argv = [program, *flags]
    sys.addaudithook(hook)
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
