"""Installed package, citation file, pre-commit hooks, workflow and contributing guide."""

import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from conftest import ROOT

import jaxnets

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirement(name):
    """Returns the requirement of a core dependency, such as ``jax>=0.10``."""
    (found,) = (each for each in PROJECT["dependencies"] if re.split(r"[^\w-]", each)[0] == name)
    return found


def test_citation_has_current_version_and_license():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # required by the format
    assert citation["version"] == jaxnets.__version__
    assert citation["license"] == PROJECT["license"]


def test_workflow_covers_oldest_and_newest_python_and_jax():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    steps = job["steps"]
    assert steps[-1]["run"] == "bash .ci/run"
    assert any(step.get("with") == {"python-version": "${{ matrix.python }}"} for step in steps)
    listed = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if ":: Python :: 3." in name]
    runs = {(run["python"], run["jax"]) for run in job["strategy"]["matrix"]["include"]}
    assert {(PROJECT["requires-python"].removeprefix(">="), "oldest"), (listed[-1], "newest")} <= runs


def test_workflow_pins_the_oldest_jax(tmp_path):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (run,) = (step["run"] for step in workflow["jobs"]["ci"]["steps"] if step.get("if") == "matrix.jax == 'oldest'")
    variables = {"PATH": "/usr/bin:/bin", "RUNNER_TEMP": str(tmp_path), "GITHUB_ENV": str(tmp_path / "env")}
    subprocess.run(["bash", "-euo", "pipefail", "-c", run], cwd=ROOT, env=variables, check=True)
    assert (tmp_path / "oldest.txt").read_text() == requirement("jax").replace(">=", "==") + "\n"
    assert (tmp_path / "env").read_text() == f"PIP_CONSTRAINT={tmp_path}/oldest.txt\n"


def test_hooks_use_installed_tools():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    tools = {hook["entry"].partition(" ")[0] for hook in repository["hooks"]}
    assert tools == {"ruff", "mypy", "codespell"}
    assert all(hook["language"] == "system" for hook in repository["hooks"])
    assert tools <= {re.split(r"[^\w-]", each)[0] for each in EXTRAS["test"]}


def test_paths_in_the_guide_exist():
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"[\w./]*\w/[\w./]*", guide)
    assert len(paths) > 10
    for path in paths:
        if not path.startswith((".venv", "build/")):
            assert (ROOT / path).exists(), path


@pytest.mark.slow
def test_wheel_includes_configs_and_works_without_the_checkout(tmp_path, environment):
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("jaxnets-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for config in (ROOT / "configs").glob("*.py"):
        assert f"jaxnets/configs/{config.name}" in names
    assert "jaxnets/py.typed" in names
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    assert set(re.findall(r"^Provides-Extra: (.+)$", text, re.MULTILINE)) == set(EXTRAS)
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
