"""Golden arrays of published forecasting models, in float64: generator of ``series.npz``.

    python tests/reference/make_series.py

The script needs torch, in which the models are written after their papers and published code; the tests do not. Each
case has inputs, parameters by the names of a state dict, outputs in evaluation, and the gradients of
``sum(cos(i) * output_i ** 2)``.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

B, T, H, C = 2, 24, 12, 3
SEGMENT, HIDDEN = 6, 8
PATCH, STRIDE, WIDTH, HEADS, MLP, LAYERS = 8, 4, 8, 2, 16, 2
WINDOW = 5
FEATURES, SIZES, DEPTH, CLASSES = 3, (8, 4, 2), 6, 4


def objective(output):
    weights = torch.cos(torch.arange(output.numel(), dtype=output.dtype)).reshape(output.shape)
    return (weights * output**2).sum()


class RevIN(nn.Module):
    """Reversible instance normalization (Kim et al. 2022), around a map of the window."""

    def __init__(self, inner, affine=False):
        super().__init__()
        self.inner = inner
        if affine:
            self.scale, self.bias = nn.Parameter(torch.rand(C) + 0.5), nn.Parameter(torch.randn(C))

    def forward(self, x):
        mean = x.mean(1, keepdim=True).detach()
        std = torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5).detach()
        if not hasattr(self, "scale"):
            return self.inner((x - mean) / std) * std + mean
        y = self.inner((x - mean) / std * self.scale + self.bias)
        return (y - self.bias) / (self.scale + 1e-5**2) * std + mean


class NLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(T, H)

    def forward(self, x):
        last = x[:, -1:].detach()
        return self.linear((x - last).transpose(1, 2)).transpose(1, 2) + last


class DLinear(nn.Module):
    """A moving average with repeated ends, and a linear map of each part."""

    def __init__(self):
        super().__init__()
        self.seasonal, self.trend = nn.Linear(T, H), nn.Linear(T, H)

    def forward(self, x):
        ends = (x[:, :1].repeat(1, WINDOW // 2, 1), x, x[:, -1:].repeat(1, WINDOW // 2, 1))
        trend = torch.cat(ends, 1).unfold(1, WINDOW, 1).mean(-1)
        maps = self.seasonal((x - trend).transpose(1, 2)) + self.trend(trend.transpose(1, 2))
        return maps.transpose(1, 2)


class SegRNN(nn.Module):
    """Encoding of segments by a GRU, and one more step for each segment of the horizon."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(SEGMENT, HIDDEN)
        self.rnn = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.positions = nn.Parameter(torch.randn(H // SEGMENT, HIDDEN // 2))
        self.channels = nn.Parameter(torch.randn(C, HIDDEN // 2))
        self.head = nn.Linear(HIDDEN, SEGMENT)

    def forward(self, x):
        last = x[:, -1:].detach()
        segments = (x - last).transpose(1, 2).reshape(B * C, T // SEGMENT, SEGMENT)
        state = self.rnn(torch.relu(self.embedding(segments)))[1][0].reshape(B, C, HIDDEN)
        outputs = []
        for position in self.positions:
            for channel in range(C):
                step = torch.cat([position, self.channels[channel]]).expand(B, 1, HIDDEN)
                found = self.rnn(step, state[:, channel].contiguous()[None])[1][0]
                outputs.append(self.head(found))
        ys = torch.stack(outputs, 1).reshape(B, H // SEGMENT, C, SEGMENT)
        return ys.transpose(2, 3).reshape(B, H, C) + last


class EncoderLayer(nn.Module):
    """Attention with residual scores, and an MLP, each followed by batch normalization."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm_1, self.norm_2 = nn.BatchNorm1d(WIDTH), nn.BatchNorm1d(WIDTH)
        self.mlp_1, self.mlp_2 = nn.Linear(WIDTH, MLP), nn.Linear(MLP, WIDTH)

    def forward(self, x, previous):
        heads = lambda y: y.reshape(*y.shape[:2], HEADS, WIDTH // HEADS).transpose(1, 2)
        query, key, value = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        scores = query @ key.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        scores = scores if previous is None else scores + previous
        mixed = (torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(x.shape)
        norm = lambda layer, y: layer(y.transpose(1, 2)).transpose(1, 2)
        x = norm(self.norm_1, x + self.out(mixed))
        return norm(self.norm_2, x + self.mlp_2(nn.functional.gelu(self.mlp_1(x)))), scores


class PatchTST(nn.Module):
    def __init__(self):
        super().__init__()
        count = (T - PATCH) // STRIDE + 2
        self.embedding = nn.Linear(PATCH, WIDTH)
        self.positions = nn.Parameter(torch.randn(count, WIDTH))
        self.layers = nn.ModuleList([EncoderLayer() for _ in range(LAYERS)])
        self.head = nn.Linear(WIDTH * count, H)

    def forward(self, x):
        x = nn.functional.pad(x.transpose(1, 2), (0, STRIDE), mode="replicate").unfold(-1, PATCH, STRIDE)
        z = (self.embedding(x) + self.positions).reshape(B * C, -1, WIDTH)
        scores = None
        for layer in self.layers:
            z, scores = layer(z, scores)
        # The published head flattens features before patches.
        z = z.reshape(B, C, -1, WIDTH).transpose(2, 3).reshape(B, C, -1)
        return self.head(z).transpose(1, 2)


class InceptionModule(nn.Module):
    """Three convolutions of a bottleneck beside a max pooling; padded as in Keras, one more step at the end."""

    def __init__(self, channels):
        super().__init__()
        conv = lambda inputs, size: nn.Conv1d(inputs, FEATURES, size, bias=False)
        self.bottleneck = conv(channels, 1)
        self.conv_0, self.conv_1, self.conv_2 = (conv(FEATURES, size) for size in SIZES)
        self.pooled = conv(channels, 1)
        self.norm = nn.BatchNorm1d(4 * FEATURES, eps=1e-3)

    def forward(self, x):
        narrow = self.bottleneck(x)
        ys = []
        for size, conv in zip(SIZES, (self.conv_0, self.conv_1, self.conv_2), strict=True):
            ys.append(conv(nn.functional.pad(narrow, ((size - 1) // 2, size // 2))))
        ys.append(self.pooled(nn.functional.max_pool1d(x, 3, 1, 1)))
        return torch.relu(self.norm(torch.cat(ys, 1)))


class InceptionTime(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [C, *[4 * FEATURES] * DEPTH]
        self.modules_ = nn.ModuleList([InceptionModule(width) for width in widths[:-1]])
        self.shortcuts = nn.ModuleList([nn.Conv1d(width, 4 * FEATURES, 1, bias=False) for width in (C, 4 * FEATURES)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(4 * FEATURES, eps=1e-3) for _ in range(2)])
        self.head = nn.Linear(4 * FEATURES, CLASSES)

    def forward(self, x):
        y = rest = x.transpose(1, 2)
        for i, module in enumerate(self.modules_):
            y = module(y)
            if i % 3 == 2:
                y = rest = torch.relu(self.norms[i // 3](self.shortcuts[i // 3](rest)) + y)
        return self.head(y.mean(-1))


def main():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    models = {
        "nlinear": NLinear(),
        "dlinear": DLinear(),
        "segrnn": SegRNN(),
        "patchtst": RevIN(PatchTST()),
        "inception": InceptionTime(),
        "revin": RevIN(DLinear(), affine=True),
    }
    arrays = {}
    for name, model in models.items():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)
        model.eval()
        x = torch.randn(B, T, C).cumsum(1).requires_grad_()
        output = model(x)
        objective(output).backward()
        arrays[f"{name}/x"], arrays[f"{name}/output"] = x.detach(), output.detach()
        arrays[f"{name}/gradient/x"] = x.grad
        for key, value in model.state_dict().items():
            arrays[f"{name}/weight/{key.removeprefix('inner.')}"] = value
        for key, value in model.named_parameters():
            arrays[f"{name}/gradient/{key.removeprefix('inner.')}"] = value.grad
    np.savez_compressed(
        Path(__file__).parent / "series.npz", **{key: np.asarray(value) for key, value in arrays.items()}
    )


if __name__ == "__main__":
    main()
