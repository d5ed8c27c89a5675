"""Pages of the gallery and of the benchmarks."""

import pytest
from conftest import ROOT

from benchmarks.report import __main__ as report
from benchmarks.report import gallery

PAGES = gallery.pages()


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_made_from_the_recorded_results(name):
    assert (gallery.FOLDER / name).read_text() == PAGES[name]


def test_figures_exist():
    for page in PAGES.values():
        for line in page.splitlines():
            if line.startswith("!["):
                assert (ROOT / "docs" / "pictures" / line.rpartition("/")[2].removesuffix(")")).exists(), line


def test_benchmarks_page_is_made_from_the_recorded_results(tmp_path):
    page = report.page(ROOT / "benchmarks" / "results", tmp_path)
    assert (ROOT / "docs" / "benchmarks.md").read_text() == page
    charts = {f"benchmarks_{family.name}.png" for family in report.FAMILIES}
    assert {path.name for path in tmp_path.iterdir()} == charts
    assert all(f"](pictures/{name})" in page and (ROOT / "docs" / "pictures" / name).exists() for name in charts)
