"""The documentation of Python's standard library: docstrings, and the pages of ``help``."""

import ast
import inspect
import re
import sysconfig
from pathlib import Path

from jaxnets.data.formats.text_files import standard_library

# A text in triple quotes at the beginning of a module, or after a line that ends with a colon. Parsing all modules
# would take ten times as long.
_DOCSTRING = re.compile(
    r"(?:\A|:[ \t]*\n)(?:[ \t]*(?:#[^\n]*)?\n)*[ \t]*[rRuU]?(?P<quotes>\"\"\"|''')(?P<text>.*?)(?P=quotes)", re.DOTALL
)


def documentation() -> list[str]:
    """Returns the documentation of the standard library, one text for each module with docstrings.

    The sources are read, not executed.
    """
    texts = ["\n\n".join(docstrings(_content(path))) for path in standard_library()]
    topics = Path(sysconfig.get_path("stdlib"), "pydoc_data", "topics.py")
    if topics.is_file():
        texts.append("\n\n".join(_strings(_content(topics))))
    return [text for text in texts if text]


def docstrings(source: str) -> list[str]:
    """Returns the docstrings in triple quotes of a Python source, without their indentation."""
    found = (inspect.cleandoc(match["text"]) for match in _DOCSTRING.finditer(source))
    return [text for text in found if text]


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):  # a few sources have other encodings
        return ""


def _strings(source: str) -> list[str]:
    """Returns the string constants of several lines in a source."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [inspect.cleandoc(text) for text in constants if isinstance(text, str) and "\n" in text]
