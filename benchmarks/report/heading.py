"""Headings of the sections of the report."""

from typing import Any


def heading(name: str, result: dict[str, Any]) -> list[str]:
    """Returns a heading with the device, the command and the versions of a result."""
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    title = f"## {result['device']}, {result['cores']} cores: {name}"
    return [title, "", f"`{result['command']}`", "", f"Python {result['python']}, {versions}.", ""]
