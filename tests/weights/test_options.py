"""Every option of a recurrent layer of torch and Keras is converted or refused, by tests/reference's golden arrays."""

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
def test_torch_modules_and_cells(name, bias, float64):
    case, layers = f"torch/{name}/{bias}", 1 if "cell" in name else 2
    params = weights.from_torch(under(f"{case}/weight/"))
    network = recurrent.StackedRNN(TORCH[name](H), num_layers=layers, bidirectional=layers == 2)
    np.testing.assert_allclose(outputs(network, params, case), GOLDEN[f"{case}/output"], atol=1e-13)
    jax.tree.map(np.testing.assert_array_equal, weights.from_torch(weights.to_torch(params)), params)


def variable(name, value):
    """As a variable of Keras: its array is its ``value``."""
    return SimpleNamespace(name=name, value=value, shape=value.shape)


def layer_of(case, **changed):
    """Stands for a layer of Keras: its class's name, options, weights and, of a bidirectional one, both directions."""
    about = json.loads(str(GOLDEN[f"{case}/options"]))
    options = {**about["options"], **changed}
    sides = {}
    if about["kind"] == "Bidirectional":
        sides = {f"{side}_layer": layer_of(f"{case}/{side}") for side in ("forward", "backward")}
    arrays = under(f"{case}/weight/") or under(f"{case}/cell/weight/")
    own = {"weights": [variable(*item) for item in arrays.items()], "get_config": lambda self: options, **sides}
    return type(about["kind"], (), own)()


@pytest.mark.parametrize("name", KERAS)
def test_keras_layers(name, float64):
    case = f"keras/{name}"
    layer = layer_of(case)
    merge = MERGE.get(layer.get_config().get("merge_mode"))
    params = weights.from_keras([layer])
    network = recurrent.StackedRNN(KERAS[name](H), bidirectional=merge is not None, merge=merge or "concat")
    # Keras 3.15 computes these two in part in float32, whatever its dtype.
    tolerance = 1e-6 if name in ("rnn_relu", "gru_before") else 1e-13
    np.testing.assert_allclose(outputs(network, params, case), GOLDEN[f"{case}/output"], atol=tolerance)
    jax.tree.map(np.testing.assert_array_equal, weights.from_keras(weights.to_keras(params)), params)
    # The same by arrays alone, under names that are paths.
    named = lambda side: {f"a/{key}:0": value for key, value in under(f"{case}/{side}/weight/").items()}
    arrays = {side: named(side) for side in ("forward", "backward")} if merge else named("cell")
    needed = {"gru_after": True, "gru_before": False}.get(name)
    jax.tree.map(np.testing.assert_array_equal, weights.from_keras([arrays], reset_after=needed), params)


@pytest.mark.parametrize(
    "case, changed, sentence",
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
def test_options_of_keras_without_a_counterpart_are_refused_by_name(case, changed, sentence):
    with pytest.raises(ValueError, match=f"layer_1: .*{sentence}"):
        weights.from_keras([layer_of("keras/lstm"), layer_of(f"keras/{case}", **changed)])


def test_the_reset_of_a_gru_without_bias_is_not_guessed():
    arrays = under("keras/gru_after/cell/weight/")
    with pytest.raises(ValueError, match="layer_0: a GRU without bias has the same arrays .* pass one of them"):
        weights.from_keras([arrays])
    with pytest.raises(ValueError, match=r"reset_after must be True for a bias of shape \(2, 9\), got False"):
        weights.from_keras([under("keras/gru_concat/forward/weight/")], reset_after=False)


def other(name, **members):
    return type(name, (), {"weights": [], "get_config": lambda self: {}, **members})()


@pytest.mark.parametrize(
    "layers, sentence",
    [
        ("model.keras", "got the path 'model.keras'; pass keras.saving.load_model"),
        ({"kernel": np.ones((3, 9))}, "layers must be a list of layers, or of dicts of their arrays, got dict"),
        ([[np.ones((3, 9))]], "must be a dict of arrays or a layer of Keras, got list"),
        (other("Sequential", layers=[]), "got a Sequential; pass its layers"),
        ([other("LSTM")], "layer_0: a layer must have weights, got none; Keras makes them when it is first called"),
        ([other("Dense")], "layers must be SimpleRNN, GRU, LSTM, or Bidirectional ones of these, got Dense"),
        (
            [other("RNN", get_config=lambda self: {"cell": {"class_name": "StackedRNNCells", "config": {}}})],
            "layers must be .* got StackedRNNCells",
        ),
        (
            [{"kernel": np.ones((3, 3, 4, 12)), "recurrent_kernel": np.ones((3, 3, 3, 12))}],  # ConvLSTM2D
            r"kernels must be matrices, got kernel \(3, 3, 4, 12\)",
        ),
        (
            [{"kernel": np.ones((4, 12)), "recurrent_kernel": np.ones((3, 12)), "bias": np.ones(24)}],  # CuDNNLSTM
            r"bias has shape \(24,\), \(12,\) expected",
        ),
        ([{"kernel": np.ones((4, 6)), "recurrent_kernel": np.ones((3, 6))}], "has 6 columns for 3 units"),
        ([{"a/kernel": np.ones(3), "b/kernel": np.ones(3)}], "a/kernel and b/kernel are both named kernel"),
    ],
)
def test_other_layers_of_keras_are_refused(layers, sentence):
    with pytest.raises(ValueError, match=sentence):
        weights.from_keras(layers)


OTHERS = {
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
@pytest.mark.parametrize("name", OTHERS)
def test_cells_that_others_lack_are_not_written_as_another(name, convert):
    shapes = jax.eval_shape(lambda: OTHERS[name].init(jax.random.key(0), H))
    cell = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    with pytest.raises(ValueError, match=r"layer_0, cell: the cell must be elman\(H\), gru\(H\) or lstm\(H\), got one"):
        convert({"layer_0": {"cell": cell}})


LSTM = weights.from_torch(under("torch/lstm/bias/weight/"))
ONE = weights.from_torch(under("torch/lstm_cell/bias/weight/"))["layer_0"]


@pytest.mark.parametrize(
    "params, sentence",
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
            r"weight_ih_l1 has shape \(9, 3\), \(12, 3\) expected",
        ),
    ],
    ids=["variables", "one layer", "gap", "empty", "list", "number", "none", "directions", "kinds"],
)
def test_what_is_not_one_module_of_torch_is_refused(params, sentence):
    with pytest.raises(ValueError, match=f"to_torch: .*{sentence}"):
        weights.to_torch(params)


def test_torch_has_no_projection_as_wide_as_the_layer():
    shapes = jax.eval_shape(lambda: recurrent.lstm(H, proj_size=H).init(jax.random.key(0), H))
    cell = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    with pytest.raises(ValueError, match="proj_size of torch must be below hidden_size 3, got 3"):
        weights.to_torch({"layer_0": {"cell": cell}})
