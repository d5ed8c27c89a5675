"""InceptionTime: equality with a twin in torch, counts, padding and wrong arguments."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

from jaxnets import series

GOLDEN = np.load(ROOT / "tests" / "reference" / "series.npz")
MODEL = series.InceptionTime(4, features=3, bottleneck=3, kernel_sizes=(8, 4, 2))
STATE = {
    key.removeprefix("inception/weight/"): GOLDEN[key] for key in GOLDEN.files if key.startswith("inception/weight/")
}


def from_torch(state):
    """Returns the variables of the model from the state dict, or the gradients, of its twin."""
    conv = lambda name: {"kernel": state[f"{name}.weight"].transpose(2, 1, 0)}
    norm = lambda name: {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}
    moments = lambda name: {"mean": state[f"{name}.running_mean"], "var": state[f"{name}.running_var"]}
    params, stats = {}, {}
    for i in range(6):
        at = f"modules_.{i}."
        names = ("bottleneck", "conv_0", "conv_1", "conv_2", "pooled")
        params[f"module_{i}"] = {**{name: conv(at + name) for name in names}, "norm": norm(f"{at}norm")}
        if f"{at}norm.running_mean" in state:
            stats[f"module_{i}"] = {"norm": moments(f"{at}norm")}
    for i in range(2):
        params[f"shortcut_{i}"] = {"conv": conv(f"shortcuts.{i}"), "norm": norm(f"norms.{i}")}
        if f"norms.{i}.running_mean" in state:
            stats[f"shortcut_{i}"] = {"norm": moments(f"norms.{i}")}
    params["head"] = {"kernel": state["head.weight"].T, "bias": state["head.bias"]}
    return {"params": params, **({"batch_stats": stats} if stats else {})}


def objective(output):
    return jnp.sum(jnp.cos(jnp.arange(output.size, dtype=output.dtype)).reshape(output.shape) * output**2)


def test_outputs_and_gradients_equal_torch(float64):
    model, variables = MODEL.clone(dtype=jnp.float64), from_torch(STATE)
    x = jnp.asarray(GOLDEN["inception/x"])
    chex.assert_trees_all_equal_shapes(variables, jax.eval_shape(lambda: model.init(jax.random.key(0), x)))
    apply = lambda params, x: model.apply({**variables, "params": params}, x)
    np.testing.assert_allclose(apply(variables["params"], x), GOLDEN["inception/output"], rtol=1e-6)
    of_params, of_x = jax.grad(lambda *given: objective(apply(*given)), argnums=(0, 1))(variables["params"], x)
    prefix = "inception/gradient/"
    gradients = {key.removeprefix(prefix): GOLDEN[key] for key in GOLDEN.files if key.startswith(prefix)}
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, of_params, from_torch(gradients)["params"])
    close(of_x, gradients["x"])


@pytest.mark.parametrize(("channels", "count"), [(1, 420_192 + 258), (3, 490_306)])
def test_parameter_count(channels, count):
    """420,192 without the head for one channel (Ismail-Fawaz et al. 2023, LITE); a bottleneck is added for three."""
    xs = jnp.zeros((1, 50, channels))
    variables = jax.eval_shape(lambda: series.InceptionTime(2).init(jax.random.key(0), xs))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


def test_padding_has_no_effect():
    variables = from_torch(jax.tree.map(np.float32, STATE))
    xs, lengths = np.float32(GOLDEN["inception/x"]), np.array([17, 24])
    alone = [MODEL.apply(variables, xs[i : i + 1, :length])[0] for i, length in enumerate(lengths)]
    for fill in (0, np.nan, 1e9):
        padded = np.where(np.arange(24)[:, None] < lengths[:, None, None], xs, np.float32(fill))
        np.testing.assert_allclose(MODEL.apply(variables, padded, lengths=lengths), np.stack(alone), atol=1e-5)
    apply = lambda xs: MODEL.apply(variables, xs, lengths=lengths, train=True, mutable=["batch_stats"])[1]
    fills = [apply(np.where(np.arange(24)[:, None] < lengths[:, None, None], xs, np.float32(f))) for f in (0, np.nan)]
    chex.assert_trees_all_close(*fills, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "xs", "message"),
    [
        (series.InceptionTime(0), jnp.zeros((1, 9, 2)), "`num_outputs` must be an integer of at least 1, got 0"),
        (series.InceptionTime(2, depth=2000), jnp.zeros((1, 9, 2)), "`depth` must be an integer of at most 1000"),
        (series.InceptionTime(2), jnp.zeros((9,)), r"`xs` must be a floating point array \[\*batch, T, D\]"),
        (series.InceptionTime(2), jnp.zeros((1, 9, 2), jnp.int32), "got int32 of shape"),
    ],
)
def test_wrong_arguments(model, xs, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: model.init(jax.random.key(0), xs))
