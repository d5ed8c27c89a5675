"""Golden arrays of two narrow taggers in torch and pytorch-crf, in float64: generator of ``tagger.npz``.

    python tests/reference/make_tagger.py

The script needs torch and pytorch-crf; the tests do not. Every word and every sentence is computed alone, without
padding. Parameters and the gradients of the sum of the log-likelihoods have the layout of ``text.Tagger``.
"""

from pathlib import Path

import numpy as np
import torch
import torchcrf
from torch import nn

VOCAB, CHARACTERS, TAGS, EMBED, CHARACTER_EMBED, FEATURES, HIDDEN = 11, 9, 4, 5, 4, 3, 6
LENGTHS, T, W = [5, 3, 1], 5, 6

torch.set_default_dtype(torch.float64)


class Twin(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.words, self.characters = nn.Embedding(VOCAB, EMBED), nn.Embedding(CHARACTERS, CHARACTER_EMBED)
        if kind == "rnn":
            self.encoder = nn.LSTM(CHARACTER_EMBED, FEATURES, bidirectional=True)
        else:
            self.encoder = nn.Conv1d(CHARACTER_EMBED, FEATURES, 3, padding=1)
        width = FEATURES * (2 if kind == "rnn" else 1)
        self.width = width
        self.rnn = nn.LSTM(EMBED + width, HIDDEN, bidirectional=True)
        self.head = nn.Linear(2 * HIDDEN, TAGS)
        self.crf = torchcrf.CRF(TAGS, batch_first=True)
        for name, parameter in self.named_parameters():
            nn.init.normal_(parameter, std=0.5)
            if "bias_hh" in name:  # Tagger has one bias
                nn.init.zeros_(parameter)

    def word(self, characters):
        if not len(characters):
            return torch.zeros(self.width)
        xs = self.characters(characters)
        if self.kind == "cnn":
            return torch.tanh(self.encoder(xs.T[None])[0]).max(-1).values
        _, (h, _) = self.encoder(xs)
        return h.reshape(-1)

    def forward(self, words, characters):
        vectors = torch.stack([self.word(row[row != 0]) for row in characters])
        return self.head(self.rnn(torch.cat([self.words(words), vectors], -1))[0])


def lstm_arrays(name, get, layer):
    for direction, suffix in (("forward", ""), ("backward", "_reverse")):
        yield f"{name}/{direction}/input/kernel", get(getattr(layer, f"weight_ih_l0{suffix}")).T
        yield f"{name}/{direction}/input/bias", get(getattr(layer, f"bias_ih_l0{suffix}"))
        yield f"{name}/{direction}/recurrent/kernel", get(getattr(layer, f"weight_hh_l0{suffix}")).T


def arrays_of(twin, get):
    yield "words/embedding", get(twin.words.weight)
    yield "characters/embed/embedding", get(twin.characters.weight)
    if twin.kind == "rnn":
        yield from lstm_arrays("characters/rnn", get, twin.encoder)
    else:
        yield "characters/conv/kernel", get(twin.encoder.weight).permute(2, 1, 0)
        yield "characters/conv/bias", get(twin.encoder.bias)
    yield from lstm_arrays("rnn/layer_0", get, twin.rnn)
    yield "head/kernel", get(twin.head.weight).T
    yield "head/bias", get(twin.head.bias)
    yield "transitions", get(twin.crf.transitions)
    yield "start", get(twin.crf.start_transitions)
    yield "end", get(twin.crf.end_transitions)


rng = np.random.default_rng(0)
words = rng.integers(0, VOCAB, (len(LENGTHS), T))
characters = rng.integers(1, CHARACTERS, (len(LENGTHS), T, W))
characters[np.arange(W) >= rng.integers(1, W + 1, (len(LENGTHS), T, 1))] = 0
characters[0, 1] = 0  # a word without characters
tags = rng.integers(0, TAGS, words.shape)
saved = {"words": words, "characters": characters, "tags": tags, "lengths": np.array(LENGTHS)}
for kind in ("rnn", "cnn"):
    torch.manual_seed(0)
    twin = Twin(kind)
    emissions, likelihoods = np.zeros((len(LENGTHS), T, TAGS)), []
    for row, length in enumerate(LENGTHS):
        found = twin(*(torch.tensor(a[row, :length]) for a in (words, characters)))
        emissions[row, :length] = found.detach()
        likelihoods.append(twin.crf(found[None], torch.tensor(tags[row, :length])[None]))
    sum(likelihoods).backward()
    saved[f"{kind}/emissions"] = emissions
    saved[f"{kind}/log_likelihood"] = np.array([each.item() for each in likelihoods])
    saved |= {f"{kind}/params/{name}": a.numpy() for name, a in arrays_of(twin, lambda p: p.detach())}
    saved |= {f"{kind}/gradient/{name}": a.numpy() for name, a in arrays_of(twin, lambda p: p.grad)}
np.savez_compressed(Path(__file__).parent / "tagger.npz", **saved)
