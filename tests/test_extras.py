"""Optional dependencies: errors name the missing extra, and core modules import without extras."""

import ast
import os
import re
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from conftest import ROOT

from jaxnets import data, tasks
from jaxnets.__main__ import programs
from jaxnets.learning import evaluators
from jaxnets.ops.host import extras

OPTIONAL = {package: extra for extra, packages in extras.EXTRAS.items() for package in packages}
# Packages that require [train] at import, and so may import all of it without a further check.
TRAINING = ("data", "reports", "tasks", "training")
CORE = ("attention", "convolution", "decoding", "exported", "generative", "learning", "modules", "ops", "recurrent")
CORE += ("series", "sets", "text", "weights")

# The content of sitecustomize.py, which Python imports at startup.
HIDING = """
import os, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["HIDDEN"].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def run_without(tmp_path, environment):
    """``run_without(packages, *arguments)`` runs Python as if some packages were not installed."""
    (tmp_path / "sitecustomize.py").write_text(HIDING)

    def run(packages, *arguments):
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        own = {**environment, "PYTHONPATH": path, "HIDDEN": " ".join(packages)}
        return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=own, capture_output=True, text=True)

    return run


def test_extras_match_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, packages in extras.EXTRAS.items():
        found = [re.match(r"[\w-]+", requirement)[0] for requirement in project["optional-dependencies"][extra]]
        assert sorted(found) == sorted(packages.values())
    required = {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}
    assert not required & {name for packages in extras.EXTRAS.values() for name in packages.values()}


@pytest.mark.parametrize("package, extra", OPTIONAL.items())
def test_require_names_the_missing_package_and_its_extra(package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # makes the import fail
    expected = f"jaxnets.x needs .*{extras.EXTRAS[extra][package]}.*: pip install 'jaxnets\\[{extra}\\]'"
    with pytest.raises(extras.MissingExtraError, match=expected) as caught:
        extras.require("jaxnets.x", extra)
    assert isinstance(caught.value, ModuleNotFoundError)


@pytest.mark.parametrize("package", extras.EXTRAS["train"])
def test_training_modules_name_the_missing_extra(package, run_without):
    code = f"""
import importlib
for name in {[*TRAINING, *programs(), "training.loop", "data.dataset"]}:
    try:
        importlib.import_module(f"jaxnets.{{name}}")
    except ModuleNotFoundError as error:
        print(error)
    else:
        print(name, "was imported")
"""
    done = run_without([package], "-c", code)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(TRAINING) + len(programs()) + 2
    for line in lines:
        assert re.fullmatch(
            rf"jaxnets\.\w+ needs {extras.EXTRAS['train'][package]}: pip install 'jaxnets\[train\]'", line
        )


@pytest.mark.parametrize("name", programs())
def test_programs_name_the_missing_extra_in_one_line(name, run_without):
    done = run_without(["grain", "tqdm"], "-m", f"jaxnets.{name}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{name}: jaxnets.{name} needs grain, tqdm: pip install 'jaxnets[train]'\n"


@pytest.mark.parametrize(
    "config, hidden, message",
    [
        ("translation", "tokenizers", "jaxnets.data.tokens.pieces needs tokenizers: pip install 'jaxnets[text]'"),
        ("mnist1d", "mnist1d", "jaxnets.data.mnist1d needs mnist1d: pip install 'jaxnets[mnist1d]'"),
    ],
)
def test_configs_name_the_missing_extra_in_one_line(config, hidden, message, run_without, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{n} and {n}\ttwice {n}\n" for n in range(100)))
    flags = [f"--config.data.path={pairs}"] if config == "translation" else []
    done = run_without([hidden], "-m", "jaxnets.train", f"--workdir={tmp_path}/run", f"--config={config}", *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"train: {message}\n"


def test_functions_name_the_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(extras.MissingExtraError, match=r"jaxnets\[text\]"):
        data.learn_pieces(["a text"], 300)
    with pytest.raises(extras.MissingExtraError, match=r"jaxnets\[text\]"):
        tasks.translation(None, None, None)
    monkeypatch.setitem(sys.modules, "mnist1d", None)
    with pytest.raises(extras.MissingExtraError, match=r"jaxnets\[mnist1d\]"):
        data.mnist1d()
    monkeypatch.setitem(sys.modules, "sklearn", None)
    auroc = evaluators.auroc(lambda variables, batch: None)
    with pytest.raises(extras.MissingExtraError, match=r"jaxnets\[train\]"):
        auroc.compute({"test": [(np.zeros(2), np.zeros(2))]})


def test_core_modules_import_without_extras(run_without):
    code = f"import sys, {', '.join(f'jaxnets.{name}' for name in CORE)}; print(*sys.modules)"
    done = run_without(OPTIONAL, "-c", code)
    assert done.returncode == 0, done.stderr
    assert not {name.partition(".")[0] for name in done.stdout.split()} & {*OPTIONAL, "orbax", "tensorstore"}


def test_recurrent_imports_in_two_seconds_without_extras(run_without):
    code = """
import sys, time
import jax
before = set(sys.modules)  # JAX itself imports flatbuffers if it is installed
from jaxnets import recurrent
print(time.process_time(), *set(sys.modules) - before)
"""
    runs = [run_without([], "-c", code).stdout.split() for _ in range(3)]
    assert min(float(run[0]) for run in runs) < 2
    assert not {name.partition(".")[0] for name in runs[0][1:]} & {*OPTIONAL, "orbax", "tensorstore"}


def test_every_optional_import_is_guarded():
    package = ROOT / "jaxnets"
    guarded = set()
    for path in package.rglob("*.py"):
        text = path.read_text("utf-8")
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                extra = OPTIONAL.get(name.partition(".")[0])
                place = path.relative_to(package).parts[0].removesuffix(".py")
                if extra is None or (extra == "train" and place in (*TRAINING, *programs())):
                    continue
                if place == "exported":  # copied into every export, and used without jaxnets: it has its own errors
                    continue
                assert re.search(rf'extras\.require\([^)]*"{extra}"\)', text), f"{path}: {name}"
                guarded.add(name.partition(".")[0])
    assert guarded == {"sklearn", "tokenizers", "sacrebleu", "mnist1d"}
