"""Runs a program of jaxnets, or a script, and writes what Python's audit hooks saw of it to a file.

    python tests/audited.py LOG jaxnets.evaluate --workdir=...
    python tests/audited.py LOG script.py

The log has a JSON list per line, an event and what it is about: sockets that reach other processes, processes, and
paths that are written, made, moved or removed. What compiled libraries do by themselves, hooks do not see.
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


def seen(event: str, arguments: tuple) -> list:
    """What an event is about: texts; none for one that does nothing outside this process."""
    if event == "open":
        path, _, flags = arguments
        return [] if isinstance(path, int) or not flags & WRITING else [path]
    if event == "socket.__new__":  # event loops make pairs of local ones
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
        for about in seen(event, arguments):
            text = os.fsdecode(about) if isinstance(about, bytes | os.PathLike) else str(about)
            os.write(file, (json.dumps([event, text]) + "\n").encode())

    sys.argv = [program, *flags]
    sys.addaudithook(hook)
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
