"""Torch image models for benchmarks: torchvision models, and the published ResNet for CIFAR."""

import itertools

import torch
from torch import nn


def model_of(name: str) -> nn.Module:
    """Returns the model with this name; raises an ``ImportError`` if torchvision is required and missing."""
    if name == "cifar_resnet20":
        return CifarResNet(3)
    try:
        import torchvision
    except RuntimeError:  # torchvision without compiled operators requires declarations of these two
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float t) -> Tensor")
        import torchvision

    return getattr(torchvision.models, name)()


class Block(nn.Module):
    """A residual block whose shortcut subsamples pixels and pads channels with zeros."""

    def __init__(self, in_features: int, features: int):
        super().__init__()
        self.stride = features // in_features
        self.conv_1 = nn.Conv2d(in_features, features, 3, self.stride, 1, bias=False)
        self.norm_1 = nn.BatchNorm2d(features)
        self.conv_2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.norm_2 = nn.BatchNorm2d(features)

    def forward(self, x):
        y = self.norm_2(self.conv_2(torch.relu(self.norm_1(self.conv_1(x)))))
        if self.stride > 1:
            padding = (y.shape[1] - x.shape[1]) // 2
            x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, padding, padding))
        return torch.relu(x + y)


class CifarResNet(nn.Module):
    """The ResNet of He et al. (2016), section 4.2, with option A and 6 n + 2 layers."""

    def __init__(self, n: int, num_classes: int = 10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        widths = [16] * (n + 1) + [32] * n + [64] * n
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in itertools.pairwise(widths)))
        self.head = nn.Linear(64, num_classes)

    def forward(self, images):
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))
