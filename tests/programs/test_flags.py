"""Command lines: flag files and ``--config.KEY=VALUE`` overrides."""

import json

import pytest

from jaxnets import program
from jaxnets.training.errors import UsageError


def test_flag_files_may_contain_overrides(tmp_path, run_program):
    (tmp_path / "size.txt").write_text("--config.model.hidden_size=8\n--json\n")
    (tmp_path / "flags.txt").write_text(
        "# a comment\n--model=recurrent.CharRNN\n\n--config.model.vocab_size=65\n"
        f"--config.model.hidden_size=16\n--flagfile={tmp_path / 'size.txt'}\n"
    )
    done = run_program("summary", "--config.model.num_layers=2", f"--flagfile={tmp_path / 'flags.txt'}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parameters"] == 65 * 64 + 4 * 8 * (64 + 8 + 1) + 4 * 8 * (8 + 8 + 1) + 65 * 9


@pytest.mark.parametrize("content", [None, b"\xff\xfe--json"], ids=["missing", "not UTF-8"])
def test_unreadable_flag_files_are_rejected(tmp_path, content):
    path = tmp_path / "flags.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="flagfile"):
        program.with_flag_files([f"--flagfile={path}"])


def test_overrides_are_separated_from_flags():
    others, overrides = program.take_overrides(["train", "--config=a", "--config.b.c=1=2", "-config.d", "-3", "--e"])
    assert others == ["train", "--config=a", "--e"]
    assert overrides == [("b.c", "1=2"), ("d", "-3")]


@pytest.mark.parametrize("argv", [["--config.a"], ["--config.a", "--workdir=b"], ["--config.a 5", "--json"]])
def test_override_without_value_is_rejected(argv):
    with pytest.raises(UsageError, match="--config.a.* must have a value: --config.a"):
        program.take_overrides(argv)
