"""The language of docstrings, comments and pages."""

import ast
import re
import subprocess
import sys

import pytest
from conftest import ROOT

FOLDERS = ("jaxnets", "configs", "benchmarks", "tests")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPENINGS = ("What", "How", "Of", "Theirs", "Its", "Those")
PHRASES = re.compile(r"is told|are told|says so|is no array|a pair a line|a line each|looked at with", re.IGNORECASE)


def docstrings(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


def test_docstrings_begin_with_what_a_thing_is():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in SOURCES
        for line, text in docstrings(path)
        if re.split(r"\W", text.strip(), maxsplit=1)[0] in OPENINGS
    ]
    assert found == []


@pytest.mark.parametrize("folder", [*FOLDERS, "docs"])
def test_no_source_or_page_has_a_banned_phrase(folder):
    paths = PAGES if folder == "docs" else [path for path in SOURCES if path.is_relative_to(ROOT / folder)]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        if path.name != "test_language.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if PHRASES.search(line)
    ]
    assert found == []


def test_spelling_is_american():
    paths = [*(ROOT / folder for folder in FOLDERS), ROOT / "docs", ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    command = [sys.executable, "-m", "codespell_lib", "--toml", str(ROOT / "pyproject.toml"), *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
