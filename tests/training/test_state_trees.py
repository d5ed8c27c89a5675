"""State trees of checkpoints: round trips of the states of several learners, including random keys."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets.learning import Aux, Learner, gradient, skip_nonfinite, with_ema
from jaxnets.learning.optimizers import adamw
from jaxnets.training.checkpointing import state_trees
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.checkpointing.digests import digests
from jaxnets.training.state import create

BATCH = {"inputs": np.ones((4, 3), np.float32)}


class KeyedState(NamedTuple):
    variables: Any
    key: jax.Array
    keys: list[Any]


def init(key, batch):
    return {"params": {"kernel": jax.random.normal(key, (3, 2)), "bias": jnp.zeros(2)}}


def loss(variables, batch, context):
    carry = jnp.zeros((4, 2)) if context.carry is None else context.carry
    carry = carry + batch["inputs"] @ variables["params"]["kernel"]
    return jnp.mean(carry**2), Aux((carry, jnp.int32(3)))


def keyed(impl: str) -> Learner:
    """Returns a learner whose state contains random keys."""

    def start(key, batch, variables=None):
        random_key = jax.random.key(7, impl=impl)
        keys = [jax.random.split(random_key, 3), {"a/b": random_key, "rbg": jax.random.key(1, impl="rbg")}]
        return KeyedState(init(key, batch), random_key, keys)

    return Learner(start, lambda *_: None, lambda state: state.variables, lambda state: "replicated")


def only_variables() -> Learner:
    return Learner(lambda *given: init(*given[:2]), lambda *_: None, lambda state: state, lambda state: "parameters")


PLAIN = gradient(init, loss, adamw(10, 0.1, clip_norm=1.0))
LEARNERS = {
    "gradient": PLAIN,
    "EMA": with_ema(PLAIN, 0.9),
    "all wrappers": skip_nonfinite(with_ema(PLAIN, 0.9)),
    "no optimizer state": gradient(init, lambda *given: (loss(*given)[0], Aux()), optax.sgd(0.1)),
    "variables only": only_variables(),
    "threefry keys": keyed("threefry2x32"),
    "rbg keys": keyed("rbg"),
}


def with_key_data(tree):
    """Returns a tree with the data of random keys."""
    is_key = lambda leaf: jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
def test_a_state_survives_saving_and_restoring(tmp_path, learner):
    make = lambda: create(learner, BATCH, 0)
    state, abstract = jax.jit(make)(), jax.eval_shape(make)
    tree = state_trees.to_tree(learner, state)
    assert set(tree) == {"step", "variables", "rest"}
    chex.assert_trees_all_equal(tree["variables"], learner.variables(state.learner))
    assert len(jax.tree.leaves(tree)) == len(jax.tree.leaves(state))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(5, tree, {"next_index": 5}, None)
        checkpoints.wait()
        step, restored, _ = checkpoints.restore(state_trees.to_tree(learner, abstract))
    assert step == 5 and digests(restored) == digests(tree)
    joined = state_trees.from_tree(learner, abstract, restored)
    assert jax.tree.structure(joined) == jax.tree.structure(state)
    assert jax.tree.map(lambda leaf: leaf.dtype, joined) == jax.tree.map(lambda leaf: leaf.dtype, state)
    chex.assert_trees_all_equal(with_key_data(joined), with_key_data(state))


def test_restored_keys_give_the_same_random_numbers():
    learner = keyed("rbg")
    state = create(learner, BATCH, 0)
    joined = state_trees.from_tree(
        learner, jax.eval_shape(lambda: create(learner, BATCH, 0)), state_trees.to_tree(learner, state)
    )
    for key, expected in zip(jax.tree.leaves(joined.learner[1:]), jax.tree.leaves(state.learner[1:]), strict=True):
        sample = jax.vmap(jax.random.uniform) if key.ndim else jax.random.uniform
        np.testing.assert_array_equal(sample(key), sample(expected))


def test_digests_of_keys_equal_those_of_their_data():
    key = jax.random.key(3)
    assert digests({"key": key}) == digests({"key": jax.random.key_data(key)}) != digests({"key": jax.random.key(4)})


def test_the_ema_is_saved_as_the_variables():
    """Evaluation and initialization of other runs then use the EMA."""
    learner = LEARNERS["all wrappers"]
    state = create(learner, BATCH, 0)
    tree = state_trees.to_tree(learner, state)
    assert tree["variables"].keys() == {"params"}
    assert tree["rest"]["state"]["variables"].keys() == {"params"}
    assert tree["rest"].keys() == {"state", "skipped"}
    assert set(tree["rest"]["state"]["carry"]) == {"0", "1"}
