"""Comparison of the recurrent features of libraries, determined by running each installed library.

    python -m benchmarks.features --json=benchmarks/results/features.json --page=docs/comparison.md
    python -m benchmarks.features --from=benchmarks/results/features.json --page=docs/comparison.md

"yes" means that a documented class, function or argument provides the feature and that its numbers are correct. "no"
means that the numbers are wrong, that the library raises an error, or that none of its public names and arguments of
recurrent layers matches the feature. "?" means that a name matches, but that no probe tests it yet. Everything runs on
the CPU, in about two minutes. The column of a library that is not installed is empty.
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

FROM = flags.DEFINE_string("from", None, "Input JSON file of a previous result; no library is run.")
JSON = flags.DEFINE_string("json", None, "Output JSON file of the result.")
MARKDOWN = flags.DEFINE_bool("markdown", False, "Print the table as Markdown.")
PAGE = flags.DEFINE_string("page", None, "Markdown page in which the table is replaced.")

# Heading in the table: module in benchmarks.features.libraries, and distribution.
LIBRARIES = {
    "flax": ("flax", "flax"),
    "haiku": ("haiku", "dm-haiku"),
    "Keras on JAX": ("keras", "keras"),
    "torch": ("torch", "torch"),
    "equinox": ("equinox", "equinox"),
    "jaxnets": ("jaxnets", "jaxnets"),
}
DEPENDENCIES = ("jax", "jaxlib", "numpy")  # shared by most of the libraries
RECURRENT = re.compile(r"rnn|lstm|gru|mgu|cell|core|unroll|bidirectional|^scan$|^pack_|^pad_", re.I)


def public_names(namespaces: list[Any]) -> set[str]:
    """Returns the public names of a library, and the arguments of its recurrent functions as ``name.argument``."""
    names = {name for space in namespaces for name in dir(space) if not name.startswith("_")}
    arguments = set()
    for space in namespaces:
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
        except ImportError:  # the probe needs another library
            return ""
        except Exception as error:
            print(f"{feature}: {type(error).__name__}: {error}", file=sys.stderr)
            return "failed"
        return str({True: "yes", False: "no"}.get(found, found))
    matches = sorted(name for name in public_names(library.namespaces) if re.search(term, name, re.I))
    return f"? {matches[0]}" if matches else "no"


def column(name: str) -> dict[str, str]:
    """Returns the cells of a library by label. If Linen and NNX agree, they share one text."""
    file, _ = LIBRARIES[name]
    rows = [feature for features in ROWS.values() for feature in features.items()]
    try:
        libraries = importlib.import_module(f"benchmarks.features.libraries.{file}").libraries()
    except ImportError as error:
        print(f"{name}: not installed; its column is empty ({error})", file=sys.stderr)
        return {label: "" for _, (label, _) in rows}
    cells = {}
    for feature, (label, term) in rows:
        found = [cell(library, feature, term) for library in libraries]
        cells[label] = found[0] if len(set(found)) == 1 else f"{found[0]}; nnx {found[1]}"
    return cells


def version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def measure() -> table.Result:
    jax.config.update("jax_platforms", "cpu")
    os.environ["KERAS_BACKEND"] = "jax"
    warnings.simplefilter("ignore")
    columns = {name: column(name) for name in LIBRARIES}
    return {
        "command": "python -m benchmarks.features --json=benchmarks/results/features.json",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in DEPENDENCIES},
        "libraries": {name: version(distribution) for name, (_, distribution) in LIBRARIES.items()},
        "cells": {
            group: {label: {name: columns[name][label] for name in columns} for label, _ in features.values()}
            for group, features in ROWS.items()
        },
    }


def main(overrides: program.Overrides) -> None:
    result = json.loads(Path(FROM.value).read_text()) if FROM.value else measure()
    if JSON.value:
        Path(JSON.value).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    if PAGE.value:
        page = Path(PAGE.value)
        page.write_text(table.placed(page.read_text(), result))
    if not (JSON.value or PAGE.value) or MARKDOWN.value:
        print(table.markdown(result) if MARKDOWN.value else table.text(result))


if __name__ == "__main__":
    program.run(main)
