"""Parameters named by their paths, ``params/blocks/attention/query/kernel``, and chosen with a regular expression."""

import re
from collections.abc import Iterable
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxnets.training.errors import UsageError

EXAMPLES = 8  # paths that an error lists


def name_of(path: Any) -> str:
    """A path of ``jax.tree_util`` as it is written."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their paths."""
    return {name_of(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def divide(params: Any, frozen: str) -> tuple[Any, Any]:
    """The parameters that are trained, and those in whose path ``frozen`` is found; two nested dicts."""
    if not frozen:
        return params, {}
    flat = flatten_dict(params)
    fixed = {names: leaf for names, leaf in flat.items() if re.search(frozen, "/".join(("params", *names)))}
    trained = {names: leaf for names, leaf in flat.items() if names not in fixed}
    return unflatten_dict(trained), unflatten_dict(fixed)


def join(trained: Any, fixed: Any) -> Any:
    """The parameters of two parts."""
    return unflatten_dict({**flatten_dict(trained), **flatten_dict(fixed)}) if fixed else trained


def matching(key: str, pattern: str, paths: Iterable[str]) -> set[str]:
    """The paths in which the pattern of ``--config.key`` is found; none for an empty one.

    Raises:
        UsageError: It is no regular expression, or is found in no path, or in all.
    """
    if not pattern:
        return set()
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--config.{key}={pattern}: not a regular expression: {error}") from error
    everything = sorted(paths)
    found = {path for path in everything if expression.search(path)}
    if not found or len(found) == len(everything):
        dots = ", ..." if len(everything) > EXAMPLES else ""
        listed = ", ".join(everything[:EXAMPLES]) + dots
        raise UsageError(
            f"--config.{key}={pattern}: it is found in {'all' if found else 'none'} of the paths: {listed}"
        )
    return found
