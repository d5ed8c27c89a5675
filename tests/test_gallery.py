"""Pages of the gallery."""

import pytest
from conftest import ROOT

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
