"""Parameters named by their paths, ``params/blocks/attention/query/kernel``, and parted by them."""

from collections.abc import Callable
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

Chosen = Callable[[str], bool]  # whether the parameter of a path is meant


def name_of(path: Any) -> str:
    """A path of ``jax.tree_util`` as it is written."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their paths."""
    return {name_of(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def partition(params: Any, chosen: Chosen | None) -> tuple[Any, Any]:
    """The parameters that are chosen, and the others; two nested dicts. None chooses all."""
    if chosen is None:
        return params, {}
    flat = flatten_dict(params)
    first = {names: leaf for names, leaf in flat.items() if chosen("/".join(("params", *names)))}
    others = {names: leaf for names, leaf in flat.items() if names not in first}
    return unflatten_dict(first), unflatten_dict(others)


def combine(chosen: Any, others: Any) -> Any:
    """The parameters of two parts."""
    return unflatten_dict({**flatten_dict(chosen), **flatten_dict(others)}) if others else chosen
