"""Torch implementations of set attention and histograms, as published, for benchmarks."""

import math

import torch
from torch import nn


class Mab(nn.Module):
    def __init__(self, query: int, key: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(query, width), nn.Linear(key, width), nn.Linear(key, width)
        self.out = nn.Linear(width, width)

    def forward(self, x, y):
        q, k, v = self.query(x), self.key(y), self.value(y)
        heads = lambda a: torch.cat(a.chunk(self.heads, -1), 0)
        weights = torch.softmax(heads(q) @ heads(k).transpose(1, 2) / math.sqrt(q.shape[-1]), -1)
        h = q + torch.cat((weights @ heads(v)).chunk(self.heads, 0), -1)
        return h + torch.relu(self.out(h))


class Isab(nn.Module):
    def __init__(self, width: int, points: int, heads: int):
        super().__init__()
        self.inducing = nn.Parameter(torch.randn(1, points, width))
        self.first, self.second = Mab(width, width, width, heads), Mab(width, width, width, heads)

    def forward(self, x):
        return self.second(x, self.first(self.inducing.expand(len(x), -1, -1), x))


class Pma(nn.Module):
    def __init__(self, width: int, seeds: int, heads: int):
        super().__init__()
        self.seeds = nn.Parameter(torch.randn(1, seeds, width))
        self.mab = Mab(width, width, width, heads)

    def forward(self, x):
        return self.mab(self.seeds.expand(len(x), -1, -1), x)


class SoftHistogram(nn.Module):
    def __init__(self, features: int, bins: int):
        super().__init__()
        self.centers = nn.Parameter(((torch.arange(bins) + 0.5) / bins).repeat(features, 1))
        self.widths = nn.Parameter(torch.full((features, bins), 0.5 / bins))

    def forward(self, x):
        return torch.relu(1 - (x[..., None] - self.centers).abs() / self.widths).mean(-3)
