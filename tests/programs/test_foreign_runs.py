"""What programs do with a run that somebody else made: no network, no process, nothing written outside its folder."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

CACHES = (".cache/jaxnets/xla",)  # below the home folder; docs/security.md lists them

# Loads an export and calls it, as a stranger's program would with a copy of the loader.
LOAD = """
import os, sys
sys.path.insert(0, sys.argv[1])
import numpy, load
model = load.load(sys.argv[1])
assert model(numpy.zeros((2, 5), numpy.int32)).shape[:2] == (2, 5)
"""


@pytest.fixture(scope="module")
def foreign(small_run, tmp_path_factory):
    """A copy of a run's folder, and a home folder without any caches."""
    folder = tmp_path_factory.mktemp("foreign")
    shutil.copytree(small_run, folder / "run")
    (folder / "home").mkdir()
    (folder / "load.py").write_text(LOAD)
    return folder


def audited(foreign, environment, *command):
    """What a command does outside its process: ``[(event, text), ...]``."""
    log = foreign / "log"
    log.unlink(missing_ok=True)
    own = {name: value for name, value in environment.items() if name not in ("JAX_COMPILATION_CACHE_DIR", "TMPDIR")}
    own |= {"HOME": str(foreign / "home"), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    own.pop("XDG_CACHE_HOME", None)
    watched = [sys.executable, str(ROOT / "tests" / "audited.py"), str(log), *map(str, command)]
    done = subprocess.run(watched, cwd=foreign, env=own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()]


def outside(foreign, events):
    """The events that are neither within the run nor within the caches; empty probes of the temporary folder aside."""
    allowed = [foreign / "run", *(foreign / "home" / cache for cache in CACHES)]
    parents = {str(parent) for cache in allowed for parent in cache.parents}

    def is_allowed(event, about):
        if event.startswith(("socket", "subprocess")):
            return False
        path = os.path.realpath(os.path.join(foreign, about))
        within = any(path == str(folder) or path.startswith(f"{folder}{os.sep}") for folder in allowed)
        return within or (event == "os.mkdir" and path in parents) or about == "/proc/self/comm"  # the process's name

    probed = {about for event, about in events if event == "os.remove" and os.path.dirname(about) == "/tmp"}
    return [(event, about) for event, about in events if about not in probed and not is_allowed(event, about)]


PROGRAMS = {
    "evaluate": ("jaxnets.evaluate", "--workdir=run"),
    "generate": ("jaxnets.generate", "--workdir=run", "--length=3"),
    "export": ("jaxnets.export", "--workdir=run"),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "evaluate")) for n in PROGRAMS])
def test_programs_keep_to_the_folder_of_a_run_and_the_caches(foreign, environment, name):
    events = audited(foreign, environment, *PROGRAMS[name])
    assert outside(foreign, events) == []
    assert any("xla" in about for _, about in events)  # the hook saw what is written


@pytest.mark.slow
def test_a_loaded_export_writes_nothing(foreign, environment):
    if not (foreign / "run" / "export").exists():
        audited(foreign, environment, *PROGRAMS["export"])
    events = audited(foreign, environment, "load.py", foreign / "run" / "export")
    assert [event for event in events if event[1] != "/proc/self/comm"] == []


def test_the_audit_sees_sockets_processes_and_files(foreign, environment):
    (foreign / "bad.py").write_text(
        "import os, socket, subprocess, sys\n"
        "socket.socket().close()\n"
        "subprocess.run([sys.executable, '-c', ''])\n"
        "open('written', 'w').close()\n"
        "os.rename('written', 'moved')\n"
        "os.remove('moved')\n"
    )
    found = outside(foreign, audited(foreign, environment, "bad.py"))
    events = {event for event, _ in found}
    assert {"socket.__new__", "subprocess.Popen", "open", "os.rename", "os.remove"} <= events
