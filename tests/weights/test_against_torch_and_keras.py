"""Cells, layers and converters, compared with golden arrays of torch and Keras (tests/reference/make_recurrent.py)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import recurrent, weights

GOLDEN = np.load(Path(__file__).parent.parent / "reference" / "recurrent.npz")
H = 5
TORCH = {
    "elman": recurrent.elman(H),
    "elman_relu": recurrent.elman(H, jax.nn.relu),
    "gru": recurrent.gru(H, "after"),
    "lstm": recurrent.lstm(H),
    "lstm_projection": recurrent.lstm(H, proj_size=3),
}
KERAS = {
    "elman": recurrent.elman(H),
    "gru_after": recurrent.gru(H, "after"),
    "gru_before": recurrent.gru(H, "before"),
    "lstm": recurrent.lstm(H),
}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
# Keras 3.15 computes parts of these cells in float32, so its float64 arrays are accurate to 1e-6 only.
KERAS_IN_FLOAT32 = ("elman", "gru_before")


def golden(case):
    """Returns the arrays of a case as a nested dict."""
    tree: dict = {}
    for name in GOLDEN.files:
        if name.startswith(f"{case}/"):
            *parents, last = name.removeprefix(f"{case}/").split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = GOLDEN[name]
    return tree


def objective(ys, states):
    weighted = jnp.cos(jnp.arange(ys.size, dtype=ys.dtype)).reshape(ys.shape) * ys**2
    return jnp.sum(weighted) + sum(jnp.sum(jnp.sin(state)) for state in states)


def assert_close(actual, expected, dtype):
    """Compares within the tolerance of the dtype, relative to the largest value."""
    for (path, a), b in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        scale = max(1.0, float(np.abs(b).max(initial=0)))
        np.testing.assert_allclose(a, b, atol=TOLERANCE[dtype] * scale, err_msg=jax.tree_util.keystr(path))


def check(dtype, params, x, run, expected, expected_states, gradient, x_gradient):
    cast = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)

    def f(params, x):
        ys, states = run(params, x)
        return objective(ys, states), (ys, states)

    (_, (ys, states)), gradients = jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(cast(params), cast(x))
    assert_close([ys, *states], [expected, *expected_states], dtype)
    assert_close(gradients, (gradient, x_gradient), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "layers, bidirectional", [(1, False), (2, True)], ids=["one layer", "two bidirectional layers"]
)
@pytest.mark.parametrize("name", TORCH)
def test_padded_batches_match_torch(request, name, layers, bidirectional, dtype):
    if dtype == "float64":
        request.getfixturevalue("float64")
    case = golden(f"torch/{name}/{layers}{'b' if bidirectional else ''}")
    network = recurrent.StackedRNN(TORCH[name], num_layers=layers, bidirectional=bidirectional)

    def run(params, x):
        carries, ys = network.apply({"params": params}, x, lengths=jnp.asarray(GOLDEN["lengths"]))
        directions = [carry for layer in carries for carry in (layer if bidirectional else (layer,))]
        by_state = zip(*(d if isinstance(d, tuple) else (d,) for d in directions), strict=True)
        return ys, [jnp.stack(states) for states in by_state]

    gradient = dict(case["gradient"]["weight"])
    if name != "gru":  # the bias is the sum of torch's two biases, whose gradients are equal
        gradient |= {key: np.zeros_like(value) for key, value in gradient.items() if key.startswith("bias_hh")}
    states = [case["state"][str(i)] for i in range(len(case["state"]))]
    check(
        dtype,
        weights.from_torch(case["weight"]),
        case["x"],
        run,
        case["output"],
        states,
        weights.from_torch(gradient),
        case["gradient"]["x"],
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("name", KERAS)
def test_layers_match_keras(request, name, direction, dtype):
    if dtype == "float64":
        request.getfixturevalue("float64")
        dtype = "float32" if name in KERAS_IN_FLOAT32 else dtype
    case = golden(f"keras/{name}/{direction}")
    network = recurrent.RNN(KERAS[name], reverse=direction == "reverse")

    def run(params, x):
        carry, ys = network.apply({"params": params}, x)
        # With go_backwards, the outputs of Keras are in reverse order of time.
        return ys[:, ::-1] if direction == "reverse" else ys, carry if isinstance(carry, tuple) else (carry,)

    states = [case["state"][str(i)] for i in range(len(case["state"]))]
    check(
        dtype,
        weights.from_keras([case["weight"]])["layer_0"],
        case["x"],
        run,
        case["output"],
        states,
        weights.from_keras([case["gradient"]["weight"]])["layer_0"],
        case["gradient"]["x"],
    )


@pytest.mark.parametrize("name", TORCH)
def test_torch_weights_survive_a_round_trip(name):
    state = golden(f"torch/{name}/2b")["weight"]
    converted = weights.to_torch(weights.from_torch(state), prefix="encoder.")
    assert set(converted) == {f"encoder.{key}" for key in state}
    params = weights.from_torch(converted, prefix="encoder.")
    jax.tree.map(np.testing.assert_array_equal, params, weights.from_torch(state))
    for key, value in state.items():
        if key.startswith("weight") or name == "gru":
            np.testing.assert_array_equal(converted[f"encoder.{key}"], value)


@pytest.mark.parametrize("name", KERAS)
def test_keras_weights_survive_a_round_trip(name):
    layer = golden(f"keras/{name}/forward")["weight"]
    layers = [layer, {"forward": layer, "backward": layer}]
    jax.tree.map(np.testing.assert_array_equal, weights.to_keras(weights.from_keras(layers)), layers)


def test_state_dicts_and_trees_are_saved_as_safetensors(tmp_path):
    weights.write(tmp_path / "torch.safetensors", golden("torch/lstm/2b")["weight"])
    params = weights.from_torch(tmp_path / "torch.safetensors")
    weights.write(tmp_path / "jaxnets.safetensors", params)
    jax.tree.map(np.testing.assert_array_equal, weights.read(tmp_path / "jaxnets.safetensors"), params)


def test_errors_list_missing_extra_and_wrong_arrays(tmp_path):
    state = dict(golden("torch/gru/2b")["weight"])
    wrong = {**state, "weight_ih_l1": state["weight_ih_l0"], "head.weight": state["weight_ih_l0"]}
    del wrong["bias_hh_l1_reverse"]
    with pytest.raises(
        ValueError, match=r"missing bias_hh_l1_reverse \(15,\); extra head.weight .*weight_ih_l1 must have shape"
    ):
        weights.from_torch(wrong)
    with pytest.raises(ValueError, match=r"keys must include decoder\.weight_ih_l0 and decoder\.weight_hh_l0, got"):
        weights.from_torch(state, prefix="decoder.")
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        weights.from_torch(tmp_path / "nothing.safetensors")
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        weights.read(tmp_path / "text.safetensors")
    layer = dict(golden("keras/lstm/forward")["weight"])
    with pytest.raises(ValueError, match=r"weights of Keras, layer_0: missing kernel .*; extra gamma"):
        weights.from_keras([{"recurrent_kernel": layer["recurrent_kernel"], "gamma": layer["bias"]}])
    with pytest.raises(ValueError, match="to_keras: Keras has no LSTM with a projection"):
        weights.to_keras(weights.from_torch(golden("torch/lstm_projection/1")["weight"]))
    with pytest.raises(ValueError, match=r'must be gru\(H, "after"\), as in torch, got gru\(H, "before"\)'):
        weights.to_torch(weights.from_keras([golden("keras/gru_before/forward")["weight"]]))
