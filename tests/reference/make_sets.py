"""Golden arrays of the published set attention blocks and histograms, in float64: generator of ``sets.npz``.

    python tests/reference/make_sets.py

The script needs torch, in which the blocks are written; the tests do not. Each case has inputs, parameters, outputs,
and the gradients of ``sum(cos(i) * output_i ** 2)``.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

B, N, D, WIDTH, HEADS, POINTS, SEEDS = 2, 7, 3, 8, 2, 4, 3
BINS = 6


def objective(output):
    weights = torch.cos(torch.arange(output.numel(), dtype=output.dtype)).reshape(output.shape)
    return (weights * output**2).sum()


class Mab(nn.Module):
    """Equations 6 and 7 of arXiv:1810.00825.

    As in the published code, the heads are slices of the features, the scale is that of the full width, and the
    residual connection adds the projected query.
    """

    def __init__(self, query, key, norm):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(query, WIDTH), nn.Linear(key, WIDTH), nn.Linear(key, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) if norm else nn.Identity() for _ in range(2)])

    def forward(self, x, y):
        q, k, v = self.query(x), self.key(y), self.value(y)
        outputs = []
        for head in torch.arange(WIDTH).chunk(HEADS):
            weights = torch.softmax(q[..., head] @ k[..., head].transpose(1, 2) / math.sqrt(WIDTH), -1)
            outputs.append(q[..., head] + weights @ v[..., head])
        h = self.norms[0](torch.cat(outputs, -1))
        return self.norms[1](h + torch.relu(self.out(h)))


class Sab(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.mab = Mab(D, D, norm)

    def forward(self, x):
        return self.mab(x, x)


class Isab(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.inducing = nn.Parameter(torch.randn(POINTS, WIDTH))
        self.first, self.second = Mab(WIDTH, D, norm), Mab(D, WIDTH, norm)

    def forward(self, x):
        return self.second(x, self.first(self.inducing.expand(len(x), -1, -1), x))


class Pma(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.seed_vectors = nn.Parameter(torch.randn(SEEDS, WIDTH))
        self.mab = Mab(WIDTH, D, norm)

    def forward(self, x):
        return self.mab(self.seed_vectors.expand(len(x), -1, -1), x)


def add_blocks(results):
    for norm in ("none", "layer"):
        for name, block in (("SAB", Sab), ("ISAB", Isab), ("PMA", Pma)):
            module, case = block(norm == "layer"), f"{name}/{norm}"
            for weight in module.parameters():
                weight.data += 0.3 * torch.randn(weight.shape)
            x = torch.randn(B, N, D, requires_grad=True)
            output = module(x)
            objective(output).backward()
            results |= {f"{case}/x": x, f"{case}/output": output, f"{case}/gradient/x": x.grad}
            for path, weight in module.named_parameters():
                results |= {f"{case}/weight/{path}": weight, f"{case}/gradient/weight/{path}": weight.grad}


def add_histograms(results):
    x = torch.rand(B, N, D)
    centers = ((torch.arange(BINS) + 0.5) / BINS).expand(D, BINS) + 0.02 * torch.randn(D, BINS)
    widths = (0.5 / BINS) * (1 + 0.2 * torch.rand(D, BINS))
    for kind, vote in {
        "hard": lambda u, w: torch.where(1.01 ** (w - u.abs()) > 1, 1.01 ** (w - u.abs()), 0.0),
        "soft": lambda u, w: torch.relu(1 - u.abs() / w),
        "gaussian": lambda u, w: torch.exp(-((u / w) ** 2)),
        "sigmoid": lambda u, w: torch.sigmoid(1000 * (u + w)) - torch.sigmoid(1000 * (u - w)),
    }.items():
        inputs = {
            name: array.clone().requires_grad_(True)
            for name, array in dict(x=x, centers=centers, widths=widths).items()
        }
        output = vote(inputs["x"][..., None] - inputs["centers"], inputs["widths"]).mean(1)
        objective(output).backward()
        results[f"histogram/{kind}/output"] = output
        for name, array in inputs.items():
            results |= {f"histogram/{kind}/{name}": array, f"histogram/{kind}/gradient/{name}": array.grad}


def main():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    results = {}
    add_blocks(results)
    add_histograms(results)
    arrays = {name: np.asarray(array.detach()) for name, array in results.items()}
    np.savez_compressed(Path(__file__).parent / "sets.npz", **arrays)


if __name__ == "__main__":
    main()
