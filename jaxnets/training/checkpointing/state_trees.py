"""State trees of checkpoints, in which the variables of the model are separate from the rest of the state."""

from typing import Any

import jax

from jaxnets.learning import Learner
from jaxnets.learning.parameters import path_name
from jaxnets.training.state import State


def to_tree(learner: Learner, state: State) -> dict[str, Any]:
    """Converts a state, or its shapes, to the tree ``{"step", "variables", "rest"}``.

    ``rest`` contains the leaves of the learner's state that are not variables. Random keys are converted to their data.
    """
    leaves, structure = jax.tree.flatten(state.learner)
    variable_indices = learner.variables(jax.tree.unflatten(structure, range(len(leaves))))
    arrays = [_key_data(leaf) for leaf in leaves]
    indices = set(jax.tree.leaves(variable_indices))
    paths = [path for path, _ in jax.tree.leaves_with_path(state.learner)]
    rest: dict[str, Any] = {}
    for index, path in enumerate(paths):
        if index not in indices:
            _insert(rest, [path_name((key,)) for key in path] or ["state"], arrays[index])
    variables = jax.tree.map(lambda index: arrays[index], variable_indices)
    return {"step": state.step, "variables": variables, "rest": rest}


def from_tree(learner: Learner, like: State, tree: dict[str, Any]) -> State:
    """Converts a tree back to a state: the inverse of ``to_tree``. ``like`` is the abstract state."""
    leaves, structure = jax.tree.flatten(like.learner)
    indices = list(range(len(leaves)))
    index_tree = to_tree(learner, State(0, jax.tree.unflatten(structure, indices)))  # type: ignore[arg-type]
    arrays = dict(
        zip(
            jax.tree.leaves((index_tree["variables"], index_tree["rest"])),
            jax.tree.leaves((tree["variables"], tree["rest"])),
            strict=True,
        )
    )
    new_leaves = [_wrap_key_data(arrays[index], leaves[index]) for index in indices]
    return State(tree["step"], jax.tree.unflatten(structure, new_leaves))


def _insert(tree: dict[str, Any], path: list[str], leaf: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(leaf: Any) -> Any:
    if not _is_key(leaf):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        data = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
        return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=leaf.sharding)
    return jax.random.key_data(leaf)


def _wrap_key_data(leaf: Any, like: Any) -> Any:
    if not _is_key(like):
        return leaf
    impls: list[Any] = []
    jax.eval_shape(lambda key: impls.append(jax.random.key_impl(key)), like)  # key_impl does not accept abstract keys
    return jax.random.wrap_key_data(leaf, impl=impls[0])
