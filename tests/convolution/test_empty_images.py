"""Empty inputs: each public name returns an empty or zero result, or raises an error."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from public_calls import AUGMENTATIONS, BLOCKS, BUILDERS, FUNCTIONS, MODELS, train, variables_of

from jaxnets import convolution
from jaxnets.data import augmentation

EXEMPT = {"receptive_field": "a function of integers"}  # BUILDERS are exempt too: they return models of MODELS
QUICK = ("LeNet5", "ResNet", "SeriesCNN", "TCN", "HighwayNetwork")
MODULES = {**MODELS, **BLOCKS}


def test_every_public_name_is_tested_or_exempt():
    assert set(convolution.__all__) == {*MODELS, *BLOCKS, *FUNCTIONS, *BUILDERS, *EXEMPT}
    for name in BUILDERS:
        assert type(getattr(convolution, name)()).__name__ in MODELS
    public = {
        name
        for name, f in inspect.getmembers(augmentation, inspect.isfunction)
        if f.__module__ == augmentation.__name__
    }
    assert {name for name in public if not name.startswith("_")} == {name.split(",")[0] for name in AUGMENTATIONS}


def gradients(name, x):
    """Gradients of a module's parameters and its output in training; checks that statistics do not change."""
    module, apply = train(name)
    variables = variables_of(module, *x.shape)

    def loss(params, x):
        y, updated = apply({**variables, "params": params}, x)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(y)), (y, updated)

    results = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(variables.get("params", {}), x)
    (param_gradients, x_gradient), (y, updated) = jax.tree.map(np.asarray, results)
    jax.tree.map(np.testing.assert_array_equal, dict(updated), {kind: variables[kind] for kind in updated})
    assert x_gradient.shape == x.shape
    return param_gradients, y


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in (*QUICK, *BLOCKS) else pytest.mark.slow) for name in MODULES]
)
def test_modules_accept_empty_batches(name):
    by_params, y = gradients(name, jnp.zeros((0, *MODULES[name][1])))
    assert all(leaf.shape[0] == 0 for leaf in jax.tree.leaves(y))
    assert not any(leaf.any() for leaf in jax.tree.leaves(by_params))  # NaN is true


@pytest.mark.slow
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("name", [name for name, (_, shape) in BLOCKS.items() if len(shape) == 3])
def test_blocks_accept_images_without_pixels(name, axis):
    shape = [2, *BLOCKS[name][1]]
    shape[axis] = 0
    by_params, y = gradients(name, jnp.zeros(shape))
    assert not y.size and y.ndim == 4
    assert not any(leaf.any() for leaf in jax.tree.leaves(by_params))


@pytest.mark.parametrize("name", MODELS)
def test_models_reject_inputs_without_pixels_or_channels(name):
    module, shape = MODELS[name]
    argument = "xs" if len(shape) == 2 else "images"
    for axis in range(len(shape)):
        given = jnp.zeros((2, *shape[:axis], 0, *shape[axis + 1 :]))
        init = lambda given=given: jax.eval_shape(module.init_with_output, jax.random.key(0), given)
        if argument == "xs" and axis == 0:  # series without steps are valid
            assert init()[0].shape[0] == 2
            continue
        with pytest.raises(ValueError, match=f"`{argument}` must (be at least|have at least 1)"):
            init()


@pytest.mark.parametrize("name", ["SeriesCNN", "TCN"])
def test_empty_series_are_pooled_to_zeros(name):
    module, shape = MODELS[name]
    variables = variables_of(module, 2, *shape)
    bias = np.asarray(variables["params"]["head"]["bias"])
    by_lengths = module.apply(variables, jnp.full((2, *shape), jnp.nan), lengths=jnp.zeros(2, jnp.int32))
    by_shape = module.apply(variables, jnp.zeros((2, 0, shape[1])))
    np.testing.assert_array_equal(by_lengths, np.stack([bias, bias]))
    np.testing.assert_array_equal(by_shape, np.stack([bias, bias]))


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("name", [*FUNCTIONS, *AUGMENTATIONS])
def test_functions_accept_empty_arrays(name, axis):
    function, shape = {**FUNCTIONS, **AUGMENTATIONS}[name]
    if (name, axis) == ("convolve", 3):
        pytest.skip("the kernel determines the number of channels")
    given = [2, *shape]
    given[axis] = 0
    if name == "random_crop, reflected" and axis in (1, 2):
        with pytest.raises(ValueError, match="below the size of the images"):
            function(jnp.zeros(given))
        return
    with jax.debug_nans(True):
        y, vjp = jax.vjp(function, jnp.zeros(given))
        assert not np.asarray(y).any() and vjp(y)[0].shape == tuple(given)
    if name in AUGMENTATIONS:
        assert y.shape == tuple(given)
