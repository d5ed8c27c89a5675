"""README's table of features is the kept result of the program that found it."""

import json

import pytest
from conftest import ROOT

from benchmarks.features import rows, table
from jaxnets.training.errors import UsageError

RESULT = json.loads((ROOT / "benchmarks" / "results" / "features.json").read_text())
PAGE = (ROOT / "docs" / "comparison.md").read_text()


def test_the_table_in_the_readme_is_made_from_the_kept_result():
    assert table.placed(PAGE, RESULT) == PAGE


def test_the_kept_result_answers_every_row_for_every_library():
    labels = {group: [label for label, _ in features.values()] for group, features in rows.ROWS.items()}
    assert {group: list(features) for group, features in RESULT["cells"].items()} == labels
    for features in RESULT["cells"].values():
        for cells in features.values():
            assert list(cells) == list(RESULT["libraries"])
            assert all(cells.values()) and "failed" not in cells.values()


def test_a_table_replaces_the_old_one_and_leaves_the_page():
    result = {"libraries": {"a": "1.0+cpu", "b": ""}, "cells": {"Cells": {"LSTM": {"a": "yes", "b": "no"}}}}
    new = "|  | a 1.0 | b |\n| --- | --- | --- |\n| **Cells** |  |  |\n| LSTM | yes | no |"
    page = f"before\n\n{table.MARK}%s\n\nafter\n\nend\n"
    assert table.placed(page % "| old |\n| --- |", result) == page % new
    with pytest.raises(UsageError, match=r"the page has no line <!-- made by benchmarks\.features -->"):
        table.placed("no mark", result)
