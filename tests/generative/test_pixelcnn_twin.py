"""PixelCNN++ and its mixtures against a torch port, in float64; see ``tests/reference/make_pixelcnn.py``."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import generative

GOLDEN = np.load(Path(__file__).parents[1] / "reference" / "pixelcnn.npz")
STREAM = {"u": "above", "ul": "before"}
LAYERS = {"conv_input.conv": "in", "conv_out.conv": "out", "nin_skip.lin_a": "shortcut"}
NAMES = {
    "u_init.conv": "above_first",
    "ul_init.0.conv": "before_first_row",
    "ul_init.1.conv": "before_first_column",
    "nin_out.lin_a": "output",
}


def layer_name(name):
    """Returns the name of a layer of the torch network in ours; ``level`` 0 are whole images."""
    if match := re.fullmatch(r"(up|down)_layers\.(\d)\.(u|ul)_stream\.(\d)\.(.+)", name):
        way, level, stream, block, layer = match.groups()
        level = int(level) if way == "up" else 2 - int(level)
        return f"{STREAM[stream]}_{'down' if way == 'up' else 'up'}_{level}_{block}_{LAYERS[layer]}"
    if match := re.fullmatch(r"(down|up)size_(u|ul)_stream\.(\d)\.\w+", name):
        way, stream, level = match.groups()
        return f"{STREAM[stream]}_halve_{level}" if way == "down" else f"{STREAM[stream]}_double_{2 - int(level)}"
    return NAMES[name]


def kernel_of(name, weight):
    """Returns a kernel ``[h, w, C, F]`` of a dense layer, a convolution or a transposed convolution."""
    if weight.ndim == 2:
        return weight.T[None, None]
    return np.transpose(weight, (2, 3, 0, 1) if "deconv" in name else (2, 3, 1, 0))


def parameters():
    params = {}
    for path in GOLDEN.files:
        if path.startswith("network/") and path.endswith(".weight"):
            name = path.removeprefix("network/").removesuffix(".weight")
            kernel = kernel_of(name, GOLDEN[path])
            scale = np.sqrt((kernel**2).sum(axis=(0, 1, 2)))  # of the direction, the kernel itself
            params[layer_name(name)] = {
                "direction": kernel,
                "scale": scale,
                "bias": GOLDEN[path.removesuffix("weight") + "bias"],
            }
    return params


@pytest.mark.slow(20)
def test_outputs_and_gradients_equal_those_of_the_torch_port():
    with jax.enable_x64(True):
        model = generative.PixelCNNPlusPlus((8, 4, 3), hidden=3, num_blocks=1, num_mixtures=2, dtype=jnp.float64)
        variables = {"params": jax.tree.map(jnp.asarray, parameters())}
        images = jnp.asarray(GOLDEN["images"])
        expected = jax.eval_shape(model.init, jax.random.key(0), images)
        assert jax.tree.structure(variables) == jax.tree.structure(expected)

        def loss(images):
            outputs = model.apply(variables, images)
            channels_first = jnp.transpose(outputs, (0, 3, 1, 2)).reshape(-1)
            return jnp.sum(jnp.cos(jnp.arange(channels_first.size, dtype=jnp.float64)) * channels_first), outputs

        gradient, outputs = jax.jit(jax.grad(loss, has_aux=True))(images)
        np.testing.assert_allclose(outputs, GOLDEN["outputs"], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(gradient, GOLDEN["gradient"], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind, channels", [("", 3), ("gray_", 1)])
def test_mixtures_equal_those_of_the_torch_port(kind, channels):
    with jax.enable_x64(True):
        pixels = jnp.asarray(GOLDEN["mixture/pixels"][:, 0, 0, :channels])
        parameters = jnp.asarray(GOLDEN[f"mixture/{kind}parameters"][:, 0, 0])
        found = generative.discretized_logistic_mixture_log_prob(parameters, pixels)
        np.testing.assert_allclose(found, GOLDEN[f"mixture/{kind}log_prob"], rtol=1e-10)
