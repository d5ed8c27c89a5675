"""The README does what it says: its Python runs, and so do its commands, with settings made small."""

import re
import shlex
import subprocess
import sys

from conftest import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_python_blocks_run_in_order():
    scope: dict = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), scope)
    assert scope["ys"].shape == (8, 100, 128)
    assert scope["logits"].shape == (1, 10, 65)
    assert set(scope["gradient"]) == {"input", "recurrent"}


def test_the_import_example_is_short():
    assert len([line for line in blocks("python")[0].splitlines() if line.strip()]) <= 15


def test_commands_run(tmp_path, environment, small_flags, small_text):
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("python -m")]
    assert len(commands) >= 8
    (tmp_path / "my_texts").mkdir()
    (tmp_path / "my_texts" / "a.txt").write_text(small_text.read_text())
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    for command in commands:
        program = command.split()[2]
        small = []
        if program in ("jaxnets.train", "benchmarks.train_loop", "benchmarks.start"):
            # The README's own settings come last and win.
            fewer = {"jaxnets.train": "--config.train.steps=3", "benchmarks.train_loop": "--steps=20"}
            small = [*small_flags, fewer.get(program, "--rounds=1")]
        arguments = [sys.executable, "-m", program, *small, *shlex.split(command)[3:]]
        done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert (tmp_path / "runs" / "mine" / "config.json").exists()


def test_every_shipped_config_is_in_the_table():
    for config in (ROOT / "configs").glob("*.py"):
        assert f"`{config.stem}`" in README


def test_every_public_name_of_the_recurrent_family_is_in_the_table():
    from jaxnets import recurrent

    for name in set(recurrent.__all__) - {"matmul"}:
        assert f"`{name}`" in README, name
