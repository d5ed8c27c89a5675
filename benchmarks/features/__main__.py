"""What libraries offer for recurrent networks: a table in which every cell is found by running the installed library.

    python -m benchmarks.features --json=benchmarks/results/features.json --page=docs/comparison.md
    python -m benchmarks.features --from=benchmarks/results/features.json --page=docs/comparison.md

"yes": a documented class, function or argument does it, and the numbers are right. "no": the numbers are wrong, the
library refuses, or it has neither a public name nor an argument of a recurrent layer of that kind. "?": it has such a
name, which this program does not know yet. Everything runs on the CPU, in two minutes; a library that is not
installed is left empty.
"""

import contextlib
import importlib
import importlib.metadata
import inspect
import json
import os
import platform
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
from absl import flags

from benchmarks.features import table
from benchmarks.features.layer import Library
from benchmarks.features.rows import ROWS
from jaxnets import program

FROM = flags.DEFINE_string("from", None, "Run nothing, and read the result from this JSON file.")
JSON = flags.DEFINE_string("json", None, "Write the result to this file.")
MARKDOWN = flags.DEFINE_bool("markdown", False, "Print a Markdown table.")
PAGE = flags.DEFINE_string("page", None, "Replace the table in this Markdown page.")

# What the table calls a library, its file in benchmarks/features/libraries, and the distribution it comes in.
LIBRARIES = {
    "flax": ("flax", "flax"),
    "haiku": ("haiku", "dm-haiku"),
    "Keras on JAX": ("keras", "keras"),
    "torch": ("torch", "torch"),
    "equinox": ("equinox", "equinox"),
    "jaxnets": ("jaxnets", "jaxnets"),
}
BELOW = ("jax", "jaxlib", "numpy")  # what most of them run on
RECURRENT = re.compile(r"rnn|lstm|gru|mgu|cell|core|unroll|bidirectional|^scan$|^pack_|^pad_", re.I)


def surface(spaces: list[Any]) -> set[str]:
    """A library's public names, and the arguments of its recurrent ones as ``name.argument``."""
    names = {name for space in spaces for name in dir(space) if not name.startswith("_")}
    arguments = set()
    for space in spaces:
        for name in filter(RECURRENT.search, names & set(dir(space))):
            thing = getattr(space, name)
            for function in (thing, *(getattr(thing, call, None) for call in ("__call__", "call", "forward"))):
                with contextlib.suppress(TypeError, ValueError):
                    arguments |= {f"{name}.{argument}" for argument in inspect.signature(function).parameters}
    return names | arguments


def cell(library: Library, feature: str, term: str) -> str:
    if feature in library.probes:
        try:
            found = library.probes[feature]()
        except ImportError:  # of another library
            return ""
        except Exception as error:
            print(f"{feature}: {type(error).__name__}: {error}", file=sys.stderr)
            return "failed"
        return str({True: "yes", False: "no"}.get(found, found))
    named = sorted(name for name in surface(library.spaces) if re.search(term, name, re.I))
    return f"? {named[0]}" if named else "no"


def column(name: str) -> dict[str, str]:
    """Every feature's cell, by its label; Linen and NNX in one where they agree."""
    file, _ = LIBRARIES[name]
    asked = [feature for features in ROWS.values() for feature in features.items()]
    try:
        libraries = importlib.import_module(f"benchmarks.features.libraries.{file}").libraries()
    except ImportError as error:
        print(f"{name}: not installed, left empty ({error})", file=sys.stderr)
        return {label: "" for _, (label, _) in asked}
    cells = {}
    for feature, (label, term) in asked:
        found = [cell(library, feature, term) for library in libraries]
        cells[label] = found[0] if len(set(found)) == 1 else f"{found[0]}; nnx {found[1]}"
    return cells


def version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def measured() -> table.Result:
    jax.config.update("jax_platforms", "cpu")
    os.environ["KERAS_BACKEND"] = "jax"
    warnings.simplefilter("ignore")
    columns = {name: column(name) for name in LIBRARIES}
    return {
        "command": "python -m benchmarks.features --json=benchmarks/results/features.json",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in BELOW},
        "libraries": {name: version(distribution) for name, (_, distribution) in LIBRARIES.items()},
        "cells": {
            group: {label: {name: columns[name][label] for name in columns} for label, _ in features.values()}
            for group, features in ROWS.items()
        },
    }


def main(overrides: program.Overrides) -> None:
    result = json.loads(Path(FROM.value).read_text()) if FROM.value else measured()
    if JSON.value:
        Path(JSON.value).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    if PAGE.value:
        page = Path(PAGE.value)
        page.write_text(table.placed(page.read_text(), result))
    if not (JSON.value or PAGE.value) or MARKDOWN.value:
        print(table.markdown(result) if MARKDOWN.value else table.text(result))


if __name__ == "__main__":
    program.run(main)
