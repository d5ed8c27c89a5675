"""Positions in the training data, which checkpoints contain."""

from typing import Any

import jax

from jaxnets.training.errors import RunError


def check_position(position: Any, like: Any) -> None:
    """Raises a ``RunError`` if the position in the data that a checkpoint holds does not fit the data.

    The data loader does not check it and would fail later in another thread.
    """
    types = lambda tree: jax.tree.map(type, tree)
    integers = [leaf for leaf in jax.tree.leaves(position) if type(leaf) is int]
    if types(position) != types(like) or any(not 0 <= value < 2**63 for value in integers):
        raise RunError(f"the position in the data of a checkpoint must be like {like}, got {position}")
