"""Paths of parameters, such as ``params/blocks/attention/query/kernel``, and selection by path."""

from collections.abc import Callable
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

PathFilter = Callable[[str], bool]  # maps the path of a parameter to True if it is selected


def path_name(path: Any) -> str:
    """Formats a key path of ``jax.tree_util`` with slashes."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by path."""
    return {path_name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def partition(params: Any, select: PathFilter | None) -> tuple[Any, Any]:
    """Splits parameters into the selected ones and the others, as two nested dicts. None selects all."""
    if select is None:
        return params, {}
    flat = flatten_dict(params)
    selected = {names: leaf for names, leaf in flat.items() if select("/".join(("params", *names)))}
    others = {names: leaf for names, leaf in flat.items() if names not in selected}
    return unflatten_dict(selected), unflatten_dict(others)


def combine(selected: Any, others: Any) -> Any:
    """Merges the two results of ``partition``."""
    return unflatten_dict({**flatten_dict(selected), **flatten_dict(others)}) if others else selected
