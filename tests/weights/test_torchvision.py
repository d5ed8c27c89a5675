"""Our models against torchvision's own numbers, with its weights; made by tests/reference/make_convolution.py."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxnets import convolution
from jaxnets.weights import from_torchvision, to_torchvision
from jaxnets.weights.torchvision import COUNTER, _rules, _to_theirs, name_of

REFERENCE = Path(__file__).parent.parent / "reference"
spec = importlib.util.spec_from_file_location("make_convolution", REFERENCE / "make_convolution.py")
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)
GOLDEN = np.load(REFERENCE / "convolution.npz")
WITHOUT_DRAWS = {
    "alexnet": {"dropout": 0.0},
    "vgg11": {"dropout": 0.0},
    "vgg11_bn": {"dropout": 0.0},
    "googlenet": {"dropout": 0.0, "auxiliary": True},
    "efficientnet_b0": {"dropout": 0.0, "stochastic_depth": 0.0},
    "efficientnet_b5": {"dropout": 0.0, "stochastic_depth": 0.0},
    "convnext_tiny": {"stochastic_depth": 0.0},
}
NAMES = [name if name == "resnet18" else pytest.param(name, marks=pytest.mark.slow) for name in made.SIZES]


def model_of(name):
    return getattr(convolution, name)(num_classes=made.CLASSES, **WITHOUT_DRAWS.get(name, {}))


def foreign(model, size):
    """The state dict that the reference used, by our own list of names, which a strict reading has to agree with."""
    shapes = flatten_dict(jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, size, size, 3)))))
    arrays = {
        name_of(_rules(model), path): _to_theirs(path, np.empty(leaf.shape, bool)) for path, leaf in shapes.items()
    }
    return {name: made.fill(name, array.shape) for name, array in arrays.items()}


def close(found, name, wanted):
    golden = GOLDEN[f"{name}/{wanted}"]
    np.testing.assert_allclose(found, golden, rtol=0, atol=1e-4 * np.abs(golden).max(), err_msg=wanted)


@pytest.mark.parametrize("name", NAMES)
def test_logits_statistics_and_gradients_are_those_of_torchvision(name, float64):
    model, size = model_of(name), made.SIZES[name]
    state = foreign(model, size)
    variables = from_torchvision(state, model, (1, size, size, 3))
    images = jnp.asarray(made.images(size))
    close(jax.jit(model.apply)(variables, images), name, "logits")
    # In float32 the gradients of so few images are half a percent off, torch's own too.
    model, images = model.clone(dtype=jnp.float64), images.astype(jnp.float64)

    @jax.jit
    def train(variables):
        def objective(params):
            answer, changed = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},  # GoogLeNet's auxiliary heads draw, and are not compared
            )
            logits = answer[0] if isinstance(answer, tuple) else answer
            weights = jnp.cos(jnp.arange(logits.size)).reshape(logits.shape)
            return jnp.sum(weights * logits), (logits, changed)

        return jax.grad(objective, has_aux=True)(variables["params"])

    gradients, (logits, changed) = train(variables)
    close(logits, name, "train_logits")
    theirs = to_torchvision({"params": gradients, **changed}, model)
    parameters = sorted(key for key in theirs if "running" not in key and COUNTER not in key)
    # In float64: a norm of the hundred million numbers of VGG's first dense layer loses four digits in float32.
    norms = np.array([np.linalg.norm(theirs[key].astype(np.float64)) for key in parameters if "aux" not in key])
    close(norms, name, "gradient_norms")
    first = GOLDEN[f"{name}/first_gradient"]
    of_shape = [theirs[key] for key in parameters if theirs[key].shape == first.shape]
    close(min(of_shape, key=lambda gradient: np.abs(gradient - first).max()), name, "first_gradient")
    moved = [theirs[key] for key in sorted(theirs) if "running" in key]
    if moved:
        close(np.array([[v.mean(), v.var()] for v in moved]), name, "statistics")
        last = GOLDEN[f"{name}/last_variance"]
        assert any(v.shape == last.shape and np.abs(v - last).max() < 1e-4 * np.abs(last).max() for v in moved)


def test_weights_go_there_and_back():
    model = model_of("resnet18")
    state = foreign(model, 64)
    back = to_torchvision(from_torchvision(state, model), model)
    assert {key for key in back if not key.endswith(COUNTER)} == set(state)
    assert sum(key.endswith(COUNTER) for key in back) == 20
    for key, value in state.items():
        np.testing.assert_array_equal(back[key], value)


def test_weights_of_another_depth_are_refused_with_all_that_is_wrong():
    state = foreign(convolution.resnet34(num_classes=made.CLASSES), 64)
    with pytest.raises(ValueError, match=r"(?s)for ResNet: .*extra layer1\.2\.conv1\.weight \(64, 64, 3, 3\)"):
        from_torchvision(state, model_of("resnet18"))
    with pytest.raises(ValueError, match=r"missing fc\.bias \(10,\)"):
        from_torchvision({}, model_of("resnet18"))


def test_variables_of_another_model_are_not_written():
    model = model_of("resnet18")
    variables = from_torchvision(foreign(model, 64), model)
    with pytest.raises(
        ValueError, match=r"than this ResNet: batch_stats/stage_1_block_3/conv_1/norm/mean, .*, \.\.\. and 70 more$"
    ):
        to_torchvision(variables, convolution.resnet34())
    with pytest.raises(ValueError, match=r"than this ResNet: batch_stats/.*/var, \.\.\. and 30 more$"):
        to_torchvision({"params": variables["params"]}, model)


def test_what_is_no_state_dict_is_told():
    with pytest.raises(ValueError, match="a state dict or the path of a safetensors file expected; given ResNet"):
        from_torchvision(convolution.resnet18(), model_of("resnet18"))  # torch's own is called so, too


@pytest.mark.parametrize(
    "model",
    [
        convolution.alexnet_2012(),
        convolution.googlenet(variant="published_bn"),
        convolution.cifar_resnet20(),
        convolution.unet(),
    ],
)
def test_models_that_torchvision_lacks_are_told(model):
    with pytest.raises(ValueError, match="torchvision has no"):
        from_torchvision({}, model)
