"""Configuration of the documentation site: ``sphinx-build -W docs build/docs``."""

import functools
import importlib
import os
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

autodoc_default_options = {"members": True, "special-members": "__call__", "show-inheritance": False}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
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
    """Leaves out fields of classes, which the docstring of the class lists."""
    return skip or not callable(thing)


def setup(app) -> None:
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("builder-inited", write_reference)
