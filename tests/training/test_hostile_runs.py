"""Untrusted run folders: they cannot make a program hang, write elsewhere or fail with a traceback."""

import json
import os

import pytest

from jaxnets import data
from jaxnets.training import run_files, rundir
from jaxnets.training.config import differences, load
from jaxnets.training.errors import RunError
from jaxnets.training.reporting import metrics

DATA = data.adding(length=5, batch_size=3)


@pytest.fixture
def run(tmp_path):
    rundir.claim(tmp_path / "run", load("adding"), DATA)
    with metrics.MetricWriter(tmp_path / "run", 0) as writer:
        writer.write(5, {"train/loss": 1.0})
    return tmp_path / "run"


@pytest.fixture
def victim(tmp_path):
    """A file outside the run that must not change."""
    path = tmp_path / "thesis.tex"
    path.write_text("years of work")
    yield path
    assert path.read_text() == "years of work"


READERS = {
    "config.json": rundir.load,
    "data.json": rundir.data,
    "run.json": run_files.read_run_id,
    "metrics.jsonl": metrics.read_metrics,
}
NOT_FILES = {
    "pipe": (os.mkfifo, "got a named pipe"),
    "folder": (lambda path: path.mkdir(), "got a folder"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "got a symbolic link"),
    "link to a file": (lambda path: path.symlink_to("../thesis.tex"), "got a symbolic link"),
}


@pytest.mark.parametrize("make, kind", NOT_FILES.values(), ids=NOT_FILES)
@pytest.mark.parametrize("name", READERS)
def test_only_regular_files_are_read(run, victim, name, make, kind):
    (run / name).unlink()
    make(run / name)
    with pytest.raises(RunError, match=f"{name} must be a regular file, {kind}|{name} cannot be read: .*, {kind}"):
        READERS[name](run)


CONTENTS = {
    "empty": b"",
    "nested": b"[" * 200_000,
    "list": b"[1, 2]",
    "number": b"1e999",
    "not UTF-8": b'{"\xff": 1}',
    "half": b'{"seed": ',
    "digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "null characters": b"\0" * 100,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("name", ["config.json", "data.json", "run.json"])
def test_files_without_an_object_are_rejected_in_one_line(run, name, content):
    (run / name).write_bytes(content)
    with pytest.raises(RunError, match=f"{name} cannot be read: ") as caught:
        READERS[name](run)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(run), "")) < 300


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_invalid_lines_of_metrics_are_ignored(run, content):
    path = run / "metrics.jsonl"
    path.write_bytes(content + b'\n{"step": "7"}\n{"step": 6, "validation/loss": 2.0}\n')
    assert metrics.read_metrics(run) == [{"step": 6, "validation/loss": 2.0}]
    with metrics.MetricWriter(run, 5) as writer:  # removes rows after the step
        writer.write(6, {"validation/loss": 3.0})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"step": 6, "validation/loss": 3.0}]


@pytest.mark.parametrize("name", [".config.json.tmp", ".data.json.tmp", ".metrics.jsonl.tmp"])
def test_links_with_the_name_of_a_temporary_file_are_not_followed(run, victim, name):
    (run / name).symlink_to(victim)
    rundir.claim(run, load("adding"), DATA)
    metrics.MetricWriter(run, 0).__exit__(None, None, None)
    assert differences(rundir.load(run), load("adding")) == []
    assert not (run / name).is_symlink()


@pytest.mark.parametrize("make, kind", NOT_FILES.values(), ids=NOT_FILES)
def test_a_lock_must_be_a_regular_file(run, victim, make, kind):
    make(run / ".lock")
    with pytest.raises(RunError, match=f".lock must be a regular file, {kind}"), rundir.lock(run):
        pass


def test_a_lock_is_not_truncated(run):
    (run / ".lock").write_text("of another program")
    with rundir.lock(run):
        assert (run / ".lock").read_text() == "of another program"


@pytest.mark.parametrize("name", ["figures", "samples", "tensorboard", "profile", "damaged"])
def test_output_folders_must_not_be_links(run, tmp_path, name):
    if (run / name).exists():
        (run / name).rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=f"{name} must be a folder, got a symbolic link"):
        rundir.claim(run, load("adding"), DATA)
    (run / name).unlink()
    (run / name).mkdir()
    (run / name / "curves.png").symlink_to(tmp_path / "elsewhere" / "x")
    with pytest.raises(RunError, match="curves.png must be a regular file, got a symbolic link"):
        rundir.claim(run, load("adding"), DATA)
