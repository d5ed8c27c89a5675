"""Weights in and out: one file per foreign format, strict, nothing is ever unpickled."""

from jaxnets.weights.files import read, write
from jaxnets.weights.keras import from_keras, to_keras
from jaxnets.weights.torch import from_torch, to_torch
from jaxnets.weights.torchvision import from_torchvision, to_torchvision

__all__ = [
    "from_keras",
    "from_torch",
    "from_torchvision",
    "read",
    "to_keras",
    "to_torch",
    "to_torchvision",
    "write",
]
