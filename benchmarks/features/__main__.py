"""Table of the features of recurrent libraries, determined by running the installed libraries.

    python -m benchmarks.features --json=benchmarks/results/features.json --page=docs/comparison.md
    python -m benchmarks.features --from=benchmarks/results/features.json --page=docs/comparison.md
    python -m benchmarks.features --only=rnn-jax --json=benchmarks/results/features.json --page=docs/comparison.md

"yes": a documented class, function or argument provides the feature, and the numbers are correct. "no": the numbers are
wrong, the library raises an error, or no public name or argument of a recurrent layer matches the feature. "?": a name
matches, but no probe exists yet. The cells of a library that is not installed are empty. The program takes a few
minutes on the CPU.
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
from jaxnets.training.errors import UsageError

ONLY = flags.DEFINE_list("only", None, "Run only these libraries and keep the other columns of the JSON file.")
FROM = flags.DEFINE_string("from", None, "Read the result from this JSON file instead of running the libraries.")
JSON = flags.DEFINE_string("json", None, "Write the result to this JSON file.")
MARKDOWN = flags.DEFINE_bool("markdown", False, "Print a Markdown table.")
PAGE = flags.DEFINE_string("page", None, "Replace the table in this Markdown page.")

# The name of a library in the table, its file in benchmarks/features/libraries and its distribution.
LIBRARIES = {
    "flax": ("flax", "flax"),
    "haiku": ("haiku", "dm-haiku"),
    "Keras on JAX": ("keras", "keras"),
    "torch": ("torch", "torch"),
    "equinox": ("equinox", "equinox"),
    "memax": ("memax", "memax"),
    "memorax": ("memorax", "memorax"),
    "rnn-jax": ("rnn_jax", "rnn-jax"),
    "torchrecurrent": ("torchrecurrent", "torchrecurrent"),
    "jaxnets": ("jaxnets", "jaxnets"),
}
DEPENDENCIES = ("jax", "jaxlib", "numpy")
RECURRENT = re.compile(r"rnn|lstm|gru|mgu|cell|core|unroll|bidirectional|^scan$|^pack_|^pad_", re.I)


def surface(spaces: list[Any]) -> set[str]:
    """Returns the public names of a library, and the arguments of its recurrent names as ``name.argument``."""
    names = {name for space in spaces for name in dir(space) if not name.startswith("_")}
    arguments = set()
    for space in spaces:
        for name in filter(RECURRENT.search, names & set(dir(space))):
            value = getattr(space, name)
            for function in (value, *(getattr(value, call, None) for call in ("__call__", "call", "forward"))):
                with contextlib.suppress(TypeError, ValueError):
                    arguments |= {f"{name}.{argument}" for argument in inspect.signature(function).parameters}
    return names | arguments


def cell(library: Library, feature: str, pattern: str) -> str:
    """Returns one cell: the result of the probe, or of a search for matching names if there is no probe."""
    if feature in library.probes:
        try:
            found = library.probes[feature]()
        except ImportError:  # the probe needs a library that is not installed
            return ""
        except Exception as error:
            print(f"{feature}: {type(error).__name__}: {error}", file=sys.stderr)
            return "failed"
        return str({True: "yes", False: "no"}.get(found, found))
    matches = sorted(name for name in surface(library.spaces) if re.search(pattern, name, re.I))
    return f"? {matches[0]}" if matches else "no"


def column(name: str) -> dict[str, str]:
    """Returns the cells of one library by label. Linen and NNX share a cell if they agree."""
    file, _ = LIBRARIES[name]
    features = [feature for group in ROWS.values() for feature in group.items()]
    try:
        libraries = importlib.import_module(f"benchmarks.features.libraries.{file}").libraries()
    except ImportError as error:
        print(f"{name}: not installed, its cells stay empty ({error})", file=sys.stderr)
        return {label: "" for _, (label, _) in features}
    cells = {}
    for feature, (label, pattern) in features:
        found = [cell(library, feature, pattern) for library in libraries]
        cells[label] = found[0] if len(set(found)) == 1 else f"{found[0]}; nnx {found[1]}"
    return cells


def version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def measure(names: list[str]) -> table.Result:
    """Runs the libraries with these names."""
    jax.config.update("jax_platforms", "cpu")
    os.environ["KERAS_BACKEND"] = "jax"
    warnings.simplefilter("ignore")
    columns = {name: column(name) for name in names}
    return {
        "command": "python -m benchmarks.features --json=benchmarks/results/features.json",
        "python": {name: platform.python_version() for name in names},
        "versions": {name: version(name) for name in DEPENDENCIES},
        "libraries": {name: version(LIBRARIES[name][1]) for name in names},
        "cells": {
            group: {label: {name: columns[name][label] for name in names} for label, _ in features.values()}
            for group, features in ROWS.items()
        },
    }


def read(file: str) -> table.Result:
    return json.loads(Path(file).read_text())


def requested_result() -> table.Result:
    """Reads or measures the result, according to the flags."""
    if FROM.value:
        return read(FROM.value)
    unknown = [name for name in ONLY.value or () if name not in LIBRARIES]
    if unknown:
        raise UsageError(f"`--only` must name libraries of the table, {', '.join(LIBRARIES)}, got {', '.join(unknown)}")
    if not ONLY.value:
        return measure(list(LIBRARIES))
    if not JSON.value:
        raise UsageError("`--only` requires `--json`, the file with the other columns")
    return table.merge(read(JSON.value), measure(ONLY.value), list(LIBRARIES))


def main(overrides: program.Overrides) -> None:
    result = requested_result()
    if JSON.value:
        Path(JSON.value).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    if PAGE.value:
        page = Path(PAGE.value)
        page.write_text(table.insert(page.read_text(), result))
    if not (JSON.value or PAGE.value) or MARKDOWN.value:
        print(table.markdown(result) if MARKDOWN.value else table.text(result))


if __name__ == "__main__":
    program.run(main)
