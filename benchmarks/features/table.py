"""Comparison table as text and as Markdown.

The table is made from the result that ``benchmarks.features --json`` saves, with the versions of the libraries and the
cells by group, feature and library.
"""

from collections.abc import Callable
from typing import Any

from jaxnets.training.errors import UsageError

MARK = "<!-- made by benchmarks.features -->\n\n"

Result = dict[str, Any]


def rows(result: Result, heading: Callable[[str], str]) -> list[list[str]]:
    """Returns the header and one row per feature; ``heading`` formats the name of a group."""
    # The build of a version, after "+", is omitted.
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


def placed(page: str, result: Result) -> str:
    """Returns the page with the paragraph after the marker line replaced by this table."""
    before, mark, after = page.partition(MARK)
    if not mark:
        raise UsageError(f"the page must have a line {MARK.strip()}, followed by an empty line and the table")
    _, end, rest = after.partition("\n\n")
    return before + mark + markdown(result) + end + rest
