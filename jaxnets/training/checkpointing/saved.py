"""The tree of arrays that a checkpoint holds: the model's variables apart, to be read without the rest."""

from typing import Any

import jax

from jaxnets.learning import Learner
from jaxnets.learning.parameters import name_of
from jaxnets.training.state import State


def split(learner: Learner, state: State) -> dict[str, Any]:
    """``{"step", "variables", "rest"}`` of a state, or of its shapes: ``rest`` holds the leaves that are no variables.

    Random keys are saved as the numbers they are made of.
    """
    leaves, structure = jax.tree.flatten(state.learner)
    chosen = learner.variables(jax.tree.unflatten(structure, range(len(leaves))))
    saved = [_plain(leaf) for leaf in leaves]
    numbers = set(jax.tree.leaves(chosen))
    paths = [path for path, _ in jax.tree.leaves_with_path(state.learner)]
    rest: dict[str, Any] = {}
    for number, path in enumerate(paths):
        if number not in numbers:
            _insert(rest, [name_of((key,)) for key in path] or ["state"], saved[number])
    return {"step": state.step, "variables": jax.tree.map(lambda number: saved[number], chosen), "rest": rest}


def join(learner: Learner, like: State, saved: dict[str, Any]) -> State:
    """The state that ``split`` made this tree of; ``like`` has its shapes."""
    leaves, structure = jax.tree.flatten(like.learner)
    numbers = list(range(len(leaves)))
    places = split(learner, State(0, jax.tree.unflatten(structure, numbers)))  # type: ignore[arg-type]
    found = dict(
        zip(
            jax.tree.leaves((places["variables"], places["rest"])),
            jax.tree.leaves((saved["variables"], saved["rest"])),
            strict=True,
        )
    )
    whole = [_typed(found[number], leaves[number]) for number in numbers]
    return State(saved["step"], jax.tree.unflatten(structure, whole))


def _insert(tree: dict[str, Any], path: list[str], leaf: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    if not _is_key(leaf):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        data = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
        return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=leaf.sharding)
    return jax.random.key_data(leaf)


def _typed(leaf: Any, like: Any) -> Any:
    if not _is_key(like):
        return leaf
    kind: list[Any] = []
    jax.eval_shape(lambda key: kind.append(jax.random.key_impl(key)), like)  # which takes no shapes itself
    return jax.random.wrap_key_data(leaf, impl=kind[0])
