"""List of programs that ``python -m jaxnets`` prints."""

import subprocess
import sys

import pytest
from conftest import ROOT

from jaxnets import __main__ as listing


def test_each_program_is_listed_in_one_line():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jaxnets"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    listed = {line.split()[0]: line for line in done.stdout.partition("\n\n")[2].splitlines()}
    assert {"train", "evaluate", "generate", "export", "summary"} <= set(listed)
    assert not {"__main__", "program", "startup", "devices"} & set(listed)
    for name, line in listed.items():
        assert line.endswith(".") and len(line) <= 120, name
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "jaxnets" in imported and "jax" not in imported


@pytest.mark.parametrize(
    "argument, message", [("train", "got 'train'; run it with: python -m jaxnets.train"), ("x", "got 'x'\n")]
)
def test_arguments_are_rejected(argument, message, capsys):
    assert listing.main([argument]) == 2
    assert message in capsys.readouterr().err


def test_help_prints_the_list(capsys):
    assert listing.main(["--help"]) == 0
    assert "Training of the model, data and task of a config." in capsys.readouterr().out
