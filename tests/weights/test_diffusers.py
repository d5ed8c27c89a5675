"""The U-Net with weights of diffusers, compared with its outputs (from tests/reference/make_diffusion.py)."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxnets import convolution, generative
from jaxnets.weights import from_diffusers, to_diffusers
from jaxnets.weights.diffusers import FORMER_NAMES, _form
from jaxnets.weights.mapping import torch_shapes

REFERENCE = Path(__file__).parent.parent / "reference"
GOLDEN = np.load(REFERENCE / "diffusion.npz")


def script(name):
    spec = importlib.util.spec_from_file_location(name, REFERENCE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_diffusion, fill = script("make_diffusion"), script("make_convolution").fill


def model_of(name, **options):
    return generative.UNet(**make_diffusion.UNETS[name][0], **options)


def parameters(name):
    return [str(text) for text in GOLDEN[f"unet/{name}/parameters"]]


def state_of(name):
    """Returns the state dict of the reference script."""
    state = {}
    for text in parameters(name):
        key, shape = text.split(" ", 1)
        state[key] = fill(key, tuple(int(size) for size in shape.strip("(),").split(",")))
    return state


TINY = generative.UNet(
    image_shape=(4, 4, 1), width=4, multipliers=(1,), num_blocks=1, attention_levels=(), num_groups=2
)


@pytest.fixture(scope="module")
def tiny_state():
    return {key: fill(key, shape) for key, shape in torch_shapes(_form(TINY)).items()}


def case_of(name):
    case = {key: GOLDEN[f"unet/{name}/{key}"] for key in ("xs", "outputs", "gradient")}
    return model_of(name), from_diffusers(state_of(name), model_of(name)), case


def assert_close(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_outputs_and_gradients_match_diffusers(float64):
    model, variables, case = case_of("plain")
    times, model = jnp.asarray(make_diffusion.TIMES, jnp.float64), model.clone(dtype=jnp.float64)
    weights = jnp.cos(jnp.arange(case["outputs"].size, dtype=jnp.float64)).reshape(case["outputs"].shape)

    @jax.jit
    def outputs_and_gradient(xs):
        outputs, pull = jax.vjp(lambda xs: model.apply(variables, xs, times), xs)
        return outputs, pull(weights)[0]

    outputs, gradient = outputs_and_gradient(jnp.asarray(case["xs"]))
    assert_close(outputs, case["outputs"], 1e-12)
    assert_close(gradient, case["gradient"], 1e-12)


def test_outputs_of_a_conditional_model_match_diffusers():
    model, variables, case = case_of("conditional")
    times, labels = jnp.asarray(make_diffusion.TIMES, jnp.int32), jnp.asarray(make_diffusion.LABELS, jnp.int32)
    outputs = jax.jit(model.apply)(variables, case["xs"].astype(np.float32), times, labels)
    assert_close(outputs, case["outputs"], 1e-5)
    converted, state = to_diffusers(variables, model), state_of("conditional")
    assert set(converted) == set(state)
    for key, value in state.items():
        np.testing.assert_array_equal(converted[key], value)


def test_the_cifar_network_has_the_names_and_shapes_of_diffusers():
    shapes = torch_shapes(_form(generative.UNet()))
    assert sorted(f"{name} {shape}" for name, shape in shapes.items()) == sorted(parameters("cifar"))
    assert len(shapes) == 328 and sum(np.prod(shape) for shape in shapes.values()) == 35_746_307


def test_files_former_names_and_prefixes_are_accepted(tiny_state, tmp_path):
    renamed = {}
    for key, value in tiny_state.items():
        for former, current in FORMER_NAMES.items():
            key = key.replace(f".{current}.", f".{former}.")
        renamed[f"unet.{key}"] = value
    assert "unet.mid_block.attentions.0.proj_attn.weight" in renamed
    save_file(tiny_state, tmp_path / "model.safetensors")
    expected = from_diffusers(tmp_path / "model.safetensors", TINY)
    jax.tree.map(np.testing.assert_array_equal, from_diffusers(renamed, TINY, "unet."), expected)


def test_other_weights_are_rejected(tiny_state):
    with pytest.raises(ValueError, match=r"for UNet: missing conv_in\.bias \(4,\)$"):
        from_diffusers({key: value for key, value in tiny_state.items() if key != "conv_in.bias"}, TINY)
    other = {
        "class_embedding.weight": np.zeros((4, 32), np.float32),
        "conv_out.weight": np.zeros((1, 9, 3, 3), np.float32),
    }
    message = (
        r"weights of diffusers for UNet: extra class_embedding\.weight \(4, 32\); "
        r"conv_out\.weight must have shape \(1, 4, 3, 3\), got \(1, 9, 3, 3\)$"
    )
    with pytest.raises(ValueError, match=message):
        from_diffusers(tiny_state | other, TINY)
    with pytest.raises(ValueError, match=r"pass prefix='unet\.'"):
        from_diffusers({f"unet.{key}": value for key, value in tiny_state.items()}, TINY)


def test_models_without_a_counterpart_are_rejected():
    with pytest.raises(ValueError, match=r"UNet2DModel of diffusers has no cross-attention; .* got 7$"):
        from_diffusers({}, TINY.clone(context_dim=7))
    with pytest.raises(ValueError, match=r"`model` must be a jaxnets\.generative\.UNet, got jaxnets\.convolution"):
        from_diffusers({}, convolution.unet())


def test_variables_of_another_model_are_rejected(tiny_state):
    variables = from_diffusers(tiny_state, TINY)
    with pytest.raises(ValueError, match=r"match this UNet; missing or extra: params/classes/embedding$"):
        to_diffusers(variables, TINY.clone(num_classes=2))
    with pytest.raises(
        ValueError, match=r"as weights of diffusers: .*conv_in\.bias must have shape \(8,\), got \(4,\)"
    ):
        to_diffusers(variables, TINY.clone(width=8))
