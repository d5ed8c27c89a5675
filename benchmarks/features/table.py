"""The feature table as text and as Markdown, and its insertion into a page.

The table is made from the result that ``benchmarks.features --json`` saves: the libraries with their versions, and the
cells by group, feature and library.
"""

from collections.abc import Callable
from typing import Any

from jaxnets.training.errors import UsageError

MARK = "<!-- made by benchmarks.features -->\n\n"

Result = dict[str, Any]


def rows(result: Result, heading: Callable[[str], str]) -> list[list[str]]:
    """Returns a header row with the libraries, then one row per group and feature.

    Args:
        result: The measured result.
        heading: Formats the name of a group.
    """
    # A local version, the part after "+", identifies a build. The result contains it; the page does not need it.
    names = [f"{name} {version.partition('+')[0]}".strip() for name, version in result["libraries"].items()]
    found = [["", *names]]
    for group, features in result["cells"].items():
        found.append([heading(group), *("" for _ in names)])
        found += [[label, *(cells[name] for name in result["libraries"])] for label, cells in features.items()]
    return found


def text(result: Result) -> str:
    found = rows(result, str.upper)
    widths = [max(map(len, column)) for column in zip(*found, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in found)


def markdown(result: Result) -> str:
    head, *body = rows(result, "**{}**".format)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])


def insert(page: str, result: Result) -> str:
    """Replaces the paragraph after the mark in the page by this table."""
    before, mark, after = page.partition(MARK)
    if not mark:
        raise UsageError(f"the page must contain the line {MARK.strip()}, followed by an empty line and the table")
    _, end, rest = after.partition("\n\n")
    return before + mark + markdown(result) + end + rest


def merge(old: Result, new: Result, order: list[str]) -> Result:
    """Replaces the columns of the old result that the new result contains.

    Args:
        old: The stored result.
        new: The result of some of the libraries, with the same versions of JAX and NumPy.
        order: The names of all libraries in the order of the columns.
    """
    if old["versions"] != new["versions"]:
        raise UsageError(f"the versions must be those of the stored result, {old['versions']}, got {new['versions']}")

    def merge_columns(a: dict[str, str], b: dict[str, str]) -> dict[str, str]:
        merged = {**a, **b}
        return {name: merged[name] for name in order if name in merged}

    cells = {
        group: {label: merge_columns(old["cells"][group][label], row) for label, row in features.items()}
        for group, features in new["cells"].items()
    }
    return {**old, **{key: merge_columns(old[key], new[key]) for key in ("python", "libraries")}, "cells": cells}
