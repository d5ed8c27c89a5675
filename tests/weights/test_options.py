"""Options of recurrent layers of torch and Keras: converted, as golden arrays show, or rejected."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import recurrent, weights

GOLDEN = np.load(Path(__file__).parent.parent / "reference" / "recurrent_options.npz")
H = 3
RELU = partial(recurrent.elman, activation=jax.nn.relu)
AFTER = partial(recurrent.gru, reset="after")
TORCH = {
    "rnn": recurrent.elman,
    "rnn_relu": RELU,
    "gru": AFTER,
    "lstm": recurrent.lstm,
    "lstm_projection": partial(recurrent.lstm, proj_size=2),
    "rnn_cell": recurrent.elman,
    "rnn_cell_relu": RELU,
    "gru_cell": AFTER,
    "lstm_cell": recurrent.lstm,
}
KERAS = {
    "rnn_relu": RELU,
    "gru_after": AFTER,
    "gru_before": recurrent.gru,
    "lstm": recurrent.lstm,
    "lstm_bias": recurrent.lstm,
    "gru_concat": AFTER,
    "lstm_sum": recurrent.lstm,
    "lstm_ave": recurrent.lstm,
}
MERGE = {"concat": "concat", "sum": "sum", "ave": "mean"}


def under(prefix):
    return {name.removeprefix(prefix): GOLDEN[name] for name in GOLDEN.files if name.startswith(prefix)}


def outputs(network, params, case):
    return jax.jit(network.apply)({"params": params}, jnp.asarray(GOLDEN[f"{case}/x"]))[1]


@pytest.mark.parametrize("bias", ["bias", "no bias"])
@pytest.mark.parametrize("name", TORCH)
def test_modules_and_cells_match_torch(name, bias, float64):
    case, layers = f"torch/{name}/{bias}", 1 if "cell" in name else 2
    params = weights.from_torch(under(f"{case}/weight/"))
    network = recurrent.StackedRNN(TORCH[name](H), num_layers=layers, bidirectional=layers == 2)
    np.testing.assert_allclose(outputs(network, params, case), GOLDEN[f"{case}/output"], atol=1e-13)
    jax.tree.map(np.testing.assert_array_equal, weights.from_torch(weights.to_torch(params)), params)


def variable(name, value):
    """A substitute for a Keras variable."""
    return SimpleNamespace(name=name, value=value, shape=value.shape)


def layer_of(case, **changed):
    """A substitute for a Keras layer, with its class name, options, weights and, if bidirectional, its two layers."""
    description = json.loads(str(GOLDEN[f"{case}/options"]))
    options = {**description["options"], **changed}
    layers = {}
    if description["kind"] == "Bidirectional":
        layers = {f"{direction}_layer": layer_of(f"{case}/{direction}") for direction in ("forward", "backward")}
    arrays = under(f"{case}/weight/") or under(f"{case}/cell/weight/")
    members = {"weights": [variable(*item) for item in arrays.items()], "get_config": lambda self: options, **layers}
    return type(description["kind"], (), members)()


@pytest.mark.parametrize("name", KERAS)
def test_layers_match_keras(name, float64):
    case = f"keras/{name}"
    layer = layer_of(case)
    merge = MERGE.get(layer.get_config().get("merge_mode"))
    params = weights.from_keras([layer])
    network = recurrent.StackedRNN(KERAS[name](H), bidirectional=merge is not None, merge=merge or "concat")
    # Keras 3.15 computes parts of these layers in float32.
    tolerance = 1e-6 if name in ("rnn_relu", "gru_before") else 1e-13
    np.testing.assert_allclose(outputs(network, params, case), GOLDEN[f"{case}/output"], atol=tolerance)
    jax.tree.map(np.testing.assert_array_equal, weights.from_keras(weights.to_keras(params)), params)
    # Dicts of arrays, whose names are paths, give the same parameters.
    arrays_of = lambda part: {f"a/{key}:0": value for key, value in under(f"{case}/{part}/weight/").items()}
    arrays = {part: arrays_of(part) for part in ("forward", "backward")} if merge else arrays_of("cell")
    needed = {"gru_after": True, "gru_before": False}.get(name)
    jax.tree.map(np.testing.assert_array_equal, weights.from_keras([arrays], reset_after=needed), params)


@pytest.mark.parametrize(
    "case, changed, message",
    [
        ("lstm", {"activation": "relu"}, "LSTM: activation must be 'tanh', got 'relu'"),
        ("gru_after", {"activation": "linear"}, "GRU: activation must be 'tanh', got 'linear'"),
        (
            "lstm",
            {"recurrent_activation": "hard_sigmoid"},
            "recurrent_activation must be 'sigmoid', got 'hard_sigmoid'",
        ),
        ("gru_before", {"go_backwards": True}, "GRU: go_backwards must be False, got True"),
        ("lstm_sum", {"merge_mode": "mul"}, "merge_mode must be 'concat' or 'sum' or 'ave', got 'mul'"),
        ("lstm_sum", {"merge_mode": None}, "merge_mode must be 'concat' or 'sum' or 'ave', got None"),
    ],
)
def test_unsupported_options_of_keras_are_rejected(case, changed, message):
    with pytest.raises(ValueError, match=f"layer_1: .*{message}"):
        weights.from_keras([layer_of("keras/lstm"), layer_of(f"keras/{case}", **changed)])


def test_a_gru_without_bias_requires_reset_after():
    arrays = under("keras/gru_after/cell/weight/")
    with pytest.raises(ValueError, match="layer_0: `reset_after` must be given for a GRU without bias"):
        weights.from_keras([arrays])
    with pytest.raises(ValueError, match=r"`reset_after` must be True for a bias of shape \(2, 9\), got False"):
        weights.from_keras([under("keras/gru_concat/forward/weight/")], reset_after=False)


def substitute(name, **members):
    return type(name, (), {"weights": [], "get_config": lambda self: {}, **members})()


@pytest.mark.parametrize(
    "layers, message",
    [
        ("model.keras", "got the path 'model.keras'; pass keras.saving.load_model"),
        ({"kernel": np.ones((3, 9))}, "`layers` must be a list of layers or of dicts of arrays, got dict"),
        ([[np.ones((3, 9))]], "the layer must be a dict of arrays or a Keras layer, got list"),
        (substitute("Sequential", layers=[]), "got a Sequential; pass its layers"),
        ([substitute("LSTM")], "layer_0: the layer must have weights, got none; Keras creates them at the first call"),
        ([substitute("Dense")], "must be one of SimpleRNN, GRU, LSTM, or Bidirectional with one of these, got Dense"),
        (
            [substitute("RNN", get_config=lambda self: {"cell": {"class_name": "StackedRNNCells", "config": {}}})],
            "the layer must be .* got StackedRNNCells",
        ),
        (
            [{"kernel": np.ones((3, 3, 4, 12)), "recurrent_kernel": np.ones((3, 3, 3, 12))}],  # ConvLSTM2D
            r"kernels must be matrices, got kernel \(3, 3, 4, 12\)",
        ),
        (
            [{"kernel": np.ones((4, 12)), "recurrent_kernel": np.ones((3, 12)), "bias": np.ones(24)}],  # CuDNNLSTM
            r"bias must have shape \(12,\), got \(24,\)",
        ),
        ([{"kernel": np.ones((4, 6)), "recurrent_kernel": np.ones((3, 6))}], "4 H for an LSTM, got 6 for 3 units"),
        ([{"a/kernel": np.ones(3), "b/kernel": np.ones(3)}], "a/kernel and b/kernel are both named kernel"),
    ],
)
def test_unsupported_layers_of_keras_are_rejected(layers, message):
    with pytest.raises(ValueError, match=message):
        weights.from_keras(layers)


UNSUPPORTED_CELLS = {
    "gru none": recurrent.gru(H, "none"),
    "mgu": recurrent.mgu(H),
    "coupled": recurrent.lstm(H, coupled=True),
    "coupled projection": recurrent.lstm(H, coupled=True, proj_size=2),
    "peephole": recurrent.peephole_lstm(H),
    "layer norm lstm": recurrent.layer_norm_lstm(H),
    "layer norm gru": recurrent.layer_norm_gru(H),
    "lru": recurrent.lru(H),
    "min gru": recurrent.min_gru(H),
    "min lstm": recurrent.min_lstm(H),
    "learned carry": recurrent.learned_carry(recurrent.lstm(H)),
}


@pytest.mark.parametrize("convert", [weights.to_torch, weights.to_keras])
@pytest.mark.parametrize("name", UNSUPPORTED_CELLS)
def test_unsupported_cells_are_rejected(name, convert):
    shapes = jax.eval_shape(lambda: UNSUPPORTED_CELLS[name].init(jax.random.key(0), H))
    cell = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    with pytest.raises(ValueError, match=r"layer_0, cell: the cell must be elman\(H\), gru\(H\) or lstm\(H\), got one"):
        convert({"layer_0": {"cell": cell}})


LSTM = weights.from_torch(under("torch/lstm/bias/weight/"))
ONE = weights.from_torch(under("torch/lstm_cell/bias/weight/"))["layer_0"]


@pytest.mark.parametrize(
    "params, message",
    [
        ({"params": LSTM}, r'got params with layer_0, layer_1; pass variables\["params"\]'),
        (LSTM["layer_0"], r'got forward with .* pass \{"layer_0": params\}'),
        ({"layer_1": LSTM["layer_1"]}, "got layer_1 with forward, backward"),
        ({}, "got none"),
        ({"layer_0": {"cell": [1]}}, "the cell must be a nested dict of arrays, got list"),
        ({"layer_0": ONE, 1: ONE}, "got layer_0 with cell, 1 with cell"),
        (None, "parameters must be a nested dict of arrays, got NoneType"),
        ({"layer_0": ONE, "layer_1": LSTM["layer_1"]}, "missing bias_hh_l0_reverse"),
        (
            {"layer_0": ONE, "layer_1": weights.from_torch(under("torch/gru_cell/bias/weight/"))["layer_0"]},
            r"weight_ih_l1 must have shape \(12, 3\), got \(9, 3\)",
        ),
    ],
    ids=["variables", "one layer", "gap", "empty", "list", "number", "none", "directions", "kinds"],
)
def test_params_of_no_torch_module_are_rejected(params, message):
    with pytest.raises(ValueError, match=f"to_torch: .*{message}"):
        weights.to_torch(params)


def test_a_projection_of_hidden_size_is_rejected_for_torch():
    shapes = jax.eval_shape(lambda: recurrent.lstm(H, proj_size=H).init(jax.random.key(0), H))
    cell = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    with pytest.raises(ValueError, match="proj_size of torch must be below hidden_size 3, got 3"):
        weights.to_torch({"layer_0": {"cell": cell}})
