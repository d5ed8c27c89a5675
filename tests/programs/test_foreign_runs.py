"""Programs with an untrusted run: no network access, no subprocess, no files written outside the run folder."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

CACHES = (".cache/jaxnets/xla",)  # below the home folder; docs/security.md lists them

# Loads and calls an export with its own copy of the loader.
LOAD = """
import os, sys
sys.path.insert(0, sys.argv[1])
import numpy, load
model = load.load(sys.argv[1])
assert model(numpy.zeros((2, 5), numpy.int32)).shape[:2] == (2, 5)
"""


@pytest.fixture(scope="module")
def foreign(small_run, tmp_path_factory):
    """A folder with a copy of a run and an empty home folder."""
    folder = tmp_path_factory.mktemp("foreign")
    shutil.copytree(small_run, folder / "run")
    (folder / "home").mkdir()
    (folder / "load.py").write_text(LOAD)
    return folder


def audited(foreign, environment, *command):
    """Runs a command and returns its effects outside the process: ``[(event, object), ...]``."""
    log = foreign / "log"
    log.unlink(missing_ok=True)
    own = {name: value for name, value in environment.items() if name not in ("JAX_COMPILATION_CACHE_DIR", "TMPDIR")}
    own |= {"HOME": str(foreign / "home"), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    own.pop("XDG_CACHE_HOME", None)
    arguments = [sys.executable, str(ROOT / "tests" / "audited.py"), str(log), *map(str, command)]
    done = subprocess.run(arguments, cwd=foreign, env=own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()]


def outside(foreign, events):
    """Returns the events outside the run and the caches, except for empty probe files in the temporary folder."""
    allowed = [foreign / "run", *(foreign / "home" / cache for cache in CACHES)]
    parents = {str(parent) for cache in allowed for parent in cache.parents}

    def is_allowed(event, text):
        if event.startswith(("socket", "subprocess")):
            return False
        path = os.path.realpath(os.path.join(foreign, text))
        within = any(path == str(folder) or path.startswith(f"{folder}{os.sep}") for folder in allowed)
        return within or (event == "os.mkdir" and path in parents) or text == "/proc/self/comm"  # the process name

    probed = {text for event, text in events if event == "os.remove" and os.path.dirname(text) == "/tmp"}
    return [(event, text) for event, text in events if text not in probed and not is_allowed(event, text)]


PROGRAMS = {
    "evaluate": ("jaxnets.evaluate", "--workdir=run"),
    "generate": ("jaxnets.generate", "--workdir=run", "--length=3"),
    "export": ("jaxnets.export", "--workdir=run"),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "evaluate")) for n in PROGRAMS])
def test_programs_write_only_to_the_run_folder_and_caches(foreign, environment, name):
    events = audited(foreign, environment, *PROGRAMS[name])
    assert outside(foreign, events) == []
    assert any("xla" in text for _, text in events)  # the audit hook was active


@pytest.mark.slow
def test_loaded_export_writes_nothing(foreign, environment):
    if not (foreign / "run" / "export").exists():
        audited(foreign, environment, *PROGRAMS["export"])
    events = audited(foreign, environment, "load.py", foreign / "run" / "export")
    assert [event for event in events if event[1] != "/proc/self/comm"] == []


def test_audit_records_sockets_processes_and_files(foreign, environment):
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
