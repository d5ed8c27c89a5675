"""Pages of the gallery, made from recorded results: ``python -m benchmarks.report.gallery``.

Each ``docs/gallery/NAME.json`` describes one system: its command, time, figures, results and published numbers, and its
data. This program writes ``NAME.md`` beside it, and ``index.md``. It runs nothing.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent.parent / "docs" / "gallery"
NOTE = "<!-- made by benchmarks.report.gallery -->"


def page(system: dict[str, Any]) -> str:
    """The Markdown page of one system."""
    commands = "\n".join(system["command"])
    rows = [f"| {model} | {value} | |" for model, value in system["results"]]
    rows += [f"| {model}, published | {value} | {source} |" for model, value, source in system["published"]]
    name, source, license_ = system["data"]
    sections = [
        NOTE,
        f"# {system['title']}",
        system["about"],
        *(f"![{caption}](../pictures/{file})\n\n*{caption}*" for file, caption in system["figures"]),
        "\n".join([f"| model | {system['metric']} | source |", "|---|---|---|", *rows]),
        f"```text\n{system['sample']}```" if "sample" in system else "",
        f"## Command\n\n```bash\n{commands}\n```\n\nTime: {system['time']}, on {system['device']}.",
        f"## Data\n\n{name}. Source: {source}. License: {license_}.",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def index(systems: dict[str, dict[str, Any]]) -> str:
    """The page that lists all systems."""
    rows = [f"| [{s['title']}]({name}.md) | {s['metric']} | {s['results'][0][1]} |" for name, s in systems.items()]
    table = ["| system | metric | result |", "|---|---|---|", *rows]
    toctree = ["```{toctree}", ":hidden:", "", *systems, "queue", "```"]
    return "\n".join([NOTE, "", "# Gallery", "", *table, "", *toctree, ""])


def pages() -> dict[str, str]:
    """All pages by file name."""
    systems = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    return {"index.md": index(systems), **{f"{name}.md": page(system) for name, system in systems.items()}}


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
