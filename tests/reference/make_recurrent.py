"""Golden arrays of the recurrent layers of torch and Keras, in float64: generator of ``recurrent.npz``.

    KERAS_BACKEND=torch python tests/reference/make_recurrent.py

The script needs torch and Keras; the tests need neither. Each case has weights, an input, outputs, last states, and the
gradients of ``sum(cos(i) * output_i ** 2) + sum(sin(state))``. Batches of torch have sequences of different lengths.
"""

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch

B, T, D, H = 3, 7, 4, 5
LENGTHS = [7, 1, 4]
CASES = {
    "elman": (torch.nn.RNN, {}),
    "elman_relu": (torch.nn.RNN, {"nonlinearity": "relu"}),
    "gru": (torch.nn.GRU, {}),
    "lstm": (torch.nn.LSTM, {}),
    "lstm_projection": (torch.nn.LSTM, {"proj_size": 3}),
}
KERAS_CASES = {
    "elman": (keras.layers.SimpleRNN, {}),
    "gru_after": (keras.layers.GRU, {"reset_after": True}),
    "gru_before": (keras.layers.GRU, {"reset_after": False}),
    "lstm": (keras.layers.LSTM, {}),
}


def objective(output, states):
    weights = torch.cos(torch.arange(output.numel(), dtype=output.dtype)).reshape(output.shape)
    return (weights * output**2).sum() + sum(torch.sin(state).sum() for state in states)


def add_torch(results):
    for name, (module, options) in CASES.items():
        for layers, bidirectional in ((1, False), (2, True)):
            case = f"torch/{name}/{layers}{'b' if bidirectional else ''}"
            network = module(D, H, num_layers=layers, bidirectional=bidirectional, batch_first=True, **options)
            x = torch.randn(B, T, D, requires_grad=True)
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
            output, states = network(packed)
            output, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=T)
            states = states if isinstance(states, tuple) else (states,)
            objective(output, states).backward()
            results |= {f"{case}/x": x, f"{case}/gradient/x": x.grad, f"{case}/output": output}
            results |= {f"{case}/state/{i}": state for i, state in enumerate(states)}
            for key, weight in network.named_parameters():
                results |= {f"{case}/weight/{key}": weight, f"{case}/gradient/weight/{key}": weight.grad}


def add_keras(results):
    for name, (module, options) in KERAS_CASES.items():
        for go_backwards in (False, True):
            case = f"keras/{name}/{'reverse' if go_backwards else 'forward'}"
            layer = module(
                H,
                return_sequences=True,
                return_state=True,
                go_backwards=go_backwards,
                dtype="float64",
                bias_initializer=keras.initializers.RandomNormal(stddev=0.3),
                **options,
            )
            x = torch.randn(B, T, D, requires_grad=True)
            output, *states = layer(x)
            objective(output, states).backward()
            results |= {f"{case}/x": x, f"{case}/gradient/x": x.grad, f"{case}/output": output}
            results |= {f"{case}/state/{i}": state for i, state in enumerate(states)}
            for weight in layer.weights:
                results[f"{case}/weight/{weight.name}"] = weight.value
                results[f"{case}/gradient/weight/{weight.name}"] = weight.value.grad


def main():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    keras.config.set_floatx("float64")
    results = {"lengths": np.array(LENGTHS, np.int32)}
    add_torch(results)
    add_keras(results)
    arrays = {name: value.detach().numpy() if torch.is_tensor(value) else value for name, value in results.items()}
    np.savez_compressed(Path(__file__).with_name("recurrent.npz"), **arrays)


if __name__ == "__main__":
    main()
