"""The wheel carries what the programs need."""

import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_the_wheel_carries_the_configs_and_works_without_the_checkout(tmp_path, environment):
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("jaxnets-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for config in (ROOT / "configs").glob("*.py"):
        assert f"jaxnets/configs/{config.name}" in names
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "jaxnets.summary", "--config=char_lm"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "total" in done.stdout
