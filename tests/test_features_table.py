"""Table of features in the comparison page, generated from a stored result."""

import json

import pytest
from conftest import ROOT

from benchmarks.features import rows, table
from jaxnets.training.errors import UsageError

RESULT = json.loads((ROOT / "benchmarks" / "results" / "features.json").read_text())
PAGE = (ROOT / "docs" / "comparison.md").read_text()


def test_comparison_page_matches_stored_result():
    assert table.insert(PAGE, RESULT) == PAGE


def test_stored_result_has_every_row_and_library():
    labels = {group: [label for label, _ in features.values()] for group, features in rows.ROWS.items()}
    assert {group: list(features) for group, features in RESULT["cells"].items()} == labels
    for features in RESULT["cells"].values():
        for cells in features.values():
            assert list(cells) == list(RESULT["libraries"])
            assert all(cells.values()) and "failed" not in cells.values()


def test_new_table_replaces_only_the_old_one():
    result = {"libraries": {"a": "1.0+cpu", "b": ""}, "cells": {"Cells": {"LSTM": {"a": "yes", "b": "no"}}}}
    new = "|  | a 1.0 | b |\n| --- | --- | --- |\n| **Cells** |  |  |\n| LSTM | yes | no |"
    page = f"before\n\n{table.MARK}%s\n\nafter\n\nend\n"
    assert table.insert(page % "| old |\n| --- |", result) == page % new
    with pytest.raises(UsageError, match=r"the page must contain the line <!-- made by benchmarks\.features -->"):
        table.insert("no mark", result)


def result_of(columns, jax="0.10"):
    cells = {"Cells": {"LSTM": columns}}
    names = dict.fromkeys(columns, "1")
    return {"python": names, "versions": {"jax": jax}, "libraries": names, "cells": cells}


def test_merge_replaces_only_new_columns_in_order():
    merged = table.merge(result_of({"a": "yes", "c": "no"}), result_of({"b": "no", "c": "yes"}), ["a", "b", "c"])
    assert merged == result_of({"a": "yes", "b": "no", "c": "yes"})
    assert list(merged["cells"]["Cells"]["LSTM"]) == list(merged["libraries"]) == ["a", "b", "c"]


def test_merge_rejects_other_versions():
    with pytest.raises(UsageError, match="the versions must be those of the stored result"):
        table.merge(result_of({"a": "yes"}), result_of({"a": "no"}, jax="0.11"), ["a"])
