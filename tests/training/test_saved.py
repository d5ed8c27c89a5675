"""What a checkpoint holds of any learner's state, random keys among it, is given back as it was."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets.learning import Aux, Learner, gradient, skip_nonfinite, with_ema
from jaxnets.learning.optimizers import adamw
from jaxnets.training.checkpointing import saved
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.checkpointing.digests import digests
from jaxnets.training.state import create

BATCH = {"inputs": np.ones((4, 3), np.float32)}


class KeyedState(NamedTuple):
    variables: Any
    key: jax.Array
    keys: list[Any]


def first(key, batch):
    return {"params": {"kernel": jax.random.normal(key, (3, 2)), "bias": jnp.zeros(2)}}


def loss(variables, batch, context):
    carry = jnp.zeros((4, 2)) if context.carry is None else context.carry
    carry = carry + batch["inputs"] @ variables["params"]["kernel"]
    return jnp.mean(carry**2), Aux((carry, jnp.int32(3)))


def keyed(impl: str) -> Learner:
    """Draws from a key that it keeps."""

    def start(key, batch, variables=None):
        own = jax.random.key(7, impl=impl)
        keys = [jax.random.split(own, 3), {"a/b": own, "rbg": jax.random.key(1, impl="rbg")}]
        return KeyedState(first(key, batch), own, keys)

    return Learner(start, lambda *_: None, lambda state: state.variables, lambda state: "replicated")


def only_variables() -> Learner:
    return Learner(lambda *given: first(*given[:2]), lambda *_: None, lambda state: state, lambda state: "parameters")


PLAIN = gradient(first, loss, adamw(10, 0.1, clip_norm=1.0))
LEARNERS = {
    "gradient": PLAIN,
    "average": with_ema(PLAIN, 0.9),
    "all wrappers": skip_nonfinite(with_ema(PLAIN, 0.9)),
    "no state of an optimizer": gradient(first, lambda *given: (loss(*given)[0], Aux()), optax.sgd(0.1)),
    "variables alone": only_variables(),
    "keys": keyed("threefry2x32"),
    "other keys": keyed("rbg"),
}


def numbers(tree):
    """A tree with the numbers that random keys are made of."""
    is_key = lambda leaf: jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
def test_a_state_is_given_back_by_its_checkpoint(tmp_path, learner):
    make = lambda: create(learner, BATCH, 0)
    state, abstract = jax.jit(make)(), jax.eval_shape(make)
    tree = saved.split(learner, state)
    assert set(tree) == {"step", "variables", "rest"}
    chex.assert_trees_all_equal(tree["variables"], learner.variables(state.learner))
    assert len(jax.tree.leaves(tree)) == len(jax.tree.leaves(state))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(5, tree, {"next_index": 5}, None)
        checkpoints.wait()
        step, found, _ = checkpoints.restore(saved.split(learner, abstract))
    assert step == 5 and digests(found) == digests(tree)
    joined = saved.join(learner, abstract, found)
    assert jax.tree.structure(joined) == jax.tree.structure(state)
    assert jax.tree.map(lambda leaf: leaf.dtype, joined) == jax.tree.map(lambda leaf: leaf.dtype, state)
    chex.assert_trees_all_equal(numbers(joined), numbers(state))


def test_keys_that_are_restored_draw_the_same_numbers():
    learner = keyed("rbg")
    state = create(learner, BATCH, 0)
    joined = saved.join(learner, jax.eval_shape(lambda: create(learner, BATCH, 0)), saved.split(learner, state))
    for one, other in zip(jax.tree.leaves(joined.learner[1:]), jax.tree.leaves(state.learner[1:]), strict=True):
        draw = jax.vmap(jax.random.uniform) if one.ndim else jax.random.uniform
        np.testing.assert_array_equal(draw(one), draw(other))


def test_digests_of_keys_are_those_of_their_numbers():
    key = jax.random.key(3)
    assert digests({"key": key}) == digests({"key": jax.random.key_data(key)}) != digests({"key": jax.random.key(4)})


def test_the_average_is_saved_as_the_variables():
    """So that a run is evaluated with it, and another begins with it, without its optimizer's state."""
    learner = LEARNERS["all wrappers"]
    state = create(learner, BATCH, 0)
    tree = saved.split(learner, state)
    assert tree["variables"].keys() == {"params"}
    assert tree["rest"]["state"]["variables"].keys() == {"params"}
    assert tree["rest"].keys() == {"state", "skipped"}
    assert set(tree["rest"]["state"]["carry"]) == {"0", "1"}
