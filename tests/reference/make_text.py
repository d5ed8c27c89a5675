"""Golden arrays of text classifiers, in float64: generator of ``text.npz``.

    python tests/reference/make_text.py

The script needs torch, in which the models are written after their papers; the tests do not. The models read each text
without padding. Each case has parameters by the names of a state dict, logits in evaluation, and the gradients of
``sum(cos(i) * logit_i ** 2)``.
"""

import functools
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

V, D, C, T = 11, 4, 3, 7
LENGTHS = (7, 1, 4, 2)
HIDDEN, HEADS, LAYERS, BUCKETS = 2, 2, 1, 13


def objective(output):
    weights = torch.cos(torch.arange(output.numel(), dtype=output.dtype)).reshape(output.shape)
    return (weights * output**2).sum()


class TextCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(V, D), nn.Linear(6, C)
        self.convs = nn.ModuleDict({str(width): nn.Conv1d(D, 2, width) for width in (3, 4, 5)})

    def forward(self, text):
        x = self.embed(text).T[None]
        maxima = []
        for width, conv in self.convs.items():
            short = max(int(width) - len(text), 0)
            maxima.append(torch.relu(conv(nn.functional.pad(x, (0, short)))).amax(-1))
        return self.head(torch.cat(maxima, -1))[0]


class Recurrent(nn.Module):
    def __init__(self, pooling):
        super().__init__()
        self.embed, self.head, self.pooling = nn.Embedding(V, D), nn.Linear(2 * HIDDEN, C), pooling
        self.rnn = nn.LSTM(D, HIDDEN, batch_first=True, bidirectional=True)
        if pooling == "attention":
            self.attention, self.score = nn.Linear(2 * HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1, bias=False)

    def forward(self, text):
        states, (last, _) = self.rnn(self.embed(text)[None])
        states = states[0]
        if self.pooling == "last":
            return self.head(torch.cat([last[-2, 0], last[-1, 0]]))
        if self.pooling == "attention":
            weights = self.score(torch.tanh(self.attention(states))).softmax(0)
            return self.head((weights * states).sum(0))
        return self.head(states.amax(0) if self.pooling == "max" else states.mean(0))


class Attention(nn.Module):
    def __init__(self, pooling):
        super().__init__()
        self.embed, self.head = nn.Embedding(V, D), nn.Linear(D, C)
        if pooling == "class":
            self.class_token = nn.Parameter(torch.randn(D))
        activation = functools.partial(nn.functional.gelu, approximate="tanh")
        layer = nn.TransformerEncoderLayer(D, HEADS, 4 * D, 0.0, activation, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(D), enable_nested_tensor=False)

    def forward(self, text):
        x = math.sqrt(D) * self.embed(text)
        if hasattr(self, "class_token"):
            x = torch.cat([self.class_token[None], x])
        angles = torch.arange(len(x))[:, None] * 10_000.0 ** (-torch.arange(0, D, 2) / D)
        encodings = torch.stack([angles.sin(), angles.cos()], -1).reshape(len(x), D).float().double()  # as in jaxnets
        ys = self.encoder((x + encodings)[None])[0]
        return self.head(ys[0] if hasattr(self, "class_token") else ys.mean(0))


def fnv1a(data):
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 % 2**32
    return value


class Ngrams(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.ngrams = nn.Embedding(V, D), nn.Embedding(BUCKETS, D)
        self.head = nn.Linear(D, C, bias=False)

    def forward(self, text):
        parts = [self.embed(text)]
        for n in (2, 3):
            grams = [text[i : i + n] for i in range(len(text) - n + 1)]
            buckets = [fnv1a(b"".join(int(t).to_bytes(4, "little") for t in gram)) % BUCKETS for gram in grams]
            parts.append(self.ngrams(torch.tensor(buckets, dtype=torch.long)))
        return self.head(torch.cat(parts).mean(0))


def main():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    models = {
        "cnn": TextCNN(),
        **{pooling: Recurrent(pooling) for pooling in ("last", "max", "mean", "attention")},
        "attention_mean": Attention("mean"),
        "attention_class": Attention("class"),
        "ngrams": Ngrams(),
    }
    tokens = torch.randint(V, (len(LENGTHS), T))
    arrays = {"tokens": tokens.int(), "lengths": np.array(LENGTHS, np.int32)}
    for name, model in models.items():
        model.eval()
        for norm in (module for module in model.modules() if isinstance(module, nn.LayerNorm)):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)
        logits = torch.stack([model(text[:length]) for text, length in zip(tokens, LENGTHS, strict=True)])
        objective(logits).backward()
        arrays[f"{name}/logits"] = logits.detach()
        for key, value in model.named_parameters():
            arrays[f"{name}/weight/{key}"], arrays[f"{name}/gradient/{key}"] = value.detach(), value.grad
    path = Path(__file__).parent / "text.npz"
    np.savez_compressed(path, **{key: np.asarray(value) for key, value in arrays.items()})


if __name__ == "__main__":
    main()
