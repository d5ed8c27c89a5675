"""Golden arrays of options of recurrent layers of torch and Keras, in float64: generator of ``recurrent_options.npz``.

    KERAS_BACKEND=torch python tests/reference/make_recurrent_options.py

The script needs torch and Keras; the tests need neither. Each case has weights, an input and outputs; cases of Keras
also have the class and the options of the layer. Inputs and layers have the same width, so that most matrices are
square and a missing transposition does not cause a shape error.
"""

import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch

B, T, H = 2, 4, 3
TORCH = {
    "rnn": (torch.nn.RNN, {}),
    "rnn_relu": (torch.nn.RNN, {"nonlinearity": "relu"}),
    "gru": (torch.nn.GRU, {}),
    "lstm": (torch.nn.LSTM, {}),
    "lstm_projection": (torch.nn.LSTM, {"proj_size": 2}),
}
CELLS = {
    "rnn_cell": (torch.nn.RNNCell, {}),
    "rnn_cell_relu": (torch.nn.RNNCell, {"nonlinearity": "relu"}),
    "gru_cell": (torch.nn.GRUCell, {}),
    "lstm_cell": (torch.nn.LSTMCell, {}),
}
KERAS = {
    "rnn_relu": ("SimpleRNN", {"use_bias": False, "activation": "relu"}, None),
    "gru_after": ("GRU", {"use_bias": False}, None),
    "gru_before": ("GRU", {"use_bias": False, "reset_after": False}, None),
    "lstm": ("LSTM", {"use_bias": False, "unit_forget_bias": False, "unroll": True}, None),
    "lstm_bias": ("LSTM", {"unit_forget_bias": True}, None),
    "gru_concat": ("GRU", {}, "concat"),
    "lstm_sum": ("LSTM", {}, "sum"),
    "lstm_ave": ("LSTM", {}, "ave"),
}


def add_torch(results):
    for name, (module, options) in {**TORCH, **CELLS}.items():
        for bias in (True, False):
            if name in TORCH:
                options = {**options, "num_layers": 2, "bidirectional": True, "batch_first": True}
            network = module(H, H, bias=bias, **options)
            x = torch.randn(B, T, H)
            case = f"torch/{name}/{'bias' if bias else 'no bias'}"
            results |= {f"{case}/x": x, f"{case}/output": run(network, x, name in CELLS)}
            results |= {f"{case}/weight/{key}": weight for key, weight in network.state_dict().items()}


def run(network, x, cell):
    if not cell:
        return network(x)[0]
    state, outputs = None, []
    for t in range(T):
        state = network(x[:, t], state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs, 1)


def add_keras(results):
    for name, (kind, options, merge) in KERAS.items():
        noise = keras.initializers.RandomNormal(stddev=0.3)
        layer = getattr(keras.layers, kind)(H, return_sequences=True, bias_initializer=noise, **options)
        layer = keras.layers.Bidirectional(layer, merge_mode=merge) if merge else layer
        x = torch.randn(B, T, H)
        case = f"keras/{name}"
        results |= {f"{case}/x": x, f"{case}/output": layer(x)}
        directions = {"forward": layer.forward_layer, "backward": layer.backward_layer} if merge else {"cell": layer}
        for direction, part in directions.items():
            results[f"{case}/{direction}/options"] = np.array(json.dumps(describe(part)))
            results |= {f"{case}/{direction}/weight/{weight.name}": weight.value for weight in part.weights}
        results[f"{case}/options"] = np.array(json.dumps(describe(layer)))


def describe(layer):
    """Returns the class of a layer, and its options that are strings, booleans or numbers."""
    options = {key: v for key, v in layer.get_config().items() if isinstance(v, (str, bool, int, float))}
    return {"kind": type(layer).__name__, "options": options}


def main():
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    torch.set_default_dtype(torch.float64)
    keras.config.set_floatx("float64")
    results = {}
    add_torch(results)
    add_keras(results)
    arrays = {name: value.detach().numpy() if torch.is_tensor(value) else value for name, value in results.items()}
    np.savez_compressed(Path(__file__).with_name("recurrent_options.npz"), **arrays)


if __name__ == "__main__":
    main()
