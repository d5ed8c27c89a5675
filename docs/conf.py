"""Configuration of the documentation site: ``sphinx-build -W docs build/docs``."""

import functools
import importlib
import os
import re
import sys
from pathlib import Path

import jaxnets

# Notebooks call `python`: the one that builds the site, also if its environment is not activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

project = "jaxnets"
author = "the jaxnets developers"
version = release = jaxnets.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # formulas render without a network
    "sphinx_copybutton",
]
exclude_patterns = ["api/_*", "README.md"]
html_theme = "furo"
html_title = f"jaxnets {release}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

autodoc_default_options = {"members": True, "special-members": "__call__"}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]  # fields are listed like arguments

FAMILIES = {
    "recurrent": "Recurrent networks",
    "attention": "Attention",
    "convolution": "Convolutional networks",
    "sets": "Sets",
    "series": "Time series",
    "text": "Text",
    "generative": "Generative models",
    "modules": "Modules",
    "decoding": "Decoding",
    "weights": "Weights",
    "learning": "Learning",
    "tasks": "Tasks",
    "data": "Data",
    "reports": "Reports",
    "exported": "Exported models",
}


def reference_page(family: str, title: str) -> str:
    """A page with the docstrings of all public names of a family."""
    module = importlib.import_module(f"jaxnets.{family}")
    lines = [f"# {title}", "", f"`jaxnets.{family}`", "", "```{eval-rst}", f".. currentmodule:: jaxnets.{family}", ""]
    for name in sorted(module.__all__, key=str.lower):
        thing = getattr(module, name)
        if isinstance(thing, functools.partial):  # its docstring is that of functools.partial
            lines += [
                f".. py:data:: {name}",
                "",
                f"   A partial of ``{thing.func.__module__}.{thing.func.__name__}``.",
                "",
            ]
            continue
        kind = "autoclass" if isinstance(thing, type) else "autofunction" if callable(thing) else "autodata"
        lines += [f".. {kind}:: {name}", ""]
    return "\n".join([*lines, "```", ""])


def write_reference(app) -> None:
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    for family, title in FAMILIES.items():
        page, text = folder / f"{family}.md", reference_page(family, title)
        if not page.exists() or page.read_text() != text:  # an unchanged page is not built again
            page.write_text(text)


def skip_fields(app, what, name, thing, skip, options) -> bool:
    """Leaves out fields of classes, which the docstring of the class lists, also if their default is a function."""
    return skip or getattr(thing, "__name__", None) != name


# Types are written as in the source: jaxtyping expands Float[ArrayLike, "T"] to a union of types of arrays and numbers,
# and Linen adds fields to every module.
TYPES = (
    (r"~?jaxtyping\.(\w+)\[(?:jaxlib\._jax\.)?Array, ('[^']*')\] \| ~?jaxtyping\.\1\[ndarray, \2\]", r"\1[Array, \2]"),
    (r"(\w+)\[Array, ('[^']*')\](?: \| ~?(?:numpy\.\w+|bool|int|float|complex)\b)+", r"\1[ArrayLike, \2]"),
    (
        r"str \| type\[~?typing\.Any\] \| ~?numpy\.dtype \| ~?jax\._src\.typing\.SupportsDType(?: \| ~?typing\.Any)?",
        "Dtype",
    ),
    (r"~?jaxlib\._jax\.Array\b", "Array"),
    (r"<class 'jax\.numpy\.(\w+)'>", r"\1"),
    (r"(?:, )?parent: [^=]*= <flax\.linen\.module\._Sentinel object>, name: str \| None = None", ""),
)


def shorten_types(app, what, name, thing, options, signature, annotation) -> tuple[str | None, str | None]:
    def shorten(text: str | None) -> str | None:
        for pattern, short in TYPES:
            text = text and re.sub(pattern, short, text)
        return text

    return shorten(signature), shorten(annotation)


def setup(app) -> None:
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-signature", shorten_types)
    app.connect("builder-inited", write_reference)
