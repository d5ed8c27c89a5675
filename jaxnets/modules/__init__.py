"""Linen modules that several families share."""

from jaxnets.modules.mlp import MLP

__all__ = ["MLP"]
