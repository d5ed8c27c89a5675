"""Fast starts of programs under test: forks of a process that has already imported their libraries."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")  # a single-threaded process that runs no JAX computation
FORKS.set_forkserver_preload(["jaxnets.program", "jaxnets.exported", "jaxnets.training.build", "jaxnets.training.loop"])


def launch(program: str, arguments: list[str], cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess:
    """Runs ``python -m jaxnets.PROGRAM``, with the environment and standard input of the server process."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "out"), Path(folder, "err")
        process = FORKS.Process(target=_main, args=(program, arguments, cwd, *written))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired([program, *arguments], timeout)
        return subprocess.CompletedProcess(arguments, process.exitcode, *(path.read_text() for path in written))


def _main(program: str, arguments: list[str], cwd: Path, out: Path, err: Path) -> None:
    os.chdir(cwd)
    for path, stream in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    sys.argv[1:] = arguments
    runpy.run_module(f"jaxnets.{program}", run_name="__main__", alter_sys=True)
