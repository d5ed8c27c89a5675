"""Models with weights of torchvision, compared with its outputs (from tests/reference/make_convolution.py)."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxnets import convolution
from jaxnets.weights import from_torchvision, to_torchvision
from jaxnets.weights.mapping import to_torch_axes, torch_name
from jaxnets.weights.torchvision import COUNTER, _rules

REFERENCE = Path(__file__).parent.parent / "reference"
spec = importlib.util.spec_from_file_location("make_convolution", REFERENCE / "make_convolution.py")
make_convolution = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_convolution)
GOLDEN = np.load(REFERENCE / "convolution.npz")
DETERMINISTIC = {
    "alexnet": {"dropout": 0.0},
    "vgg11": {"dropout": 0.0},
    "vgg11_bn": {"dropout": 0.0},
    "googlenet": {"dropout": 0.0, "auxiliary": True},
    "efficientnet_b0": {"dropout": 0.0, "stochastic_depth": 0.0},
    "efficientnet_b5": {"dropout": 0.0, "stochastic_depth": 0.0},
    "convnext_tiny": {"stochastic_depth": 0.0},
}
NAMES = [
    name if name == "resnet18" else pytest.param(name, marks=pytest.mark.slow(seconds=25))
    for name in make_convolution.SIZES
]


def model_of(name):
    return getattr(convolution, name)(num_classes=make_convolution.CLASSES, **DETERMINISTIC.get(name, {}))


def torch_state(model, size):
    """Returns the state dict of the reference script, with the torch names of ``jaxnets.weights``."""
    shapes = flatten_dict(jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, size, size, 3)))))
    rules = _rules(model)
    arrays = {torch_name(rules, path): to_torch_axes(path, np.empty(leaf.shape, bool)) for path, leaf in shapes.items()}
    return {name: make_convolution.fill(name, array.shape) for name, array in arrays.items()}


def assert_close(actual, name, quantity):
    golden = GOLDEN[f"{name}/{quantity}"]
    np.testing.assert_allclose(actual, golden, rtol=0, atol=1e-4 * np.abs(golden).max(), err_msg=quantity)


@pytest.mark.parametrize("name", NAMES)
def test_logits_statistics_and_gradients_match_torchvision(name, float64):
    model, size = model_of(name), make_convolution.SIZES[name]
    state = torch_state(model, size)
    variables = from_torchvision(state, model, (1, size, size, 3))
    images = jnp.asarray(make_convolution.images(size))
    assert_close(jax.jit(model.apply)(variables, images), name, "logits")
    # With few images, float32 gradients have errors of 0.5 %, in torch too.
    model, images = model.clone(dtype=jnp.float64), images.astype(jnp.float64)

    @jax.jit
    def train(variables):
        def objective(params):
            outputs, updated = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},  # for GoogLeNet's auxiliary heads, which are not compared
            )
            logits = outputs[0] if isinstance(outputs, tuple) else outputs
            weights = jnp.cos(jnp.arange(logits.size)).reshape(logits.shape)
            return jnp.sum(weights * logits), (logits, updated)

        return jax.grad(objective, has_aux=True)(variables["params"])

    gradients, (logits, updated) = train(variables)
    assert_close(logits, name, "train_logits")
    converted = to_torchvision({"params": gradients, **updated}, model)
    parameters = sorted(key for key in converted if "running" not in key and COUNTER not in key)
    # The gradient of VGG's first dense layer has 10^8 entries: its norm would lose four digits in float32.
    norms = np.array([np.linalg.norm(converted[key].astype(np.float64)) for key in parameters if "aux" not in key])
    assert_close(norms, name, "gradient_norms")
    first = GOLDEN[f"{name}/first_gradient"]
    candidates = [converted[key] for key in parameters if converted[key].shape == first.shape]
    assert_close(min(candidates, key=lambda gradient: np.abs(gradient - first).max()), name, "first_gradient")
    running = [converted[key] for key in sorted(converted) if "running" in key]
    if running:
        assert_close(np.array([[v.mean(), v.var()] for v in running]), name, "statistics")
        last = GOLDEN[f"{name}/last_variance"]
        assert any(v.shape == last.shape and np.abs(v - last).max() < 1e-4 * np.abs(last).max() for v in running)


def test_weights_survive_a_round_trip():
    model = model_of("resnet18")
    state = torch_state(model, 64)
    converted = to_torchvision(from_torchvision(state, model), model)
    assert {key for key in converted if not key.endswith(COUNTER)} == set(state)
    assert sum(key.endswith(COUNTER) for key in converted) == 20
    for key, value in state.items():
        np.testing.assert_array_equal(converted[key], value)


def test_weights_of_another_depth_are_rejected():
    state = torch_state(convolution.resnet34(num_classes=make_convolution.CLASSES), 64)
    with pytest.raises(ValueError, match=r"(?s)for ResNet: .*extra layer1\.2\.conv1\.weight \(64, 64, 3, 3\)"):
        from_torchvision(state, model_of("resnet18"))
    with pytest.raises(ValueError, match=r"missing fc\.bias \(10,\)"):
        from_torchvision({}, model_of("resnet18"))


def test_variables_of_another_model_are_rejected():
    model = model_of("resnet18")
    variables = from_torchvision(torch_state(model, 64), model)
    with pytest.raises(
        ValueError,
        match=r"match this ResNet; missing or extra: batch_stats/stage_1_block_3/conv_1/norm/mean, .* and 70 more$",
    ):
        to_torchvision(variables, convolution.resnet34())
    with pytest.raises(ValueError, match=r"this ResNet; missing or extra: batch_stats/.*/var, \.\.\. and 30 more$"):
        to_torchvision({"params": variables["params"]}, model)


def test_a_model_instead_of_a_state_dict_is_rejected():
    with pytest.raises(ValueError, match="`state_dict` must be a state dict or the path of a .* file, got ResNet"):
        from_torchvision(convolution.resnet18(), model_of("resnet18"))  # torchvision's class is also named ResNet


@pytest.mark.parametrize(
    "model",
    [
        convolution.alexnet_2012(),
        convolution.googlenet(variant="published_bn"),
        convolution.cifar_resnet20(),
        convolution.unet(),
    ],
)
def test_models_without_a_torchvision_counterpart_are_rejected(model):
    with pytest.raises(ValueError, match="torchvision has no"):
        from_torchvision({}, model)
